//! Which trace a request belongs to.

use actix_web::http::header::HeaderMap;
use postern_broker::header::TRACEPARENT;
pub(crate) use postern_shared::trace_context::TraceContext;

/// The one that a request's headers say, else a new one.
pub(crate) fn of(headers: &HeaderMap) -> TraceContext {
    TraceContext::from_header(headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()))
}
