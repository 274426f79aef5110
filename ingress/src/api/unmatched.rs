//! Answers to requests that no other handler takes: an unknown path, or a method that the resource does not
//! have.

use crate::{answer::Answer, problem::ProblemDocument, state::IngressState};
use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::StatusCode};

/// Answers a request to an unknown path below `/v1`.
pub(crate) async fn problem(_: &HttpRequest, _: &mut Payload, _: &IngressState) -> Answer {
    let detail = "there is nothing at this path; see /openapi.json";
    ProblemDocument::new(StatusCode::NOT_FOUND, detail).into()
}

/// Answers a request to an unknown path anywhere else.
pub(crate) async fn text(_: &HttpRequest, _: &mut Payload, _: &IngressState) -> Answer {
    HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body("not found\n").into()
}

/// Answers a method other than GET.
pub(crate) async fn only_get(_: &HttpRequest, _: &mut Payload, _: &IngressState) -> Answer {
    ProblemDocument::method("GET")
}

/// Answers a method other than GET and HEAD.
pub(crate) async fn only_get_and_head(_: &HttpRequest, _: &mut Payload, _: &IngressState) -> Answer {
    ProblemDocument::method("GET, HEAD")
}

/// Answers a method other than GET and POST.
pub(crate) async fn only_get_and_post(_: &HttpRequest, _: &mut Payload, _: &IngressState) -> Answer {
    ProblemDocument::method("GET, POST")
}
