//! What came of a message that was accepted.

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
    /// The backend that it is queued for.
    pub(crate) backend: BackendName,
    /// How many recipients it has, without those that were left out.
    pub(crate) identities: usize,
    /// How many parts its text is sent in.
    pub(crate) parts: usize,
    /// What it costs for each recipient; `None` for a backend that does not count segments.
    pub(crate) cost: Option<Cost>,
    /// When it was accepted. UTC, milliseconds.
    #[serde(serialize_with = "clock::serialize")]
    pub(crate) at: Timestamp,
}
