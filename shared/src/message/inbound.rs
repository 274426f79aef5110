//! A message that a person sent in.

use super::{BackendName, INBOUND_V1, Identity, Malformed, MessageId};
use crate::clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A message that a person sent in through a backend (`postern.inbound.v1`).
///
/// ```
/// use postern_shared::message::Inbound;
///
/// let message = Inbound::new("clinic".parse()?, "+15551234567".parse()?, "ping").with_external_id("SM1");
/// let again = Inbound::new("clinic".parse()?, "+15551234567".parse()?, "ping").with_external_id("SM1");
/// assert_eq!(message.id, again.id, "a repetition has the same id");
///
/// let read = Inbound::from_json(&message.to_json()).unwrap();
/// assert_eq!(read, message);
/// # Ok::<(), postern_shared::message::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inbound {
    /// The message's id. By default it is made of `external_id`, identity and text
    /// ([`MessageId::inbound`]); if `receive.dedupe` lists fields, of those ([`MessageId::inbound_of`]).
    /// It is new if one of them is missing, and always if `receive.dedupe` is `false`.
    pub id: MessageId,
    /// The backend that it came through.
    pub backend: BackendName,
    /// The sender.
    pub identity: Identity,
    /// The text, cleaned. It is empty only if the backend's form allows that (USSD sessions).
    pub text: String,
    /// The extra parameters that the backend declares, cleaned, under the names in its configuration.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// The provider's own id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// When the provider received the message or, if it does not say, when Postern did. UTC, milliseconds.
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

    /// Sets the provider's own id of the message, and makes the message's id as [`MessageId::inbound`]
    /// does, so that a repetition of the message has the same id.
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
