//! What the answers of the compatibility listeners have in common.

use crate::answer::RETRY_AFTER;
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};

/// The beginning of a response, with the headers that its status needs. `allow` lists the
/// listener's methods.
pub(super) fn response(status: StatusCode, allow: &'static str) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            response.insert_header((header::ALLOW, allow));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
        }
        StatusCode::REQUEST_TIMEOUT => {
            response.force_close();
        }
        _ => {}
    }
    response
}
