//! A poll: a question that a provider is still to be asked.

use super::{BackendName, Identity, Malformed, MessageId, POLL_V1, State};
use crate::clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A question to a provider: what became of a message that it took over for one recipient
/// (`postern.poll.v1`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// The message.
    pub message_id: MessageId,
    /// The backend that it was sent through.
    pub backend: BackendName,
    /// The recipient.
    pub identity: Identity,
    /// The provider's own id of the message to this recipient.
    pub external_id: String,
    /// When the provider took it over. UTC.
    #[serde(serialize_with = "clock::serialize")]
    pub sent_at: Timestamp,
    /// The state of the message that was reported last.
    pub state: State,
    /// How often the provider was asked before.
    #[serde(default)]
    pub polls: u32,
    /// What the message's client wants to be told, sealed: see [`callback`](crate::callback).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
}

impl Poll {
    /// Reads the body of a queue's message.
    ///
    /// # Errors
    /// [`Malformed`] with the field at fault.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        super::json::read_json(POLL_V1, body)
    }

    /// The body for the queue.
    pub fn to_json(&self) -> Vec<u8> {
        super::json::write_json(self)
    }
}
