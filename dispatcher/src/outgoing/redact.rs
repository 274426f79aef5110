//! What of an answer goes into a report: a short text without our secrets.

use minijinja::Value;
use postern_config::backend::{
    BackendConfig,
    send::{Auth, Send as SendTable},
};
use std::fmt;

/// The most characters of an answer that go into a report.
const MAX_DETAIL: usize = 200;
/// Shorter texts are not taken for secrets: hiding them would leave nothing to read.
const MIN_SECRET: usize = 4;
/// What stands in a secret's place.
const HIDDEN: &str = "[REDACTED]";

/// Shortens what a provider answered, without the secrets that it may have echoed.
pub(crate) struct Redactor {
    /// Longest first, so that none is left in part.
    secrets: Vec<String>,
}

impl Redactor {
    /// Knows the secrets of `auth`, every text of the settings, and the parameters and headers that
    /// are the same in every request: as they are, and as a URL or JSON holds them.
    pub(crate) fn new(backend: &BackendConfig, table: &SendTable, authorization: Option<&str>) -> Self {
        let mut plain = credentials(table.auth.as_ref(), authorization);
        for value in backend.definition.settings.expose().values() {
            texts(value, &mut plain);
        }
        // Its address for delivery reports may hold the token that it shows there.
        let shown = backend.definition.receive.auth.secrets();
        plain.extend(shown.into_iter().map(|secret| secret.expose().to_owned()));
        let fixed = table.query.values().chain(table.form.values()).chain(table.headers.values());
        plain.extend(fixed.map(|template| template.source().to_owned()).filter(|text| !text.contains('{')));
        Self::hiding(plain)
    }

    /// Knows the texts in `plain`: as they are, and as a URL or JSON holds them.
    pub(crate) fn hiding(plain: Vec<String>) -> Self {
        let mut secrets: Vec<String> = plain.into_iter().flat_map(|secret| spellings(&secret)).collect();
        secrets.retain(|secret| secret.chars().count() >= MIN_SECRET);
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// At most 200 characters of `text`, on one line, without the secrets.
    pub(crate) fn detail(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let line = words.take(MAX_DETAIL).collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(MAX_DETAIL) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// What `auth` holds, and what follows the scheme in the `Authorization` header that it makes.
pub(crate) fn credentials(auth: Option<&Auth>, authorization: Option<&str>) -> Vec<String> {
    let mut plain = match auth {
        Some(Auth::Basic { username, password }) => {
            vec![username.expose().to_owned(), password.expose().to_owned()]
        }
        Some(Auth::Bearer(token)) => vec![token.expose().to_owned()],
        None => Vec::new(),
    };
    plain.extend(authorization.and_then(|value| value.split_once(' ')).map(|(_, value)| value.to_owned()));
    plain
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

fn texts(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        serde_json::Value::Object(table) => table.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// `secret` as it is, as a form, a URL and a JSON text hold it.
fn spellings(secret: &str) -> Vec<String> {
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = Value::from(secret);
    let json = serde_json::to_string(&json).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    vec![secret.to_owned(), form.replace('+', "%20"), form, json]
}
