//! The part of an answer that goes into a report: a short text without our secrets.
//!
//! A secret is anything in a request that is not the message's own:
//!
//! - every text in `settings`, `auth` and `receive.auth`, the `Authorization` header, and an access token;
//! - everything that is the same in every request: the fixed texts of `url`, `query`, `form`, `json`,
//!   `headers` and `defaults`, also those next to a value in one template. The host is not a secret, and
//!   neither are words that many interfaces have in common: see [`fixed_texts`].
//!
//! Texts of fewer than four characters are not hidden: nothing would be left to read. A secret is found in
//! any spelling in which an answer may repeat it: see [`spellings`].

mod fixed_texts;
mod spellings;

use postern_config::backend::{BackendConfig, send::Send as SendTable};
use postern_shared::{text::shortened, value::Secret};
use spellings::readings;
use std::{
    fmt,
    ops::Range,
    sync::{PoisonError, RwLock},
};

pub(crate) use fixed_texts::{of_header, of_url};

/// The most characters of an answer that go into a report.
const MAX_DETAIL: usize = 200;
/// The most characters of an answer that are searched for the text in a report.
const LOOKED_AT: usize = 4_096;
/// The most characters that one character of a secret takes in any spelling.
const LONGEST_SPELLING: usize = 12;
/// Shorter texts are not taken for secrets: hiding them would leave nothing to read.
const MIN_SECRET: usize = 4;
/// The text that replaces a secret.
const HIDDEN: &str = "[REDACTED]";

/// How many access tokens are known: requests with the previous one may still be answered.
const CHANGING: usize = 2;

/// Shortens what a provider answered, without the secrets that it may have echoed.
pub(crate) struct Redactor {
    secrets: Vec<Vec<char>>,
    /// Access tokens, the newest last.
    changing: RwLock<Vec<Vec<char>>>,
}

impl Redactor {
    /// A redactor that knows the secrets in the requests of `backend`: see the module.
    pub(crate) fn new(backend: &BackendConfig, table: &SendTable, authorization: Option<&str>) -> Self {
        let mut plain = credentials(table.secrets().map(|(_, secret)| secret), authorization);
        plain.extend(table.proxy.iter().flat_map(|proxy| of_url(proxy.expose())));
        for value in backend.definition.settings.expose().values() {
            texts(value, &mut plain);
        }
        // The address for delivery reports may hold the token that the provider shows there.
        let shown = backend.definition.receive.auth.secrets();
        plain.extend(shown.into_iter().map(|secret| secret.expose().to_owned()));
        plain.extend(fixed_texts::of_table(table));
        Self::hiding(&plain)
    }

    /// A redactor that knows the texts in `plain`.
    pub(crate) fn hiding(plain: &[String]) -> Self {
        let chars = plain.iter().map(|secret| secret.chars().collect::<Vec<_>>());
        let mut secrets: Vec<_> = chars.filter(|secret| secret.len() >= MIN_SECRET).collect();
        secrets.sort_unstable();
        secrets.dedup();
        Self { secrets, changing: RwLock::default() }
    }

    /// Hides `secret`, too: an access token, which replaces earlier ones.
    pub(crate) fn hide(&self, secret: &str) {
        let is_last =
            |all: &Vec<Vec<char>>| all.last().is_some_and(|last| last.iter().copied().eq(secret.chars()));
        let known = is_last(&self.changing.read().unwrap_or_else(PoisonError::into_inner));
        if known || secret.chars().count() < MIN_SECRET {
            return;
        }
        let mut changing = self.changing.write().unwrap_or_else(PoisonError::into_inner);
        if !is_last(&changing) {
            let surplus = (changing.len() + 1).saturating_sub(CHANGING);
            changing.drain(..surplus);
            changing.push(secret.chars().collect());
        }
    }

    /// At most 200 characters of `text`, on one line, without the secrets.
    pub(crate) fn detail(&self, text: &str) -> String {
        let changing = self.changing.read().unwrap_or_else(PoisonError::into_inner).clone();
        let longest = self.secrets.iter().chain(&changing).map(Vec::len).max().unwrap_or_default();
        // A secret that begins within the first LOOKED_AT characters must also end within those that are
        // searched.
        let chars: Vec<char> = text.chars().take(LOOKED_AT + longest * LONGEST_SPELLING).collect();
        let mut told = String::new();
        let mut next = 0;
        for Range { start, end } in self.places(&chars, &changing) {
            if start >= LOOKED_AT {
                break;
            }
            told.extend(&chars[next..start]);
            told.push_str(HIDDEN);
            next = end;
        }
        told.extend(chars[next..].iter().take(LOOKED_AT.saturating_sub(next)));
        let words = told.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        shortened(&words.take(MAX_DETAIL).collect::<Vec<_>>().join(" "), MAX_DETAIL)
    }

    /// All of `text` without the secrets. Access tokens are not looked for.
    pub(crate) fn hidden(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let (mut told, mut next) = (String::new(), 0);
        for Range { start, end } in self.places(&chars, &[]) {
            told.extend(&chars[next..start]);
            told.push_str(HIDDEN);
            next = end;
        }
        told.extend(&chars[next..]);
        told
    }

    /// The places of the secrets, in order. Places that overlap are merged.
    fn places(&self, chars: &[char], changing: &[Vec<char>]) -> Vec<Range<usize>> {
        let readings = readings(chars);
        let found =
            readings.iter().flat_map(|reading| [&self.secrets[..], changing].map(|all| reading.find(all)));
        let mut places: Vec<_> = found.flatten().collect();
        places.sort_unstable_by_key(|place| (place.start, place.end));
        let mut merged: Vec<Range<usize>> = Vec::new();
        for place in places {
            match merged.last_mut() {
                Some(last) if place.start < last.end => last.end = last.end.max(place.end),
                _ => merged.push(place),
            }
        }
        merged
    }
}

/// The `secrets`, and the parts of the `Authorization` header that contains them.
pub(crate) fn credentials<'s>(
    secrets: impl IntoIterator<Item = &'s Secret>,
    authorization: Option<&str>,
) -> Vec<String> {
    let mut plain: Vec<String> = secrets.into_iter().map(|secret| secret.expose().to_owned()).collect();
    plain.extend(authorization.map(of_header).unwrap_or_default());
    plain
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

fn texts(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => {
            found.push(text.clone());
            if text.contains("://") {
                found.extend(of_url(text));
            }
        }
        serde_json::Value::Number(number) => found.push(number.to_string()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        serde_json::Value::Object(table) => table.values().for_each(|item| texts(item, found)),
        serde_json::Value::Null | serde_json::Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests;
