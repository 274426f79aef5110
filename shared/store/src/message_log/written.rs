//! How messages, states and cursors are written and read in the API and on a command line.

use super::{Cursor, LoggedState};
use jiff::Timestamp;
use postern_shared::{
    clock,
    error::FailureClass,
    event::{Event, EventKind},
    message::{Identity, State},
};
use serde::{Serialize, Serializer};
use std::{fmt, num::ParseIntError, str::FromStr};

/// Writes events without what their message already has: its id, its backend and its content.
pub(super) fn without_the_message<S: Serializer>(events: &[Event], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct LeanEvent<'a> {
        #[serde(serialize_with = "clock::serialize")]
        at: Timestamp,
        event: EventKind,
        #[serde(skip_serializing_if = "Option::is_none")]
        identity: Option<&'a Identity>,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<FailureClass>,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        external_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        http_status: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<&'a str>,
    }
    serializer.collect_seq(events.iter().map(|event| LeanEvent {
        at: event.at,
        event: event.event,
        identity: event.identity.as_ref(),
        attempt: event.attempt,
        class: event.class,
        code: event.code.as_deref(),
        detail: event.detail.as_deref(),
        external_id: event.external_id.as_deref(),
        http_status: event.http_status,
        duration_ms: event.duration_ms,
        by: event.by.as_deref(),
    }))
}

impl LoggedState {
    /// Every state, in the order of a message's life.
    pub const ALL: [Self; 11] = [
        Self::Received,
        Self::Forwarded,
        Self::Outbound(State::Queued),
        Self::Outbound(State::Retrying),
        Self::Outbound(State::Sent),
        Self::Outbound(State::Buffered),
        Self::Outbound(State::Delivered),
        Self::Outbound(State::Undelivered),
        Self::Outbound(State::Failed),
        Self::Outbound(State::Expired),
        Self::Outbound(State::Unknown),
    ];

    /// The name in the API, on the command line and in the log's tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Forwarded => "forwarded",
            Self::Outbound(State::Queued) => "queued",
            Self::Outbound(State::Retrying) => "retrying",
            Self::Outbound(State::Sent) => "sent",
            Self::Outbound(State::Buffered) => "buffered",
            Self::Outbound(State::Delivered) => "delivered",
            Self::Outbound(State::Undelivered) => "undelivered",
            Self::Outbound(State::Failed) => "failed",
            Self::Outbound(State::Expired) => "expired",
            Self::Outbound(State::Unknown) => "unknown",
        }
    }
}

/// The error for a name that is not a [`LoggedState`]. Its text lists the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownState;

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be one of {}", LoggedState::ALL.map(LoggedState::as_str).join(", "))
    }
}

impl std::error::Error for UnknownState {}

impl FromStr for LoggedState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == name).ok_or(UnknownState)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message_log::{LoggedMessage, LoggedRecipient};
    use postern_shared::{
        event::Direction,
        message::{BackendName, MessageId},
    };
    use serde_json::{Map, json};

    #[test]
    fn a_state_is_written_and_read_as_it_is_called() {
        for state in LoggedState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("sent, delivered".parse::<LoggedState>().is_err());
    }

    #[test]
    fn a_message_is_written_as_the_api_answers_it() {
        let (id, backend) = (MessageId::new(), "mybackend".parse::<BackendName>().unwrap());
        let identity: Identity = "+15551234567".parse().unwrap();
        let at: Timestamp = "2026-11-22T17:00:00.1Z".parse().unwrap();
        let accepted = Event {
            at,
            by: Some("clinic-app".to_owned()),
            ..Event::new(EventKind::Accepted, id, backend.clone())
        };
        let sent = Event {
            attempt: Some(1),
            external_id: Some("SM1".to_owned()),
            http_status: Some(201),
            duration_ms: Some(84),
            at,
            ..Event::new(EventKind::Sent, id, backend.clone()).about(identity.clone())
        };
        let recipient = LoggedRecipient {
            identity: identity.into(),
            state: LoggedState::Outbound(State::Sent),
            external_id: Some("SM1".to_owned()),
        };
        let message = LoggedMessage {
            id,
            direction: Direction::Outbound,
            backend,
            text: Some("pong".to_owned()),
            segments: Some(1),
            created_at: at,
            fields: Map::new(),
            recipients: vec![recipient],
            events: vec![accepted, sent],
        };
        let at = "2026-11-22T17:00:00.100Z";
        assert_eq!(
            serde_json::to_value(&message).unwrap(),
            json!({
                "id": id, "direction": "outbound", "backend": "mybackend", "text": "pong", "segments": 1,
                "created_at": at,
                "recipients": [{"identity": "+15551234567", "state": "sent", "external_id": "SM1"}],
                "events": [
                    {"at": at, "event": "accepted", "by": "clinic-app"},
                    {"at": at, "event": "sent", "identity": "+15551234567", "attempt": 1, "external_id": "SM1",
                     "http_status": 201, "duration_ms": 84},
                ],
            })
        );
    }
}
