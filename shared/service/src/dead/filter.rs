//! The conditions that select dead letters.

use super::{dead_letter::DeadLetter, queue::DeadQueue};
use jiff::{SignedDuration, Timestamp};
use postern_shared::{error::FailureClass, message::BackendName};
use serde::{Deserialize, Serialize};

/// Selects dead letters. A letter must meet each condition that is given; it meets a list if it matches one
/// item. The admin port reads this type, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The message's id, the beginning of the id, or the letter's handle.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub id: Vec<String>,
    /// The message's backend.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backend: Vec<BackendName>,
    /// The failure's class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class: Vec<FailureClass>,
    /// The failure's code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
    /// Only letters that were dead-lettered longer ago than this: `30m`, `2h`, `7d`. A letter without a
    /// known time does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Age>,
    /// Only letters that were dead-lettered within this time. A letter without a known time does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<Age>,
    /// At most this many letters, in the queue's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The queue that the letters are in.
    pub queue: DeadQueue,
}

/// A filter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFilter(pub String);

impl Filter {
    /// Whether `letter` meets all conditions.
    pub fn passes(&self, letter: &DeadLetter) -> bool {
        self.passes_at(letter, Timestamp::now())
    }

    fn passes_at(&self, letter: &DeadLetter, now: Timestamp) -> bool {
        fn one<T: PartialEq<U>, U>(of: &[T], value: Option<U>) -> bool {
            of.is_empty() || value.is_some_and(|value| of.iter().any(|item| *item == value))
        }
        let age = letter.at().map(|at| now.duration_since(at));
        let text = |of: &[String], value: Option<&str>| {
            of.is_empty() || value.is_some_and(|value| of.iter().any(|item| item == value))
        };
        let classes: Vec<&str> = self.class.iter().map(|class| class.as_str()).collect();
        self.passes_id(letter)
            && one(&self.backend, letter.backend())
            && one(&classes, letter.class())
            && text(&self.code, letter.code())
            && self.older_than.is_none_or(|span| age.is_some_and(|age| age > span.0))
            && self.newer_than.is_none_or(|span| age.is_some_and(|age| age < span.0))
    }

    /// Whether `letter` has one of the ids, which must be whole by now.
    fn passes_id(&self, letter: &DeadLetter) -> bool {
        let one_is = |name: &str| self.id.iter().any(|id| id == name);
        self.id.is_empty() || letter.id().is_some_and(one_is) || one_is(&letter.handle())
    }

    /// Whether `found` letters reach the limit.
    pub fn is_full(&self, found: u64) -> bool {
        self.limit.is_some_and(|limit| found >= limit)
    }

    /// Whether every letter of the queue is selected, apart from a limit.
    pub fn is_everything(&self) -> bool {
        *self == Self { limit: self.limit, queue: self.queue, ..Self::default() }
    }
}

/// A span of time as people write it, also in days and weeks: `90s`, `30m`, `2h`, `7d`, `1w 2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(pub SignedDuration);

impl std::str::FromStr for Age {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let wrong = || InvalidFilter("must be a time such as \"90s\", \"30m\", \"2h\" or \"7d\"".to_owned());
        let span: jiff::Span = text.parse().map_err(|_| wrong())?;
        let days = jiff::SpanRelativeTo::days_are_24_hours();
        let span = span.to_duration(days).map_err(|_| wrong())?;
        if span.is_negative() { Err(wrong()) } else { Ok(Self(span)) }
    }
}

impl TryFrom<String> for Age {
    type Error = InvalidFilter;

    fn try_from(text: String) -> Result<Self, InvalidFilter> {
        text.parse()
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        format!("{:#}", age.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_broker::{Envelope, header};

    fn passes(filter: serde_json::Value, dead_at: &str) -> bool {
        let filter: Filter = serde_json::from_value(filter).unwrap();
        let envelope = Envelope {
            message_id: Some("1".to_owned()),
            body: r#"{"backend":"a","identities":["+1"]}"#.into(),
            ..Envelope::default()
        };
        let mut envelope = envelope.with(header::CLASS, "permanent").with(header::CODE, "http_400");
        if !dead_at.is_empty() {
            envelope = envelope.with(header::DEAD_AT, dead_at);
        }
        filter
            .passes_at(&DeadLetter::new(&envelope, DeadQueue::Dead), "2026-01-10T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn every_condition_must_hold() {
        let at = "2026-01-09T00:00:00Z";
        for (filter, expected) in [
            (serde_json::json!({}), true),
            (
                serde_json::json!({"id": ["2", "1"], "backend": ["a"], "class": ["permanent"], "code": ["http_400"]}),
                true,
            ),
            (serde_json::json!({"id": ["2"]}), false),
            (serde_json::json!({"backend": ["b"]}), false),
            (serde_json::json!({"class": ["transient", "unknown"]}), false),
            (serde_json::json!({"code": ["http_500"]}), false),
            (serde_json::json!({"older_than": "23h"}), true),
            (serde_json::json!({"older_than": "1d 1h"}), false),
            (serde_json::json!({"newer_than": "1w"}), true),
            (serde_json::json!({"newer_than": "1d", "backend": ["a"]}), false),
        ] {
            assert_eq!(passes(filter.clone(), at), expected, "{filter}");
        }
        for filter in [serde_json::json!({"older_than": "1s"}), serde_json::json!({"newer_than": "9w"})] {
            assert!(!passes(filter.clone(), ""), "{filter}: nobody knows when");
        }
    }

    #[test]
    fn a_letter_without_an_id_is_meant_by_its_handle() {
        let letter = |body: &'static str| {
            DeadLetter::new(&Envelope { body: body.into(), ..Envelope::default() }, DeadQueue::Dead)
        };
        let (meant, other) = (letter("no message"), letter("nor this"));
        let filter = Filter { id: vec![meant.handle()], ..Filter::default() };
        assert!(filter.passes(&meant) && !filter.passes(&other));
        let summary = meant.summary();
        assert_eq!((summary.id, summary.handle), (None, meant.name()));
    }

    #[test]
    fn an_age_comes_back_as_it_was_and_nonsense_is_refused() {
        for text in ["90s", "30m", "2h", "7d", "1w 2d", "500ms"] {
            let age: Age = text.parse().unwrap();
            assert_eq!(String::from(age).parse::<Age>(), Ok(age), "{text}");
        }
        for text in ["", "soon", "5", "-1h", "2 fortnights"] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Filter>(r#"{"backnd":["a"]}"#).is_err());
        assert!(Filter { limit: Some(3), ..Filter::default() }.is_everything());
        assert!(!Filter { code: vec!["x".to_owned()], ..Filter::default() }.is_everything());
    }
}
