//! One span, and the spans below it, by OpenTelemetry's conventions for messaging and for HTTP. If traces
//! are off, nothing is made, and it costs nothing.

use super::{Traces, Tracing};
use opentelemetry::{
    KeyValue, StringValue, Value,
    trace::{Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::Span as SdkSpan;
use postern_broker::{Address, BrokerError, Envelope, QueueName};
use postern_shared::{
    error::Failure,
    message::{BackendName, MessageId, Priority},
    trace_context::TraceContext,
};
use std::{fmt, sync::Arc};
use url::Url;

/// A span. It ends when it is dropped.
#[derive(Default)]
pub struct TraceSpan(Option<Box<Live>>);

struct Live {
    span: SdkSpan,
    scope: Scope,
}

/// The place of a span in its trace: the parent of the spans that it makes. Clones are the same place.
#[derive(Clone, Default)]
pub struct Scope(Option<Arc<SpanPlace>>);

struct SpanPlace {
    tracing: Arc<Tracing>,
    context: SpanContext,
    written: TraceContext,
}

/// The spans of messages that are being published. They end when this is dropped.
#[derive(Default)]
#[must_use = "the spans end when it is dropped"]
pub struct Sends(Vec<SendSpan>);

struct SendSpan {
    address: Address,
    /// How many messages go to the address.
    messages: i64,
    id: Option<MessageId>,
    span: TraceSpan,
}

impl Traces {
    /// The span of work on `envelope`, which was taken from `queue`. It is below the span that sent the
    /// message, so that a message's way is one trace.
    pub fn process(&self, queue: &QueueName, envelope: &Envelope) -> TraceSpan {
        let Some(tracing) = &self.0 else { return TraceSpan::default() };
        let sender = envelope.trace().map(|trace| remote(&trace));
        let destination = consumed(queue);
        let builder = SpanBuilder::from_name(format!("process {destination}")).with_kind(SpanKind::Consumer);
        let mut attributes = messaging(tracing, "process", "process", destination);
        attributes.extend(envelope.id().map(message_id));
        attributes.extend(queue.backend().as_ref().map(backend));
        tracing.begin(builder.with_attributes(attributes), sender.as_ref())
    }
}

impl TraceSpan {
    pub(super) fn new(span: SdkSpan, tracing: &Arc<Tracing>) -> Self {
        let context = span.span_context().clone();
        let place = SpanPlace { tracing: Arc::clone(tracing), written: written(&context), context };
        Self(Some(Box::new(Live { span, scope: Scope(Some(Arc::new(place))) })))
    }

    /// Whether there is no span, because traces are off.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The span's place in its trace.
    pub fn scope(&self) -> Scope {
        self.0.as_ref().map_or_else(Scope::default, |live| live.scope.clone())
    }

    /// The trace to pass on, so that others join it. `None` if traces are off.
    pub fn context(&self) -> Option<&TraceContext> {
        self.0.as_ref()?.scope.context()
    }

    /// The trace to pass on in an HTTP request to others. `None` if none is passed on.
    pub fn propagated(&self) -> Option<&TraceContext> {
        let place = self.0.as_ref()?.scope.0.as_ref()?;
        place.tracing.propagates.then_some(&place.written)
    }

    /// Notes which message the span is about, and which attempt to send it.
    pub fn note_attempt(&mut self, id: MessageId, attempt: u32) {
        let Some(live) = &mut self.0 else { return };
        live.span.set_attribute(message_id(id));
        live.span.set_attribute(KeyValue::new("postern.attempt", i64::from(attempt)));
    }

    /// Notes which message the span is about.
    pub fn note_message(&mut self, id: MessageId) {
        if let Some(live) = &mut self.0 {
            live.span.set_attribute(message_id(id));
        }
    }

    /// Notes which backend the span is about.
    pub fn note_backend(&mut self, name: &BackendName) {
        if let Some(live) = &mut self.0 {
            live.span.set_attribute(backend(name));
        }
    }

    /// Notes the server that an HTTP request goes to, which the configuration names. Never notes the path
    /// or the query, which contain numbers, texts and secrets.
    pub fn note_server(&mut self, url: &Url) {
        let Some(live) = &mut self.0 else { return };
        live.span.set_attribute(KeyValue::new("url.scheme", url.scheme().to_owned()));
        if let Some(host) = url.host_str() {
            live.span.set_attribute(KeyValue::new("server.address", host.to_owned()));
        }
        if let Some(port) = url.port_or_known_default() {
            live.span.set_attribute(KeyValue::new("server.port", i64::from(port)));
        }
    }

    /// Notes the outcome, by a label of the metrics.
    pub fn note_outcome(&mut self, outcome: &'static str) {
        if let Some(live) = &mut self.0 {
            live.span.set_attribute(KeyValue::new("postern.outcome", outcome));
        }
    }

    /// Notes the status of an answer.
    pub(super) fn note_status(&mut self, status: u16) {
        if let Some(live) = &mut self.0 {
            live.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
    }

    /// Notes a failure: by its class and code, never by what was answered.
    pub fn note_failure(&mut self, failure: &Failure) {
        if self.0.is_some() {
            let class = failure.class.as_str();
            self.fail(format!("{class}/{}", failure.code));
            if let Some(live) = &mut self.0 {
                live.span.set_attribute(KeyValue::new("postern.class", class));
            }
        }
    }

    /// Notes the outcome of an HTTP request: the status of its answer, or the failure.
    pub fn note_answer(&mut self, answer: Result<Option<u16>, &Failure>) {
        if self.0.is_none() {
            return;
        }
        let status = answer.unwrap_or_else(|failure| failure.http_status);
        if let Some(status) = status {
            self.note_status(status);
        }
        if let Err(failure) = answer {
            self.note_failure(failure);
        }
    }

    /// Marks the span as failed; `error_type` is one of a few words.
    pub(super) fn fail(&mut self, error_type: impl Into<StringValue>) {
        if let Some(live) = &mut self.0 {
            live.span.set_attribute(KeyValue::new("error.type", Value::String(error_type.into())));
            live.span.set_status(Status::error(""));
        }
    }
}

impl Scope {
    /// The trace to pass on, so that others join it. `None` if traces are off.
    pub fn context(&self) -> Option<&TraceContext> {
        self.0.as_ref().map(|place| &place.written)
    }

    /// The span of an HTTP request with the method `method`, which must be a standard one.
    pub fn client(&self, method: &str) -> TraceSpan {
        let Some(place) = &self.0 else { return TraceSpan::default() };
        let builder = SpanBuilder::from_name(method.to_owned()).with_kind(SpanKind::Client);
        let builder = builder.with_attributes([KeyValue::new("http.request.method", method.to_owned())]);
        place.tracing.begin(builder, Some(&place.context))
    }

    /// Makes the spans of publishing `messages`, one for each address, and puts them into the messages. A
    /// message that goes only to the message log gets no span, since it is nobody's message.
    pub fn sends(&self, messages: &mut [(Address, Envelope)]) -> Sends {
        let Some(place) = &self.0 else { return Sends::default() };
        let mut sends: Vec<SendSpan> = Vec::new();
        for (address, envelope) in messages.iter_mut().filter(|(address, _)| *address != Address::Log) {
            let known = sends.iter().position(|send| send.address == *address);
            let send = match known {
                Some(at) => &mut sends[at],
                None => {
                    sends.push(SendSpan::begin(place, address, envelope.id()));
                    let last = sends.len() - 1;
                    &mut sends[last]
                }
            };
            send.messages += 1;
            if let Some(context) = send.span.context() {
                envelope.set_trace(context);
            }
        }
        Sends(sends)
    }

    /// Notes that the message from `queue` was acknowledged.
    pub fn acknowledged(&self, queue: &QueueName) {
        self.settled(queue, "ack");
    }

    /// Notes that the message from `queue` was requeued.
    pub fn requeued(&self, queue: &QueueName) {
        self.settled(queue, "requeue");
    }

    fn settled(&self, queue: &QueueName, operation: &'static str) {
        let Some(place) = &self.0 else { return };
        let destination = consumed(queue);
        let builder = SpanBuilder::from_name(format!("{operation} {destination}"));
        let attributes = messaging(&place.tracing, "settle", operation, destination);
        let builder = builder.with_kind(SpanKind::Client).with_attributes(attributes);
        drop(place.tracing.begin(builder, Some(&place.context)));
    }
}

impl SendSpan {
    fn begin(place: &SpanPlace, address: &Address, id: Option<MessageId>) -> Self {
        let (exchange, key) = (address.exchange(), address.routing_key());
        let destination = joined(&[&exchange, &key]);
        let builder = SpanBuilder::from_name(format!("send {destination}")).with_kind(SpanKind::Producer);
        let mut attributes = messaging(&place.tracing, "send", "send", destination);
        attributes.push(KeyValue::new("messaging.rabbitmq.destination.routing_key", key));
        let name = match address {
            Address::Inbound(name)
            | Address::Outbound(name, _)
            | Address::Reports(name)
            | Address::Callbacks(name)
            | Address::Dead(name) => Some(name.clone()),
            Address::Queue(queue) | Address::Later { queue, .. } => queue.backend(),
            Address::Log => None,
        };
        attributes.extend(name.as_ref().map(backend));
        let span = place.tracing.begin(builder.with_attributes(attributes), Some(&place.context));
        Self { address: address.clone(), messages: 0, id, span }
    }
}

impl Sends {
    /// Ends the spans, and notes whether the messages were stored.
    pub fn end(mut self, published: Result<(), &BrokerError>) {
        for SendSpan { messages, id, span, .. } in &mut self.0 {
            let Some(live) = &mut span.0 else { continue };
            match id {
                Some(id) if *messages == 1 => live.span.set_attribute(message_id(*id)),
                _ => live.span.set_attribute(KeyValue::new("messaging.batch.message_count", *messages)),
            }
            if let Err(error) = published {
                span.fail(error_type(error));
            }
        }
    }
}

/// The name of a broker's error in a span.
fn error_type(error: &BrokerError) -> &'static str {
    match error {
        BrokerError::Unavailable(_) => "unavailable",
        BrokerError::Blocked(_) => "blocked",
        BrokerError::Full(_) => "full",
        BrokerError::Rejected(_) => "rejected",
        BrokerError::TimedOut(_) => "timeout",
        BrokerError::Refused(_) => "refused",
        BrokerError::Locked { .. } | BrokerError::Store { .. } => "store",
        BrokerError::Url(_) => "url",
        BrokerError::Closed => "closed",
    }
}

/// The attributes of every span about a queue. `operation` is one of the convention's types, `name` the
/// system's word for it.
fn messaging(
    tracing: &Tracing,
    operation: &'static str,
    name: &'static str,
    destination: String,
) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", tracing.system),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.destination.name", destination),
    ]
}

fn message_id(id: MessageId) -> KeyValue {
    KeyValue::new("messaging.message.id", id.to_string())
}

fn backend(name: &BackendName) -> KeyValue {
    KeyValue::new("postern.backend", name.as_str().to_owned())
}

/// The name of what is taken from `queue`, by the convention: the exchange and the routing key by which
/// messages reach the queue, if there is one of each, and the queue.
pub(super) fn consumed(queue: &QueueName) -> String {
    let address = queue.backend().map(|backend| {
        let is_bulk = *queue == QueueName::outbound(&backend, Priority::Bulk);
        Address::Outbound(backend, if is_bulk { Priority::Bulk } else { Priority::Normal })
    });
    match address {
        Some(address) => joined(&[&address.exchange(), &address.routing_key(), queue.as_str()]),
        None => queue.as_str().to_owned(),
    }
}

/// The `parts` that are not empty, without adjacent repetitions, joined by colons.
fn joined(parts: &[&str]) -> String {
    let mut parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
    parts.dedup();
    parts.join(":")
}

/// The span of another process that `trace` names.
pub(super) fn remote(trace: &TraceContext) -> SpanContext {
    let mut parts = trace.as_str().split('-').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let trace_id = TraceId::from_hex(part()).unwrap_or(TraceId::INVALID);
    let span_id = SpanId::from_hex(part()).unwrap_or(SpanId::INVALID);
    let flags = TraceFlags::new(u8::from_str_radix(part(), 16).unwrap_or_default());
    let state = trace.state().and_then(|state| state.parse().ok());
    SpanContext::new(trace_id, span_id, flags, true, state.unwrap_or_else(|| TraceState::NONE.clone()))
}

fn written(context: &SpanContext) -> TraceContext {
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
    let written = TraceContext::parse(&format!("00-{trace:032x}-{span:016x}-{flags:02x}"));
    let written = written.unwrap_or_else(TraceContext::begin);
    match context.trace_state().header() {
        state if state.is_empty() => written,
        state => written.with_state(&state),
    }
}

impl fmt::Debug for TraceSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceSpan").field(&self.context()).finish()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.context()).finish()
    }
}

impl fmt::Debug for Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sends").field("addresses", &self.0.len()).finish()
    }
}
