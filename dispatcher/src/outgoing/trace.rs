//! The headers of a request that pass a trace on to its receiver.

use postern_shared::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Adds the headers for `trace` to `headers`, unless the configuration has set a `traceparent` of its own.
pub(crate) fn trace_headers(trace: &TraceContext, headers: &mut HeaderMap) {
    let parent = HeaderName::from_static(TRACEPARENT);
    if headers.contains_key(&parent) {
        return;
    }
    let state = HeaderName::from_static(TRACESTATE);
    for (name, value) in [(parent, Some(trace.as_str())), (state, trace.state())] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
}
