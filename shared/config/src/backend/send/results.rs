//! What one answer says of each recipient of its request: `[backends.NAME.send.results]`.

use super::{AnswerPart, KnownFailure};
use crate::backend::each::Each;
use postern_shared::value::OneOrMany;
use serde::Deserialize;
use serde_json::Value;

/// What an answer says of each recipient of its request: `send.results`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The lists in a JSON answer of which every item is about one recipient.
    pub each: Each,
    /// Where an item holds the recipient. `None`: the items are in the order of the request, one for each
    /// recipient.
    pub identity: Option<AnswerPart>,
    /// Where an item holds the provider's id of the message to its recipient. `None`, or if it is not there:
    /// `send.external_id` says where the whole answer does.
    pub external_id: Option<AnswerPart>,
    /// When an item means that the provider took the message over for its recipient. `None`: if none of
    /// `failures` is meant.
    pub success: Option<KnownValue>,
    /// What particular items mean that are no success; the first that matches counts. Any other is
    /// `not_accepted`.
    #[serde(default)]
    pub failures: Vec<KnownFailure>,
}

/// A value of which some are known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownValue {
    /// Where it stands.
    pub at: AnswerPart,
    /// The values that are meant.
    pub is: OneOrMany,
}

impl KnownValue {
    /// Whether `item` holds one of the values.
    pub fn is_in(&self, item: &Value) -> bool {
        self.at.find_in(item).is_some_and(|value| self.is.0.contains(&value))
    }
}
