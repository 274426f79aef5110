//! Where the keys of a text are.

use std::collections::BTreeMap;

/// The line of every key in a text, from 1.
#[derive(Debug, Default, Clone)]
pub(super) struct Lines(BTreeMap<String, usize>);

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
        let mut key = key;
        loop {
            if let Some(line) = self.0.get(key) {
                return Some(*line);
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
