//! The span of a request to Postern.

use super::{
    Traces,
    span::{Scope, TraceSpan, remote},
};
use jiff::Timestamp;
use opentelemetry::{
    KeyValue,
    trace::{Link, SpanBuilder, SpanKind},
};
use postern_shared::{
    message::{BackendName, MessageId},
    trace_context::TraceContext,
};
use std::time::SystemTime;

/// When a request began, if traces are on.
#[derive(Debug, Clone, Copy)]
pub struct Began(Option<SystemTime>);

/// The trace that a request belongs to, and the request's span in it. The span ends when this is dropped.
#[derive(Debug)]
pub struct RequestSpan {
    context: TraceContext,
    span: TraceSpan,
}

impl Traces {
    /// Notes the time at which a request begins.
    pub fn began(&self) -> Began {
        Began(self.is_on().then(|| Timestamp::now().into()))
    }

    /// The span of a request that is answered at the route `route` and began at `began`. It is in the trace
    /// `parent`, if the request has proved a right to that trace; else it begins a trace. `about` is a
    /// trace that the request says, without proof, it is about: the span is linked to it.
    pub fn request(
        &self,
        began: Began,
        (method, route): (&'static str, Option<String>),
        parent: Option<TraceContext>,
        about: Option<&TraceContext>,
    ) -> RequestSpan {
        let Some(tracing) = &self.0 else { return RequestSpan::without_span(parent) };
        let method = if method == "other" { "_OTHER" } else { method };
        let mut attributes = vec![KeyValue::new("http.request.method", method)];
        let name = match &route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
        let links = about.into_iter().map(|trace| Link::new(remote(trace), Vec::new(), 0));
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_links(links.collect());
        let builder = SpanBuilder { start_time: began.0, ..builder.with_attributes(attributes) };
        let parent = parent.filter(|_| tracing.propagates);
        let span = tracing.begin(builder, parent.as_ref().map(remote).as_ref());
        let context = span.context().cloned().or(parent).unwrap_or_else(TraceContext::begin);
        RequestSpan { context, span }
    }
}

impl RequestSpan {
    /// A request that has no span, in the trace `parent` or in a new one.
    pub fn without_span(parent: Option<TraceContext>) -> Self {
        Self { context: parent.unwrap_or_else(TraceContext::begin), span: TraceSpan::default() }
    }

    /// The trace to pass on to others.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// The parent of spans for work on the request.
    pub fn scope(&self) -> Scope {
        self.span.scope()
    }

    /// Says how the request was answered, and what it was about.
    pub fn note_answer(&mut self, status: u16, backend: Option<&BackendName>, message: Option<MessageId>) {
        self.span.note_status(status);
        if let Some(backend) = backend {
            self.span.note_backend(backend);
        }
        if let Some(message) = message {
            self.span.note_message(message);
        }
        // By the conventions, a client's mistake is not an error of the server's span.
        if status >= 500 {
            self.span.fail(status.to_string());
        }
    }
}
