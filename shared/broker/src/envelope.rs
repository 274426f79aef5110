//! What a queue holds: a body with its AMQP properties.

use bytes::Bytes;
use jiff::Timestamp;
use postern_shared::{
    clock,
    event::Event,
    message::{
        CALLBACK_V1, CallbackEvent, EVENT_V1, INBOUND_V1, Inbound, MessageId, OUTBOUND_V1, Outbound, POLL_V1,
        Poll, REPORT_V1, Report,
    },
    trace_context::{self, TraceContext, is_state},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The length, in bytes, to which a body that is too large is cut.
pub const CUT_BODY: usize = 64 * 1024;

/// The names of the headers that Postern sets. A consumer sees those that begin with
/// [`OWN`](header::OWN) only on messages published to [`Address::Queue`](crate::Address::Queue),
/// [`Later`](crate::Address::Later) or [`Dead`](crate::Address::Dead): on others an application may have
/// written them, and they are dropped. [`BY`](header::BY) and [`SEGMENTS`](header::SEGMENTS) are the
/// exceptions: they go into the message log as the publisher's word, and decide nothing.
pub mod header {
    /// The prefix of Postern's own headers.
    pub const OWN: &str = "x-postern-";
    /// W3C Trace Context: `00-<trace id>-<span id>-<flags>`.
    pub use postern_shared::trace_context::TRACEPARENT;
    /// W3C Trace Context: what tracing systems on the way noted about the trace.
    pub use postern_shared::trace_context::TRACESTATE;
    /// Why a message was dead-lettered.
    pub const REASON: &str = "x-postern-reason";
    /// The failure class of a dead letter: one of a closed set.
    pub const CLASS: &str = "x-postern-class";
    /// The name of the failure of a dead letter: `http_400`, `poison` …
    pub const CODE: &str = "x-postern-code";
    /// When a message was dead-lettered: RFC 3339, UTC.
    pub const DEAD_AT: &str = "x-postern-dead-at";
    /// How many attempts a dead letter had: an integer.
    pub const ATTEMPTS: &str = "x-postern-attempts";
    /// Which attempt to deliver to the application this is, from 1: an integer. Absent: the first.
    pub const ATTEMPT: &str = "x-postern-attempt";
    /// The queue that a dead letter came from, or to which an unrouted message was to return.
    pub const QUEUE: &str = "x-postern-queue";
    /// When an operator put the message into its queue, by a redrive or a move: RFC 3339, UTC. A
    /// cancellation of earlier messages does not apply to it. The header stays with the message's
    /// further attempts.
    pub const REQUEUED_AT: &str = "x-postern-requeued-at";
    /// The length of a body in bytes before it was cut: an integer. Absent: the body is whole.
    pub const CUT_FROM: &str = "x-postern-cut-from";

    /// The name of the API key or of the client of a compatibility listener that sent the message. It is
    /// the publisher's word, and anyone who may publish to `postern.outbound` may write it.
    pub const BY: &str = "x-postern-by";
    /// How many short messages an accepted text takes for each recipient: an integer. It is the
    /// publisher's word.
    pub const SEGMENTS: &str = "x-postern-segments";
    /// The exchange that a message in `postern.log` was published to.
    pub const EXCHANGE: &str = "x-postern-exchange";
    /// The routing key that a message in `postern.log` was published with.
    pub const ROUTING_KEY: &str = "x-postern-routing-key";

    /// The prefixes of headers that say what happened to a message in a queue: they are not true of its
    /// next attempt.
    pub const OF_THE_QUEUE: [&str; 5] =
        [OWN, "x-death", "x-delivery-count", "x-first-death-", "x-last-death-"];
}

/// A header's value; in JSON, a string or an integer. AMQP knows more kinds; those are dropped on
/// reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HeaderValue {
    /// UTF-8.
    Text(String),
    /// Any of AMQP's integers.
    Integer(i64),
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for HeaderValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// Headers by name.
pub type Headers = BTreeMap<String, HeaderValue>;

/// A message of a queue: a body and the properties around it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// AMQP `message_id`: the message's id.
    pub message_id: Option<String>,
    /// AMQP `type`: one of the `postern.*.v1` names.
    pub kind: Option<String>,
    /// AMQP `content_type`.
    pub content_type: Option<String>,
    /// AMQP `headers`.
    pub headers: Headers,
    /// The message's body.
    pub body: Bytes,
}

impl Envelope {
    fn json(kind: &str, id: String, body: Vec<u8>) -> Self {
        Self {
            message_id: Some(id),
            kind: Some(kind.to_owned()),
            content_type: Some("application/json".to_owned()),
            headers: Headers::new(),
            body: body.into(),
        }
    }

    /// The same envelope with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    /// The same envelope in a trace: that in its headers, or a new one.
    #[must_use]
    pub fn in_own_trace(mut self) -> Self {
        let parent = self.text_header(header::TRACEPARENT);
        if parent.is_some_and(TraceContext::is_ours) {
            if self.headers.contains_key(header::TRACESTATE)
                && !self.text_header(header::TRACESTATE).is_some_and(is_state)
            {
                self.headers.remove(header::TRACESTATE);
            }
            return self;
        }
        let trace = self.trace().unwrap_or_else(TraceContext::begin);
        self.set_trace(&trace);
        self
    }

    /// The trace in its headers. `None` if there is none.
    pub fn trace(&self) -> Option<TraceContext> {
        let trace = TraceContext::parse(self.text_header(header::TRACEPARENT)?)?;
        Some(match self.text_header(header::TRACESTATE) {
            Some(state) => trace.with_state(state),
            None => trace,
        })
    }

    /// Puts it into `trace`, in place of any trace in its headers.
    pub fn set_trace(&mut self, trace: &TraceContext) {
        self.headers.insert(header::TRACEPARENT.to_owned(), trace.as_str().into());
        match trace.state() {
            Some(state) => self.headers.insert(header::TRACESTATE.to_owned(), state.into()),
            None => self.headers.remove(header::TRACESTATE),
        };
    }

    /// The same envelope in the trace of `original`, if that is in one.
    #[must_use]
    pub fn in_trace_of(mut self, original: &Self) -> Self {
        for name in [header::TRACEPARENT, header::TRACESTATE] {
            if let Some(value) = original.headers.get(name) {
                self.headers.insert(name.to_owned(), value.clone());
            }
        }
        self
    }

    /// The id of its trace, for logs.
    pub fn trace_id(&self) -> Option<&str> {
        self.text_header(header::TRACEPARENT).and_then(trace_context::id_in)
    }

    /// The message's id, for log lines. `None` if `message_id` is not a UUID: it may be an application's
    /// own text.
    pub fn id(&self) -> Option<MessageId> {
        self.message_id.as_deref()?.parse().ok()
    }

    /// The same envelope with only the first `bytes` bytes of its body, and a header that says how many
    /// it had. A shorter body stays whole.
    #[must_use]
    pub fn cut(mut self, bytes: usize) -> Self {
        if self.body.len() <= bytes {
            return self;
        }
        let had = self.cut_from().unwrap_or(self.body.len() as u64);
        // A copy, which does not keep the whole body in memory.
        self.body = Bytes::copy_from_slice(&self.body[..bytes]);
        self.with(header::CUT_FROM, i64::try_from(had).unwrap_or(i64::MAX))
    }

    /// The bytes that its body had, if it was [cut](Self::cut).
    pub fn cut_from(&self) -> Option<u64> {
        self.integer_header(header::CUT_FROM).and_then(|bytes| u64::try_from(bytes).ok())
    }

    /// The same envelope with the note that an operator put it into its queue at `at`.
    #[must_use]
    pub fn requeued(self, at: Timestamp) -> Self {
        self.with(header::REQUEUED_AT, clock::Written(at).to_string())
    }

    /// When an operator put it into its queue. `None` if nobody did.
    pub fn requeued_at(&self) -> Option<Timestamp> {
        self.text_header(header::REQUEUED_AT)?.parse().ok()
    }

    /// The headers of the next attempt: the application's own, the trace, and when an operator put the
    /// message into its queue.
    pub fn own_headers(&self) -> Headers {
        let kept = |name: &str| {
            name == header::REQUEUED_AT || !header::OF_THE_QUEUE.iter().any(|prefix| name.starts_with(prefix))
        };
        let kept = self.headers.iter().filter(|(name, _)| kept(name));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The integer in the header `name`.
    pub fn integer_header(&self, name: &str) -> Option<i64> {
        match self.headers.get(name) {
            Some(HeaderValue::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// The text in the header `name`.
    pub fn text_header(&self, name: &str) -> Option<&str> {
        match self.headers.get(name) {
            Some(HeaderValue::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Hides the body, the headers and everything else that is somebody's text: that never reaches a log.
impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl From<&Inbound> for Envelope {
    fn from(message: &Inbound) -> Self {
        Self::json(INBOUND_V1, message.id.to_string(), message.to_json())
    }
}

impl From<&Outbound> for Envelope {
    fn from(message: &Outbound) -> Self {
        Self::json(OUTBOUND_V1, message.id.to_string(), message.to_json())
    }
}

impl From<&Report> for Envelope {
    fn from(report: &Report) -> Self {
        Self::json(REPORT_V1, report.message_id.to_string(), report.to_json())
    }
}

impl From<&CallbackEvent> for Envelope {
    fn from(callback_event: &CallbackEvent) -> Self {
        Self::json(CALLBACK_V1, callback_event.message_id.to_string(), callback_event.to_json())
    }
}

impl From<&Poll> for Envelope {
    fn from(poll: &Poll) -> Self {
        Self::json(POLL_V1, poll.message_id.to_string(), poll.to_json())
    }
}

impl From<&Event> for Envelope {
    fn from(event: &Event) -> Self {
        Self::json(EVENT_V1, event.message_id.to_string(), event.to_json())
    }
}
