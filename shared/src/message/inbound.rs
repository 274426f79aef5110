//! A message that a person sent in.

use super::{BackendName, INBOUND_V1, Identity, Malformed, MessageId};
use crate::clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A message that a person sent in through a backend (`postern.inbound.v1`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inbound {
    /// Stable if the provider gave an `external_id`, new otherwise: see [`MessageId::inbound`].
    pub id: MessageId,
    /// The backend that it came through.
    pub backend: BackendName,
    /// Who wrote.
    pub identity: Identity,
    /// What they wrote, cleaned; empty only where the backend's form allows it (USSD sessions).
    pub text: String,
    /// The backend's declared extra parameters, cleaned, by our name.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// The provider's own id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// When the provider says it got the message, else when Postern did. UTC, milliseconds.
    #[serde(serialize_with = "clock::serialize")]
    pub received_at: Timestamp,
}

impl Inbound {
    /// A message that was received now, with a new id and without fields.
    pub fn new(backend: BackendName, identity: Identity, text: impl Into<String>) -> Self {
        Self {
            id: MessageId::new(),
            backend,
            identity,
            text: text.into(),
            fields: Map::new(),
            external_id: None,
            received_at: clock::now(),
        }
    }

    /// Notes the provider's own id of the message, and makes the message's id of it, of the identity
    /// and of the text: a provider that repeats the message makes the same id.
    #[must_use]
    pub fn with_external_id(self, external_id: impl Into<String>) -> Self {
        let external_id = external_id.into();
        let id = MessageId::inbound(&self.backend, &external_id, &self.identity, &self.text);
        Self { id, external_id: Some(external_id), ..self }
    }

    /// Reads the body of a queue's message.
    ///
    /// # Errors
    /// [`Malformed`] with the field at fault.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        super::json::read_json(INBOUND_V1, body)
    }

    /// The body for the queue.
    pub fn to_json(&self) -> Vec<u8> {
        super::json::write_json(self)
    }
}
