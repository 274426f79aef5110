//! What a queue holds: a body and what AMQP says about it.

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

/// The bytes that are left of a body that is cut because it is too large.
pub const CUT_BODY: usize = 64 * 1024;

/// Names of the headers that Postern sets. Those that begin with [`OWN`](header::OWN) reach a consumer
/// only of what was published to [`Address::Queue`](crate::Address::Queue),
/// [`Later`](crate::Address::Later) or [`Dead`](crate::Address::Dead): elsewhere an application may have
/// written them, and they are dropped. [`BY`](header::BY) and [`SEGMENTS`](header::SEGMENTS) are the exceptions: they
/// go into the message log, as what the publisher says, and decide nothing.
pub mod header {
    /// How the names of Postern's own headers begin.
    pub const OWN: &str = "x-postern-";
    /// W3C Trace Context: `00-<trace id>-<span id>-<flags>`.
    pub use postern_shared::trace_context::TRACEPARENT;
    /// W3C Trace Context: what tracing systems on the way noted about the trace.
    pub use postern_shared::trace_context::TRACESTATE;
    /// Why a dead message is dead.
    pub const REASON: &str = "x-postern-reason";
    /// The failure class of a dead message: one of a closed set.
    pub const CLASS: &str = "x-postern-class";
    /// The failure's name of a dead message: `http_400`, `poison` …
    pub const CODE: &str = "x-postern-code";
    /// When a dead message died: RFC 3339, UTC.
    pub const DEAD_AT: &str = "x-postern-dead-at";
    /// How many attempts a dead message had: an integer.
    pub const ATTEMPTS: &str = "x-postern-attempts";
    /// Which attempt to deliver to the application this is, from 1: an integer. Absent: the first.
    pub const ATTEMPT: &str = "x-postern-attempt";
    /// The queue that a dead message came from, or that an unrouted one was on its way back to.
    pub const QUEUE: &str = "x-postern-queue";
    /// When an operator put the message into its queue, by a redrive or a move: RFC 3339, UTC. What was
    /// cancelled before then is another matter. It stays with the message's further attempts.
    pub const REQUEUED_AT: &str = "x-postern-requeued-at";
    /// The bytes that a body had before it was cut: an integer. Absent: it is whole.
    pub const CUT_FROM: &str = "x-postern-cut-from";

    /// Who had the message accepted: the name of an API key or of a client of a compatibility listener. As
    /// the one who published the message says it, which may be anyone who may publish to `postern.outbound`.
    pub const BY: &str = "x-postern-by";
    /// How many short messages an accepted text takes for each recipient: an integer. As the one who
    /// published the message says it.
    pub const SEGMENTS: &str = "x-postern-segments";
    /// Of a message in `postern.log`, the exchange that it was published to.
    pub const EXCHANGE: &str = "x-postern-exchange";
    /// Of a message in `postern.log`, the routing key that it was published with.
    pub const ROUTING_KEY: &str = "x-postern-routing-key";

    /// How the names of headers begin that say what happened to a message in a queue: they are not
    /// true of its next attempt.
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

/// A queue's message: a body and the properties around it.
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
    /// The message.
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

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    /// The same in a trace: its own where its headers say one, else a new one.
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

    /// The trace that its headers say. `None` if they say none.
    pub fn trace(&self) -> Option<TraceContext> {
        let trace = TraceContext::parse(self.text_header(header::TRACEPARENT)?)?;
        Some(match self.text_header(header::TRACESTATE) {
            Some(state) => trace.with_state(state),
            None => trace,
        })
    }

    /// Puts it into `trace`, whatever its headers said.
    pub fn set_trace(&mut self, trace: &TraceContext) {
        self.headers.insert(header::TRACEPARENT.to_owned(), trace.as_str().into());
        match trace.state() {
            Some(state) => self.headers.insert(header::TRACESTATE.to_owned(), state.into()),
            None => self.headers.remove(header::TRACESTATE),
        };
    }

    /// The same in the trace of `original`, if that is in one.
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

    /// The message's id, for logs. What an application calls its message otherwise is its own text.
    pub fn id(&self) -> Option<MessageId> {
        self.message_id.as_deref()?.parse().ok()
    }

    /// The same with only the first `bytes` bytes of its body, and a header that says how many it had.
    /// A shorter body stays whole.
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

    /// The same, put into its queue by an operator at `at`.
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

    /// The number of the header `name`.
    pub fn integer_header(&self, name: &str) -> Option<i64> {
        match self.headers.get(name) {
            Some(HeaderValue::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// The text of the header `name`.
    pub fn text_header(&self, name: &str) -> Option<&str> {
        match self.headers.get(name) {
            Some(HeaderValue::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Hides the body, the headers and whatever else is somebody's text: that never reaches a log.
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
    fn from(notice: &CallbackEvent) -> Self {
        Self::json(CALLBACK_V1, notice.message_id.to_string(), notice.to_json())
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
