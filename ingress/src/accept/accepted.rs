//! The result of accepting a message.

use jiff::Timestamp;
use postern_shared::{
    clock,
    message::{BackendName, MessageId},
    text::policy::Cost,
};
use serde::{Deserialize, Serialize};

/// A message that the broker has confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// The message's id.
    pub(crate) id: MessageId,
    /// The backend that the message is queued for.
    pub(crate) backend: BackendName,
    /// How many recipients the message has, without those that were left out.
    pub(crate) identities: usize,
    /// How many parts the text is sent in.
    pub(crate) parts: usize,
    /// What the text costs for each recipient; `None` for a backend that does not count segments.
    pub(crate) cost: Option<Cost>,
    /// When the message was accepted. UTC, milliseconds.
    #[serde(serialize_with = "clock::serialize")]
    pub(crate) at: Timestamp,
}
