//! How one answer reports on each recipient of its request: `[backends.NAME.send.results]`.

use super::{AnswerPart, KnownFailure};
use crate::backend::each::Each;
use postern_shared::value::OneOrMany;
use serde::Deserialize;
use serde_json::Value;

/// How an answer reports on each recipient of its request: `send.results`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The lists in a JSON answer whose items are about one recipient each.
    pub each: Each,
    /// Where an item holds the recipient. `None`: there is one item for each recipient, in the order of the
    /// request.
    pub identity: Option<AnswerPart>,
    /// Where an item holds the provider's id of the message to its recipient. `None`, or if the item does not
    /// hold it: the id that `send.external_id` finds in the whole answer.
    pub external_id: Option<AnswerPart>,
    /// When an item means that the provider accepted the message for its recipient. `None`: if none of `failures`
    /// matches.
    pub success: Option<KnownValue>,
    /// The meanings of particular items that are not a success; the first that matches counts. Any other item is
    /// `not_accepted`.
    #[serde(default)]
    pub failures: Vec<KnownFailure>,
}

/// A value in an answer, and the known values of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownValue {
    /// Where the answer holds the value.
    pub at: AnswerPart,
    /// The known values.
    pub is: OneOrMany,
}

impl KnownValue {
    /// Whether `item` holds one of the values.
    pub fn is_in(&self, item: &Value) -> bool {
        self.at.find_in(item).is_some_and(|value| self.is.0.contains(&value))
    }
}
