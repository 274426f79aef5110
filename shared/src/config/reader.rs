//! From a tree of values to typed sections, collecting every problem on the way.

use super::{
    document::{Document, join},
    problem::Problem,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use std::collections::BTreeSet;

/// Reads sections and remembers what was wrong with them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    document: &'a Document,
    /// The keys that the environment set: their line in the file means nothing.
    from_environment: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Document, from_environment: BTreeSet<String>) -> Self {
        Self { document, from_environment, problems: Vec::new() }
    }

    /// Notes that `key` is wrong.
    pub(super) fn problem(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let key = key.into();
        let line = if self.from_environment.contains(&key) { None } else { self.document.line(&key) };
        self.problems.push(Problem { key, line, what: what.into() });
    }

    /// Reads the section at `path`. After a mistake it takes the wrong key out and reads again, so
    /// that one run finds them all; `None` where there was any.
    pub(super) fn read<T: DeserializeOwned>(&mut self, path: &str, mut section: Value) -> Option<T> {
        let mut reported = BTreeSet::new();
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(section.clone()) {
                Ok(value) if reported.is_empty() => return Some(value),
                Ok(_) => return None,
                Err(error) => error,
            };
            let text = error.inner().to_string();
            let segments: Vec<Segment> = error.path().iter().cloned().collect();
            let mut key = segments.iter().fold(path.to_owned(), |path, segment| match segment {
                Segment::Seq { index } => format!("{path}[{index}]"),
                Segment::Map { key } => join(&path, key),
                Segment::Enum { variant } => join(&path, variant),
                Segment::Unknown => path,
            });
            if self.from_environment.contains(&key) && retry_as_text(&mut section, &segments) {
                continue;
            }
            let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
            if let Some(field) = missing {
                key = join(&key, field);
            }
            if !reported.insert(key.clone()) {
                return None;
            }
            if !(missing.is_some() && self.problems.iter().any(|p| p.key == key)) {
                self.problem(key, explain(&text));
            }
            if missing.is_some() || !take_out(&mut section, &segments) {
                return None;
            }
        }
    }
}

/// An environment variable's value that looks like a number where a text is wanted is a text.
fn retry_as_text(section: &mut Value, segments: &[Segment]) -> bool {
    match find(section, segments) {
        Some(value) if value.is_number() || value.is_boolean() => {
            *value = Value::String(value.to_string());
            true
        }
        _ => false,
    }
}

fn take_out(section: &mut Value, segments: &[Segment]) -> bool {
    let Some((last, parents)) = segments.split_last() else { return false };
    match (find(section, parents), last) {
        (Some(Value::Object(table)), Segment::Map { key }) => table.shift_remove(key).is_some(),
        (Some(Value::Array(items)), Segment::Seq { index }) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

fn find<'v>(section: &'v mut Value, segments: &[Segment]) -> Option<&'v mut Value> {
    segments.iter().try_fold(section, |value, segment| match segment {
        Segment::Seq { index } => value.get_mut(index),
        Segment::Map { key } | Segment::Enum { variant: key } => value.get_mut(key.as_str()),
        Segment::Unknown => None,
    })
}

/// serde's text in the user's words, without the value, which may be a secret.
fn explain(text: &str) -> String {
    let after_expected = || text.rsplit_once("expected ").map(|(_, what)| what.trim_end());
    if text.starts_with("invalid type")
        || text.starts_with("invalid value")
        || text.starts_with("invalid length")
    {
        match after_expected() {
            Some("a sequence") => "must be a list".to_owned(),
            Some("a map") => "must be a table".to_owned(),
            Some("a boolean") => "must be true or false".to_owned(),
            Some(what) if what.starts_with("struct ") => "must be a table".to_owned(),
            Some(what) if what.starts_with(['u', 'i']) => format!("must be a whole number ({what})"),
            Some(what) => format!("must be {what}"),
            None => "has the wrong type".to_owned(),
        }
    } else if text.starts_with("unknown field") {
        let allowed = after_expected().unwrap_or("nothing else").replace('`', "");
        format!("unknown key; allowed here: {}", allowed.trim_start_matches("one of "))
    } else if text.starts_with("unknown variant") {
        let allowed = after_expected().unwrap_or_default().replace('`', "\"");
        format!("unknown value; allowed: {}", allowed.trim_start_matches("one of "))
    } else if text.starts_with("missing field") {
        "is missing".to_owned()
    } else {
        text.to_owned()
    }
}

/// `tree`'s table `key`, taken out; an empty table where there is none.
pub(super) fn take(tree: &mut Map<String, Value>, key: &str) -> Value {
    tree.shift_remove(key).unwrap_or_else(|| Value::Object(Map::new()))
}
