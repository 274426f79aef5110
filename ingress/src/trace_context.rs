//! Which trace a request belongs to. Its trace headers, and whether they say that it is sampled, are trusted
//! only if the request has proved whose it is. Any other request begins a trace of its own, and makes no span
//! until it is accepted.

use crate::metrics::method_label;
use actix_web::{HttpRequest, http::header::HeaderMap};
use postern_service::traces::{Began, RequestSpan, Traces};
use postern_shared::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};

/// The span of a `request` that has proved whose it is and began at `began`, in the trace that its headers
/// name.
pub(crate) fn of(traces: &Traces, request: &HttpRequest, began: Began) -> RequestSpan {
    span(traces, request, began, (in_headers(request.headers()), None))
}

/// The span of an accepted `request` that began at `began`: in the trace `parent`, else in a new one, and
/// linked to the trace `about`.
pub(crate) fn span(
    traces: &Traces,
    request: &HttpRequest,
    began: Began,
    (parent, about): (Option<TraceContext>, Option<TraceContext>),
) -> RequestSpan {
    if !traces.is_on() {
        return RequestSpan::without_span(parent);
    }
    traces.request(began, (method_label(request.method()), request.match_pattern()), parent, about.as_ref())
}

/// The trace that `headers` name.
pub(crate) fn in_headers(headers: &HeaderMap) -> Option<TraceContext> {
    let trace = TraceContext::parse(headers.get(TRACEPARENT)?.to_str().ok()?)?;
    let states: Vec<_> = headers.get_all(TRACESTATE).filter_map(|value| value.to_str().ok()).collect();
    Some(if states.is_empty() { trace } else { trace.with_state(&states.join(",")) })
}
