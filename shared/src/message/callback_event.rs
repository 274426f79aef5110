//! An event that a client asked to be told of.

use super::{BackendName, CALLBACK_V1, Identity, Malformed, MessageId};
use crate::clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An event that a client of a compatibility listener wants to be told of (`postern.callback.v1`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallbackEvent {
    /// The message that it is about.
    pub message_id: MessageId,
    /// The backend that it was sent through.
    pub backend: BackendName,
    /// What the client asked for, sealed: see [`callback`](crate::callback).
    pub callback: String,
    /// What happened: the bit of a [`KannelEvent`](crate::callback::KannelEvent).
    pub event: u8,
    /// The recipient. `None` if the provider's report does not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The provider's own id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The provider's words about the event, after `ACK/` or `NACK/` if it is the result of sending.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply: String,
    /// When it happened. UTC.
    #[serde(serialize_with = "clock::serialize")]
    pub at: Timestamp,
}

impl CallbackEvent {
    /// Reads the body of a queue's message.
    ///
    /// # Errors
    /// [`Malformed`] with the field at fault.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        super::json::read_json(CALLBACK_V1, body)
    }

    /// The body for the queue.
    pub fn to_json(&self) -> Vec<u8> {
        super::json::write_json(self)
    }
}
