//! What happens to a message, as the message log records it.

use crate::{
    clock,
    error::FailureClass,
    message::{BackendName, EVENT_V1, Identity, Malformed, MessageId, State, read_json, write_json},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing that happened to a message, for one recipient or for the whole message
/// (`postern.event.v1`).
///
/// ```
/// use postern_shared::event::{Event, EventKind};
/// use postern_shared::message::MessageId;
///
/// let identity = "+15551234567".parse()?;
/// let sent = Event {
///     attempt: Some(1),
///     external_id: Some("SM1".to_owned()),
///     http_status: Some(201),
///     duration_ms: Some(84),
///     ..Event::new(EventKind::Sent, MessageId::new(), "clinic".parse()?).about(identity)
/// };
/// let json = serde_json::to_value(&sent).unwrap();
/// assert_eq!((&json["event"], &json["http_status"]), (&"sent".into(), &201.into()));
/// # Ok::<(), postern_shared::message::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The message that it happened to.
    pub message_id: MessageId,
    /// The backend that the message came through or goes through.
    pub backend: BackendName,
    /// When it happened. UTC, milliseconds.
    #[serde(serialize_with = "clock::serialize")]
    pub at: Timestamp,
    /// What happened.
    pub event: EventKind,
    /// The recipient, or the sender of a received message. `None` if the event is about the whole
    /// message, or if a delivery report does not name the recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Which attempt to send, from 1. `None` if the event is not about an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Whether another attempt can help. `None` if nothing failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// The failure's short, stable name: `http_400`, `timeout`. In a delivery report, the provider's
    /// code or word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// An explanation for a person: the redacted beginning of what the provider answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The provider's own id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The status code of the provider's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// How long the provider took to answer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Who did it: the name of an API key, of a client of a compatibility listener, or of an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The message itself, in [`EventKind::Received`] and [`EventKind::Accepted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What a client wants to be told of the message, sealed (see [`callback`](crate::callback)), in
    /// [`EventKind::Accepted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// What the client was answered, in [`EventKind::Accepted`], if it gave the message an id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_answer: Option<FirstAnswer>,
}

/// The answer to a client that gave its message an id of its own (`Idempotency-Key`). A repetition of
/// the message gets the same answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstAnswer {
    /// A digest of the request, which tells a repetition from another message under the same id.
    pub fingerprint: String,
    /// The fields of the answer. They contain no number and no text of a message.
    pub answer: Map<String, Value>,
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A person's message was stored.
    Received,
    /// An application's message was stored, to be sent.
    Accepted,
    /// The provider took it over.
    Sent,
    /// An attempt failed or was deferred; another follows.
    Deferred,
    /// The provider holds it for a recipient that it cannot reach now.
    Buffered,
    /// The recipient has it.
    Delivered,
    /// The provider took it and could not deliver it.
    Undelivered,
    /// It is not sent: the last attempt failed, or another is pointless.
    Failed,
    /// `expires_at` passed before it was sent.
    Expired,
    /// Nobody knows whether the provider has it, or what its report means.
    Unknown,
    /// It was dead-lettered.
    Dead,
    /// An operator redrove the dead letter.
    Redriven,
    /// The application's webhook took it.
    Forwarded,
    /// The client of a compatibility listener was told of it.
    CalledBack,
}

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a person to the applications.
    Inbound,
    /// From an application to people.
    Outbound,
}

/// The part of a message that the message log records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The message's direction.
    pub direction: Direction,
    /// The recipients, or the sender of a received message.
    pub identities: Vec<Identity>,
    /// The text. `None` if the log keeps only states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How many short messages the text takes for each recipient. `None` if they are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<usize>,
    /// When it was accepted, or received. UTC, milliseconds.
    #[serde(serialize_with = "clock::serialize")]
    pub created_at: Timestamp,
    /// The provider's parameters beyond identity and text, or the application's `context`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// What the message log keeps of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The whole message.
    #[default]
    Full,
    /// No text, no fields, no callback, and only a keyed hash of each number.
    States,
}

impl EventKind {
    /// Every kind, in the order of a message's life.
    pub const ALL: [Self; 14] = [
        Self::Received,
        Self::Accepted,
        Self::Sent,
        Self::Deferred,
        Self::Buffered,
        Self::Delivered,
        Self::Undelivered,
        Self::Failed,
        Self::Expired,
        Self::Unknown,
        Self::Dead,
        Self::Redriven,
        Self::Forwarded,
        Self::CalledBack,
    ];

    /// The name in messages, in the log's tables and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Deferred => "deferred",
            Self::Buffered => "buffered",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Dead => "dead",
            Self::Redriven => "redriven",
            Self::Forwarded => "forwarded",
            Self::CalledBack => "called_back",
        }
    }
}

/// The kind of event that leads to a recipient's state.
impl From<State> for EventKind {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Accepted,
            State::Sent => Self::Sent,
            State::Buffered => Self::Buffered,
            State::Delivered => Self::Delivered,
            State::Retrying => Self::Deferred,
            State::Failed => Self::Failed,
            State::Undelivered => Self::Undelivered,
            State::Expired => Self::Expired,
            State::Unknown => Self::Unknown,
        }
    }
}

impl Event {
    /// Reads the body of a queue's message.
    ///
    /// # Errors
    /// [`Malformed`] with the field at fault.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        read_json(EVENT_V1, body)
    }

    /// The body for the queue.
    pub fn to_json(&self) -> Vec<u8> {
        write_json(self)
    }

    /// An event that happens now and is about the whole message.
    pub fn new(event: EventKind, message_id: MessageId, backend: BackendName) -> Self {
        Self {
            message_id,
            backend,
            at: clock::now(),
            event,
            identity: None,
            attempt: None,
            class: None,
            code: None,
            detail: None,
            external_id: None,
            http_status: None,
            duration_ms: None,
            by: None,
            content: None,
            callback: None,
            first_answer: None,
        }
    }

    /// The same event about one recipient.
    #[must_use]
    pub fn about(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_as_it_is_called() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        let content = Content {
            direction: Direction::Outbound,
            identities: vec!["+1".parse().unwrap()],
            text: Some("pong".to_owned()),
            segments: Some(1),
            created_at: clock::now(),
            fields: Map::new(),
        };
        let by = Some("clinic-app".to_owned());
        let bare = Event::new(EventKind::Accepted, MessageId::new(), "clinic".parse().unwrap());
        let answer = Map::from_iter([("identities".to_owned(), 1.into())]);
        let first_answer = Some(FirstAnswer { fingerprint: "aa".to_owned(), answer });
        let event =
            Event { content: Some(content), by, callback: Some("sealed".to_owned()), first_answer, ..bare };
        assert_eq!(Event::from_json(&event.to_json()).unwrap(), event);
    }
}
