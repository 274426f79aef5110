//! Where the keys of a text are.

use std::{collections::BTreeMap, sync::Arc};

/// The line of every key in a text, from 1.
#[derive(Debug, Default, Clone)]
pub(super) struct Lines(BTreeMap<String, usize>);

/// Where the keys of a configuration are: in its own text, or in the provider file of a backend's type.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyPlaces {
    own: Lines,
    /// The path and the lines of the file below which each backend's table lies, by `backends.NAME`. Backends
    /// of one type share them.
    files: BTreeMap<String, Arc<(String, Lines)>>,
}

impl KeyPlaces {
    /// Those of a text alone.
    pub(super) fn new(own: Lines) -> Self {
        Self { own, files: BTreeMap::new() }
    }

    /// Notes that the table `backend` lies over the file at `path`, whose keys are in `lines`.
    pub(super) fn lies_over(&mut self, backend: &str, path: &str, lines: &Lines) {
        let known = self.files.values().find(|known| known.0 == path).cloned();
        let file = known.unwrap_or_else(|| Arc::new((path.to_owned(), lines.clone())));
        self.files.insert(backend.to_owned(), file);
    }

    /// Whether `key` itself is in the text, or in the provider file below its backend.
    pub(super) fn have(&self, key: &str) -> bool {
        let in_file = |(backend, file): (&String, &Arc<(String, Lines)>)| {
            let below = key.strip_prefix(backend.as_str()).and_then(|rest| rest.strip_prefix('.'));
            below.is_some_and(|below| file.1.exactly(below).is_some())
        };
        self.own.exactly(key).is_some() || self.files.iter().any(in_file)
    }

    /// The line of `key` in the text, else of the nearest key around it; and in which line of which provider
    /// file it is, if it is rather there.
    pub(super) fn of(&self, key: &str) -> (Option<usize>, Option<String>) {
        let own = self.own.nearest(key);
        let in_file = self.files.iter().find_map(|(backend, file)| {
            let below = key.strip_prefix(backend.as_str())?.strip_prefix('.')?;
            let (nearest, line) = file.1.nearest(below)?;
            let is_nearer = own.is_none_or(|(own, _)| own.len() < backend.len() + 1 + nearest.len());
            is_nearer.then(|| format!("{}, line {line}", file.0))
        });
        (own.map(|(_, line)| line), in_file)
    }
}

impl Lines {
    /// Notes that `key` is in `line`.
    pub(super) fn insert(&mut self, key: String, line: usize) {
        self.0.insert(key, line);
    }

    /// The line of `key` itself.
    pub(super) fn exactly(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    /// The line of `key`, else of the nearest key around it.
    pub(super) fn of(&self, key: &str) -> Option<usize> {
        self.nearest(key).map(|(_, line)| line)
    }

    /// `key` itself if it is there, else the nearest key around it; and its line.
    fn nearest<'k>(&self, key: &'k str) -> Option<(&'k str, usize)> {
        let mut key = key;
        loop {
            if let Some(line) = self.0.get(key) {
                return Some((key, *line));
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}

/// The path of `key` inside `parent`, written as the errors write it.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// The line of the byte at `offset`, from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}
