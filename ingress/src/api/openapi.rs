//! `GET /openapi.json`.

use crate::{answer::Answer, state::IngressState};
use actix_web::{HttpRequest, HttpResponse, dev::Payload};

/// Answers with the description of the public routes.
pub(crate) async fn document(_: &HttpRequest, _: &mut Payload, state: &IngressState) -> Answer {
    HttpResponse::Ok().content_type("application/json").body(state.openapi.clone()).into()
}
