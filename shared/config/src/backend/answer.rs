//! What a provider's answer says: where it holds a value, what its errors mean, and what it says of each recipient.

use super::each::Each;
use postern_shared::{
    error::FailureClass,
    read::{with_exact_numbers, without_lone_surrogates},
    value::OneOrMany,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The JSON that `answer` is, each number with all of its digits; `None` if it is no JSON.
pub fn json(answer: &str) -> Option<Value> {
    serde_json::from_str(&with_exact_numbers(&without_lone_surrogates(answer))).ok()
}

/// An answer whose meaning the provider's documentation gives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailure {
    /// Where the answer holds the provider's error.
    pub at: AnswerPart,
    /// The errors that are meant.
    pub is: OneOrMany,
    /// What they mean for trying again.
    pub class: FailureClass,
    /// The code in the report; absent: the provider's error.
    pub code: Option<String>,
}

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

/// Where an answer, or an item of it, holds a value, such as the provider's id: a JSON pointer (RFC 6901; the
/// empty one is the whole) or a regex with one group.
#[derive(Debug, Clone)]
pub enum AnswerPart {
    /// RFC 6901, into a JSON answer.
    Pointer(String),
    /// The first group is the value.
    Regex(regex::Regex),
}

impl AnswerPart {
    /// The value in `answer`; `None` where there is none.
    pub fn find(&self, answer: &str) -> Option<String> {
        match self {
            Self::Pointer(pointer) => scalar(json(answer)?.pointer(pointer)?),
            Self::Regex(regex) => first_group(regex, answer),
        }
    }

    /// The value in `item`, a part of a JSON answer; a regex looks at it as it is written without white space.
    /// `None` where there is none.
    pub fn find_in(&self, item: &Value) -> Option<String> {
        match self {
            Self::Pointer(pointer) => scalar(item.pointer(pointer)?),
            Self::Regex(regex) => first_group(regex, &item.to_string()),
        }
    }
}

impl KnownValue {
    /// Whether `item` holds one of the values.
    pub fn is_in(&self, item: &Value) -> bool {
        self.at.find_in(item).is_some_and(|value| self.is.0.contains(&value))
    }
}

/// The text of a JSON value that is not empty.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

fn first_group(regex: &regex::Regex, text: &str) -> Option<String> {
    Some(regex.captures(text)?.get(1)?.as_str().to_owned())
}

impl<'de> Deserialize<'de> for AnswerPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.starts_with('/') {
            return Ok(Self::Pointer(text));
        }
        match regex::Regex::new(&text) {
            Ok(regex) if regex.captures_len() == 2 => Ok(Self::Regex(regex)),
            _ => Err(de::Error::custom(
                "must be a JSON pointer such as \"/id\", or a regular expression with one group",
            )),
        }
    }
}
