//! Reads a tree of values into typed sections, and collects every problem on the way.
//!
//! It is our own, over `toml` and serde, because no configuration library names every mistake with its line:
//! this one removes a wrong key and reads on.

use super::{
    environment,
    lines::{KeyPlaces, Lines, join},
    needed_secrets::NeededSecrets,
    problem::Problem,
    section_names::SECTIONS,
};
use postern_shared::{
    read::{self, Origin, Place, Removed},
    suggest,
    value::{absent_secret, secret_problem},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{collections::BTreeSet, path::Path};

/// Reads sections, and remembers their mistakes.
#[derive(Debug)]
pub(super) struct Reader {
    places: KeyPlaces,
    /// The values that replace wrong keys, so that the checks can still look at the other keys.
    builtin: Map<String, Value>,
    /// The keys that the environment set. Their lines in the file are irrelevant.
    pub(super) from_environment: BTreeSet<String>,
    /// The keys that could not be read.
    unread: BTreeSet<String>,
    /// The entries of lists that could not be read.
    removed: Removed,
    /// The secrets that must be there.
    needed: NeededSecrets,
    /// The keys of secrets that are missing and were not needed.
    pub(super) absent: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
    /// The warnings about what is valid, but probably a mistake.
    pub(super) warnings: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(
        lines: Lines,
        builtin: Map<String, Value>,
        from_environment: BTreeSet<String>,
        needed: NeededSecrets,
    ) -> Self {
        Self {
            places: KeyPlaces::new(lines),
            builtin,
            from_environment,
            unread: BTreeSet::new(),
            removed: Removed::default(),
            needed,
            absent: BTreeSet::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The place of each key in the files.
    pub(super) fn places(&self) -> KeyPlaces {
        self.places.clone()
    }

    /// Records that the table `backend` is laid over the provider file at `path`, whose keys are in `lines`.
    pub(super) fn lies_over(&mut self, backend: &str, path: &str, lines: &Lines) {
        self.places.lies_over(backend, path, lines);
    }

    /// Whether the configuration, the environment or a user's provider file sets `key` or a part of it.
    pub(super) fn is_written(&self, key: &str) -> bool {
        let is_set = |set: &String| is_in(set, key) || is_in(key, set);
        self.places.have(key) || self.from_environment.iter().any(is_set)
    }

    /// Notes a problem with `key`, unless it could not be read, which is a problem of its own.
    pub(super) fn problem(&mut self, key: impl AsRef<str>, what: impl Into<String>) {
        let key = key.as_ref();
        if self.has_read(key) {
            self.note(self.in_file(key), what.into());
        }
    }

    /// A hint for the error about the unknown section `key`: where the key was probably meant to be.
    pub(super) fn placed(&self, key: &str) -> String {
        let meant = SECTIONS.into_iter().find_map(|section| {
            let rest = key.strip_prefix(section)?.strip_prefix(['_', '-']).filter(|rest| !rest.is_empty())?;
            Some(join(section, rest))
        });
        let below = |section: &&str| {
            let table = self.builtin.get(*section).and_then(Value::as_object);
            table.is_some_and(|table| table.contains_key(key))
        };
        match meant {
            Some(meant) if self.from_environment.iter().any(|set| is_in(set, key)) => {
                format!("; did you mean {}?", environment::variable(&meant))
            }
            Some(meant) => format!("; did you mean {meant}?"),
            None => match SECTIONS.into_iter().find(below) {
                Some(section) => format!("; did you mean it to stand below [{section}]?"),
                None => suggest::hint(key, SECTIONS),
            },
        }
    }

    /// Notes that `key` is valid, but probably a mistake.
    pub(super) fn warning(&mut self, key: &str, what: &str) {
        let key = self.in_file(key);
        if !self.unread.iter().any(|unread| is_in(&key, unread)) {
            let warning = self.at(key, what.to_owned());
            self.warnings.push(warning);
        }
    }

    /// Notes that `key` cannot be read, and why.
    pub(super) fn unreadable(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let key = key.into();
        if self.unread.insert(key.clone()) {
            self.note(key, what.into());
        }
    }

    /// Notes which `files` of the TLS section `key` are missing and not needed.
    pub(super) fn note_absent_files<'f>(
        &mut self,
        key: &str,
        files: impl IntoIterator<Item = (&'static str, &'f Path)>,
    ) {
        for (name, file) in files {
            let key = join(key, name);
            if !self.needed.contains(&key) && std::fs::File::open(file).is_err() {
                self.unread.insert(key.clone());
                self.absent.insert(key);
            }
        }
    }

    /// Whether all of `key` could be read. For checks that depend on other keys than their own.
    pub(super) fn has_read(&self, key: &str) -> bool {
        let key = self.in_file(key);
        !self.unread.iter().any(|unread| is_in(unread, &key) || is_in(&key, unread))
    }

    /// Reads the section at `path`, and notes every mistake in it. In the result, a wrong value is left out or
    /// replaced by its default. `None` if nothing can be read without it.
    pub(super) fn read<T: DeserializeOwned>(&mut self, path: &str, section: Value) -> Option<T> {
        let place = Place::from(path);
        let mut written = section.clone();
        let reading = read::every::<T>(section, &Section { place: &place, reader: self });
        self.removed.extend(&place, reading.removed);
        for mistake in reading.mistakes {
            let key = place.clone().join(mistake.place.clone()).to_string();
            let (what, value) = (mistake.wrong.to_string(), mistake.place.find(&mut written));
            if !self.needed.contains(&key) && value.is_some_and(|value| is_absent_secret(value, &what)) {
                self.unread.insert(key.clone());
                self.absent.insert(key);
            } else {
                self.unreadable(key, what);
            }
        }
        // The built-in section is always valid.
        reading.value.or_else(|| T::deserialize(self.builtin.get(path)?).ok())
    }

    /// `key` with positions in lists as in the file. In `key` they count only the entries that could be read.
    fn in_file(&self, key: &str) -> String {
        self.removed.original(&key.into()).to_string()
    }

    fn note(&mut self, key: String, what: String) {
        let problem = self.at(key, what);
        self.problems.push(problem);
    }

    fn at(&self, key: String, what: String) -> Problem {
        let whole = self.from_environment.iter().find(|set| is_in(&key, set));
        if let Some(set) = whole {
            return Problem { key, line: None, what: environment::set_by(&what, set) };
        }
        let part = self.from_environment.iter().find(|set| is_in(set, &key));
        let part = part.map(|set| {
            format!(" (the environment variable {} sets a part of it)", environment::variable(set))
        });
        let (line, in_file) = self.places.of(&key);
        let in_file = in_file.map(|place| format!(" ({place})"));
        Problem { line, key, what: what + &part.or(in_file).unwrap_or_default() }
    }
}

/// What the reader knows about the section at `place`.
struct Section<'a> {
    place: &'a Place,
    reader: &'a Reader,
}

impl Origin for Section<'_> {
    fn built_in(&self, place: &Place) -> Option<Value> {
        let mut section = self.reader.builtin.get(&self.place.to_string())?.clone();
        place.find(&mut section).cloned()
    }

    /// A stand-in for a wrong secret, so that it is only one mistake, and not another one of the table around it.
    fn in_place_of(&self, found: &Value, wrong: &str) -> Option<Value> {
        secret_problem(found).is_some_and(|why| why == wrong).then(|| "unread".into())
    }

    fn may_be_text(&self, place: &Place) -> bool {
        self.reader.from_environment.contains(&self.place.clone().join(place.clone()).to_string())
    }
}

/// Whether the mistake `what` in `value`, or in a secret in it, is that a variable or a file does not hold the
/// secret.
fn is_absent_secret(value: &Value, what: &str) -> bool {
    absent_secret(value).is_some_and(|why| why == what)
        || match value {
            Value::Object(table) => table.values().any(|value| is_absent_secret(value, what)),
            Value::Array(items) => items.iter().any(|value| is_absent_secret(value, what)),
            _ => false,
        }
}

/// Whether `key` is `whole`, or a part of it.
pub(super) fn is_in(key: &str, whole: &str) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Removes the table `key` from `tree` and returns it. An empty table if there is none.
pub(super) fn take(tree: &mut Map<String, Value>, key: &str) -> Value {
    tree.shift_remove(key).unwrap_or_else(|| Value::Object(Map::new()))
}
