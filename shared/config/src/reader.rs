//! From a tree of values to typed sections, collecting every problem on the way.

use super::{
    document::{Document, join},
    problem::Problem,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;
use std::collections::BTreeSet;

type Wrong = serde_path_to_error::Error<serde_json::Error>;

/// Reads sections and remembers what was wrong with them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    document: &'a Document,
    /// What stands in for a key that is wrong, so that the checks behind it see the others.
    builtin: Map<String, Value>,
    /// The keys that the environment set: their line in the file means nothing.
    from_environment: BTreeSet<String>,
    /// The keys that could not be read.
    unread: BTreeSet<String>,
    /// Those of them that were entries of lists: the list, and the place in the file's.
    taken: BTreeSet<(String, usize)>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        document: &'a Document,
        builtin: Map<String, Value>,
        from_environment: BTreeSet<String>,
    ) -> Self {
        let (unread, taken, problems) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        Self { document, builtin, from_environment, unread, taken, problems }
    }

    /// Notes that `key` is wrong, as far as it could be read.
    pub(super) fn problem(&mut self, key: impl AsRef<str>, what: impl Into<String>) {
        let key = key.as_ref();
        if self.has_read(key) {
            self.note(self.in_file(key), what.into());
        }
    }

    /// Notes that `key` cannot be read.
    pub(super) fn unreadable(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let key = key.into();
        if self.unread.insert(key.clone()) {
            self.note(key, what.into());
        }
    }

    /// Whether all of `key` could be read: a check that rests on another key than its own asks.
    pub(super) fn has_read(&self, key: &str) -> bool {
        let key = self.in_file(key);
        !self.unread.iter().any(|unread| is_in(unread, &key) || is_in(&key, unread))
    }

    /// Reads the section at `path`. After a mistake it takes the wrong key out and reads again, so
    /// that one run finds them all: what it returns then has nothing there, or what stands in for it.
    /// `None` where nothing can be read without it.
    pub(super) fn read<T: DeserializeOwned>(&mut self, path: &str, mut section: Value) -> Option<T> {
        let mut filled = BTreeSet::new();
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(section.clone()) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let text = error.inner().to_string();
            let segments: Vec<Segment> = error.path().iter().cloned().collect();
            let key = place(path, &error);
            if self.from_environment.contains(&key) && retry_as_text(&mut section, &segments) {
                continue;
            }
            let around = self.in_file(&key);
            let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
            let Some(field) = missing else {
                self.unreadable(&around, explain(&text));
                if !self.take_out(&mut section, &segments, &around) {
                    return self.fallback(path);
                }
                continue;
            };
            self.unreadable(join(&around, field), explain(&text));
            let key = join(&key, field);
            let concerns = |error: &Wrong| is_in(&place(path, error), &key);
            let filled = filled.insert(key.clone())
                && stand_in::<T>(
                    &mut section,
                    &segments,
                    field,
                    self.built_in(path, &segments, field),
                    concerns,
                );
            if !filled && !self.take_out(&mut section, &segments, &around) {
                return self.fallback(path);
            }
        }
    }

    /// `key`, which counts the entries of lists as they are now, as the file counts them.
    fn in_file(&self, key: &str) -> String {
        let mut pieces = key.split('[');
        let mut path = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (index, rest) = piece.split_once(']').unwrap_or((piece, ""));
            let index = index.parse().map_or(index.to_owned(), |index: usize| {
                let gone = self.taken.iter().filter(|(list, _)| *list == path).map(|(_, place)| *place);
                gone.fold(index, |index, gone| if gone <= index { index + 1 } else { index }).to_string()
            });
            path = format!("{path}[{index}]{rest}");
        }
        path
    }

    /// Takes out what is at `segments`, which the file has at `key`; whether it was there.
    fn take_out(&mut self, section: &mut Value, segments: &[Segment], key: &str) -> bool {
        let Some((last, parents)) = segments.split_last() else { return false };
        match (find(section, parents), last) {
            (Some(Value::Object(table)), Segment::Map { key }) => table.shift_remove(key).is_some(),
            (Some(Value::Array(items)), Segment::Seq { index }) if *index < items.len() => {
                let place = key.trim_end_matches(']').rsplit_once('[');
                self.taken.extend(place.and_then(|(list, at)| Some((list.to_owned(), at.parse().ok()?))));
                items.remove(*index);
                true
            }
            _ => false,
        }
    }

    fn note(&mut self, key: String, what: String) {
        let line = if self.from_environment.contains(&key) { None } else { self.document.line(&key) };
        self.problems.push(Problem { key, line, what });
    }

    /// The built-in section at `path`, where there is one that runs as it is.
    fn fallback<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        T::deserialize(self.builtin.get(path)?).ok()
    }

    /// The built-in value of the `field` of the table at `segments` in the section at `path`.
    fn built_in(&self, path: &str, segments: &[Segment], field: &str) -> Option<Value> {
        find(&mut self.builtin.get(path)?.clone(), segments)?.get(field).cloned()
    }
}

/// Puts `built_in`, or else something that can be read there, into the `field` that the table at
/// `segments` lacks, so that the rest of the table is looked at; whether there is such a thing.
/// `concerns` says whether an error is one of the field.
fn stand_in<T: DeserializeOwned>(
    section: &mut Value,
    segments: &[Segment],
    field: &str,
    built_in: Option<Value>,
    concerns: impl Fn(&Wrong) -> bool,
) -> bool {
    let texts = ["unread", "1s", "http://unread.invalid/"].map(Value::from);
    let others = [json!(1), json!(true), json!([]), json!({})];
    for value in built_in.into_iter().chain(texts).chain(others) {
        let Some(Value::Object(table)) = find(section, segments) else { return false };
        table.insert(field.to_owned(), value);
        let read = serde_path_to_error::deserialize::<_, T>(section.clone());
        if !read.is_err_and(|error| concerns(&error)) {
            return true;
        }
    }
    if let Some(Value::Object(table)) = find(section, segments) {
        table.shift_remove(field);
    }
    false
}

/// The key that the `error` in the section at `path` is about.
fn place(path: &str, error: &Wrong) -> String {
    error.path().iter().fold(path.to_owned(), |path, segment| match segment {
        Segment::Seq { index } => format!("{path}[{index}]"),
        Segment::Map { key } => join(&path, key),
        Segment::Enum { variant } => join(&path, variant),
        Segment::Unknown => path,
    })
}

/// Whether `key` is `whole`, or a part of it.
fn is_in(key: &str, whole: &str) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
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
