//! From a tree of values to typed sections, collecting every problem on the way.
//!
//! It is our own, over `toml` and serde, because no configuration library names every mistake with its
//! line: this one takes a wrong key out and reads on.

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

/// Reads sections and remembers what was wrong with them.
#[derive(Debug)]
pub(super) struct Reader {
    places: KeyPlaces,
    /// What stands in for a key that is wrong, so that the checks behind it see the others.
    builtin: Map<String, Value>,
    /// The keys that the environment set: their line in the file means nothing.
    pub(super) from_environment: BTreeSet<String>,
    /// The keys that could not be read.
    unread: BTreeSet<String>,
    /// The entries of lists that could not be read.
    removed: Removed,
    /// The secrets that must be there.
    needed: NeededSecrets,
    /// The secrets that are not there and need not be.
    pub(super) absent: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
    /// What is right, and should be otherwise.
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

    /// Where each key is.
    pub(super) fn places(&self) -> KeyPlaces {
        self.places.clone()
    }

    /// Notes that the table `backend` lies over the provider file at `path`, whose keys are in `lines`.
    pub(super) fn lies_over(&mut self, backend: &str, path: &str, lines: &Lines) {
        self.places.lies_over(backend, path, lines);
    }

    /// Whether the configuration, the environment or a provider file of the user's sets `key` or a part of it.
    pub(super) fn is_written(&self, key: &str) -> bool {
        let is_set = |set: &String| is_in(set, key) || is_in(key, set);
        self.places.have(key) || self.from_environment.iter().any(is_set)
    }

    /// Notes that `key` is wrong, as far as it could be read.
    pub(super) fn problem(&mut self, key: impl AsRef<str>, what: impl Into<String>) {
        let key = key.as_ref();
        if self.has_read(key) {
            self.note(self.in_file(key), what.into());
        }
    }

    /// What to say of the unknown section `key` besides: where it was probably meant to stand.
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

    /// Notes that `key` is right and should be otherwise.
    pub(super) fn warning(&mut self, key: &str, what: &str) {
        let key = self.in_file(key);
        if !self.unread.iter().any(|unread| is_in(&key, unread)) {
            let warning = self.at(key, what.to_owned());
            self.warnings.push(warning);
        }
    }

    /// Notes that `key` cannot be read.
    pub(super) fn unreadable(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let key = key.into();
        if self.unread.insert(key.clone()) {
            self.note(key, what.into());
        }
    }

    /// Notes which `files` of the TLS section `key` are not there and need not be.
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

    /// Whether all of `key` could be read: a check that rests on another key than its own asks.
    pub(super) fn has_read(&self, key: &str) -> bool {
        let key = self.in_file(key);
        !self.unread.iter().any(|unread| is_in(unread, &key) || is_in(&key, unread))
    }

    /// Reads the section at `path`, and notes every mistake in it. What it returns has nothing in
    /// the place of a mistake, or what stands in for it; `None` if nothing can be read without it.
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

/// What is known of the section at `place`.
struct Section<'a> {
    place: &'a Place,
    reader: &'a Reader,
}

impl Origin for Section<'_> {
    fn built_in(&self, place: &Place) -> Option<Value> {
        let mut section = self.reader.builtin.get(&self.place.to_string())?.clone();
        place.find(&mut section).cloned()
    }

    /// A secret that is wrong is one mistake, not another one of the table that it stands in.
    fn in_place_of(&self, found: &Value, wrong: &str) -> Option<Value> {
        secret_problem(found).is_some_and(|why| why == wrong).then(|| "unread".into())
    }

    fn may_be_text(&self, place: &Place) -> bool {
        self.reader.from_environment.contains(&self.place.clone().join(place.clone()).to_string())
    }
}

/// Whether what is wrong with `value`, or with a secret in it, is that a variable or a file does not hold
/// the secret.
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

/// `tree`'s table `key`, taken out; an empty table where there is none.
pub(super) fn take(tree: &mut Map<String, Value>, key: &str) -> Value {
    tree.shift_remove(key).unwrap_or_else(|| Value::Object(Map::new()))
}
