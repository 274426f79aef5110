//! From a tree of values to typed sections, collecting every problem on the way.

use super::{
    document::{Document, Lines},
    problem::Problem,
};
use postern_shared::read::{self, Origin, Place, Removed};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Reads sections and remembers what was wrong with them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    document: &'a Document,
    /// What stands in for a key that is wrong, so that the checks behind it see the others.
    builtin: Map<String, Value>,
    /// The keys that the environment set: their line in the file means nothing.
    pub(super) from_environment: BTreeSet<String>,
    /// The keys that could not be read.
    unread: BTreeSet<String>,
    /// The entries of lists that could not be read.
    removed: Removed,
    pub(super) problems: Vec<Problem>,
    /// What is right, and should be otherwise.
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        document: &'a Document,
        builtin: Map<String, Value>,
        from_environment: BTreeSet<String>,
    ) -> Self {
        let (unread, removed) = (BTreeSet::new(), Removed::default());
        let (problems, warnings) = (Vec::new(), Vec::new());
        Self { document, builtin, from_environment, unread, removed, problems, warnings }
    }

    /// Where each key of the file is.
    pub(super) fn lines(&self) -> Lines {
        self.document.lines.clone()
    }

    /// Notes that `key` is wrong, as far as it could be read.
    pub(super) fn problem(&mut self, key: impl AsRef<str>, what: impl Into<String>) {
        let key = key.as_ref();
        if self.has_read(key) {
            self.note(self.in_file(key), what.into());
        }
    }

    /// Notes that `key` is right and should be otherwise.
    pub(super) fn warning(&mut self, key: &str, what: &str) {
        let warning = self.at(self.in_file(key), what.to_owned());
        self.warnings.push(warning);
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

    /// Reads the section at `path`, and notes every mistake in it. What it returns has nothing in
    /// the place of a mistake, or what stands in for it; `None` if nothing can be read without it.
    pub(super) fn read<T: DeserializeOwned>(&mut self, path: &str, section: Value) -> Option<T> {
        let place = Place::from(path);
        let reading = read::every::<T>(section, &Section { place: &place, reader: self });
        self.removed.extend(&place, reading.removed);
        for mistake in reading.mistakes {
            let key = place.clone().join(mistake.place);
            self.unreadable(key.to_string(), mistake.wrong.to_string());
        }
        // The built-in section runs as it is.
        reading.value.or_else(|| T::deserialize(self.builtin.get(path)?).ok())
    }

    /// `key`, which counts the entries of lists that could be read, as the file counts them.
    fn in_file(&self, key: &str) -> String {
        self.removed.original(&key.into()).to_string()
    }

    fn note(&mut self, key: String, what: String) {
        let problem = self.at(key, what);
        self.problems.push(problem);
    }

    fn at(&self, key: String, what: String) -> Problem {
        let line = if self.from_environment.contains(&key) { None } else { self.document.lines.of(&key) };
        Problem { key, line, what }
    }
}

/// What is known of the section at `place`.
struct Section<'a> {
    place: &'a Place,
    reader: &'a Reader<'a>,
}

impl Origin for Section<'_> {
    fn built_in(&self, place: &Place) -> Option<Value> {
        let mut section = self.reader.builtin.get(&self.place.to_string())?.clone();
        place.find(&mut section).cloned()
    }

    fn may_be_text(&self, place: &Place) -> bool {
        self.reader.from_environment.contains(&self.place.clone().join(place.clone()).to_string())
    }
}

/// Whether `key` is `whole`, or a part of it.
fn is_in(key: &str, whole: &str) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// `tree`'s table `key`, taken out; an empty table where there is none.
pub(super) fn take(tree: &mut Map<String, Value>, key: &str) -> Value {
    tree.shift_remove(key).unwrap_or_else(|| Value::Object(Map::new()))
}
