//! The answers of the admin port.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::ContentType},
};

/// A plain text for people.
pub(super) fn text(status: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(status).content_type(ContentType::plaintext()).body(body)
}

/// An RFC 9457 problem document.
pub(super) fn problem(status: u16, detail: &str) -> HttpResponse {
    problem_with(status, detail, None)
}

/// An RFC 9457 problem document with one more member.
pub(super) fn problem_with(
    status: u16,
    detail: &str,
    more: Option<(&str, serde_json::Value)>,
) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    let title = status.canonical_reason().unwrap_or_default();
    let mut body = serde_json::json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    if let Some((name, value)) = more {
        body[name] = value;
    }
    HttpResponse::build(status).content_type("application/problem+json").body(body.to_string())
}
