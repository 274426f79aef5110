//! The lines of the keys in a text.

use std::{collections::BTreeMap, sync::Arc};

/// The line of every key in a text, from 1.
#[derive(Debug, Default, Clone)]
pub(super) struct Lines(BTreeMap<String, usize>);

/// The places of a configuration's keys, in its own text or in the provider file of a backend's type.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyPlaces {
    own: Lines,
    /// For each `backends.NAME`, the path and the lines of the provider file that its table is laid over.
    /// Backends of one type share them.
    files: BTreeMap<String, Arc<(String, Lines)>>,
}

impl KeyPlaces {
    /// The places of the keys of a text, without provider files.
    pub(super) fn new(own: Lines) -> Self {
        Self { own, files: BTreeMap::new() }
    }

    /// Records that the table `backend` is laid over the file at `path`, whose keys are in `lines`.
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

    /// The line in the text of `key`, or of the nearest key around it; and, if a provider file comes nearer to
    /// `key`, the place in that file.
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
    /// Records that `key` is in `line`.
    pub(super) fn insert(&mut self, key: String, line: usize) {
        self.0.insert(key, line);
    }

    /// The line of `key` itself.
    pub(super) fn exactly(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    /// The line of `key`, or of the nearest key around it.
    pub(super) fn of(&self, key: &str) -> Option<usize> {
        self.nearest(key).map(|(_, line)| line)
    }

    /// `key` itself if it is there, or the nearest key around it; with its line.
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

/// The offsets at which the lines of a text begin, but for the first.
pub(super) struct LineStarts(Vec<usize>);

impl LineStarts {
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line of the byte at `offset`, from 1.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|start| *start <= offset)
    }
}
