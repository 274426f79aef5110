//! Which trace a request belongs to.

use actix_web::http::header::HeaderMap;
use postern_broker::header::TRACEPARENT;
pub(crate) use postern_shared::trace_context::TraceContext;

/// The one that the headers of a request say that has proved whose it is, else a new one. What
/// anyone else says of a trace, and whether it is sampled, is not believed: such a request begins a
/// trace of its own.
pub(crate) fn of(headers: &HeaderMap) -> TraceContext {
    TraceContext::from_header(headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()))
}
