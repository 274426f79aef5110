//! Paths that nothing is at.

use crate::problem::Problem;
use actix_web::{HttpResponse, http::StatusCode};

/// Below `/v1`.
pub(crate) async fn problem() -> HttpResponse {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path; see /openapi.json").response()
}

/// Anywhere else.
pub(crate) async fn text() -> HttpResponse {
    HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body("not found\n")
}
