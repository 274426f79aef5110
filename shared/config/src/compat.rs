//! `[compat]`: listeners for clients that speak another gateway's protocol.

use crate::{flow_check, reader::Reader, sections::Selection};
use indexmap::IndexMap;
use postern_shared::{
    callback::CallbackKeys,
    message::BackendName,
    value::{Networks, Rate, Secret, Span},
};
use serde::Deserialize;
use std::{collections::BTreeSet, time::Duration};

/// The longest time-out of a callback.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The most attempts of a callback: whoever asks for it does not pay for them.
const MAX_ATTEMPTS: usize = 10;
/// What stands for the conversation in the path of `[compat.vumi]`.
pub const CONVERSATION: &str = "{conversation}";
/// Paths that are taken already, and everything below them.
const TAKEN: [&str; 4] = ["/backends", "/v1", "/openapi.json", "/health"];

/// `[compat]`. A listener is off unless its table is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatSection {
    /// What clients want to be told, and where.
    pub callbacks: CallbacksSection,
    /// `[compat.kannel]`
    pub kannel: Option<KannelSection>,
    /// `[compat.vumi]`
    pub vumi: Option<VumiSection>,
}

/// `[compat.callbacks]`: how delivery callbacks reach the clients that ask for them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbacksSection {
    /// Addresses that may be called although they are not public.
    pub allow: Networks,
    /// How long connecting, asking and the whole answer may take; at most 10 minutes.
    pub timeout: Span,
    /// Callbacks in flight, 1 to 2,000. One user, and one host, has at most a quarter of them.
    pub concurrency: u16,
    /// How often a callback is tried, 1 to 10, with the delays of `[retry]` in between; then it is given up.
    pub attempts: usize,
}

/// `[compat.kannel]`: Kannel's sendsms.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KannelSection {
    /// Its path on the public port.
    #[serde(default = "sendsms")]
    pub path: String,
    /// Who may send. At least one.
    #[serde(default)]
    pub users: Vec<CompatUser>,
}

/// `[compat.vumi]`: the URL that Vumi and Vumi Go take messages at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VumiSection {
    /// Its path on the public port; `{conversation}` stands for one segment.
    #[serde(default = "messages")]
    pub path: String,
    /// Who may send. At least one.
    #[serde(default)]
    pub users: Vec<CompatUser>,
}

pub(super) fn sendsms() -> String {
    "/cgi-bin/sendsms".to_owned()
}

pub(super) fn messages() -> String {
    format!("/api/v1/go/http_api_nostream/{CONVERSATION}/messages.json")
}

/// `[[compat.*.users]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatUser {
    /// The name that the client gives.
    pub username: String,
    /// The password that it gives.
    pub password: Secret,
    /// Where its messages go.
    pub backend: BackendName,
    /// Where else it may send, by Kannel's `smsc`. Absent: nowhere.
    pub backends: Option<Selection>,
    /// Kannel: what the client's `smsc` means, by its own names.
    pub smsc: Option<IndexMap<String, BackendName>>,
    /// The addresses that it may come from. Absent: any.
    pub allow: Option<Networks>,
    /// The most requests. Absent: any number.
    pub rate: Option<Rate>,
    /// Vumi: the only conversation in the path that is this user's. Absent: any. One user name may
    /// have several, each with a backend of its own.
    pub conversation: Option<String>,
}

impl CompatUser {
    /// Where a message goes whose client names `smsc`: what the user's table says, else the backend
    /// of that name if it is one of the user's. Any other name is `backend` for a user with neither
    /// `smsc` nor `backends`, as Kannel sends by any connection what names one that it does not
    /// have; who has either has said what there is, and gets `None`.
    pub fn route(&self, smsc: Option<&str>) -> Option<BackendName> {
        let Some(smsc) = smsc else { return Some(self.backend.clone()) };
        let listed = self.smsc.as_ref().and_then(|table| table.get(smsc));
        let named = || smsc.parse().ok().filter(|name| self.may_use(name));
        let otherwise = || (self.smsc.is_none() && self.backends.is_none()).then(|| self.backend.clone());
        listed.cloned().or_else(named).or_else(otherwise)
    }

    /// Whether the user's own backend is `backend`, or one of its `backends`. A name in `smsc` may lead
    /// to others.
    pub fn may_use(&self, backend: &BackendName) -> bool {
        *backend == self.backend || self.backends.as_ref().is_some_and(|more| more.contains(backend))
    }
}

impl CompatSection {
    /// The keys that sign the tokens of the callbacks that its users ask for.
    pub fn callback_keys(&self) -> CallbackKeys {
        let users = self.kannel.iter().flat_map(|kannel| &kannel.users);
        CallbackKeys::new(users.map(|user| (user.username.as_str(), &user.password)))
    }

    /// Whether there can be callbacks to make.
    pub fn call_back(&self) -> bool {
        self.kannel.is_some()
    }
}

/// What the types of `[compat]` cannot say, the backends aside.
pub(super) fn check(compat: &CompatSection, reader: &mut Reader) {
    let callbacks = &compat.callbacks;
    if callbacks.timeout.0.is_zero() || callbacks.timeout.0 > MAX_TIMEOUT {
        reader.problem("compat.callbacks.timeout", "must be longer than 0 and at most 10m");
    }
    flow_check::concurrency(callbacks.concurrency, "compat.callbacks.concurrency", reader);
    if !(1..=MAX_ATTEMPTS).contains(&callbacks.attempts) {
        reader.problem("compat.callbacks.attempts", format!("must be 1 to {MAX_ATTEMPTS}"));
    }
    if let Some(kannel) = &compat.kannel {
        path(&kannel.path, "compat.kannel.path", reader);
        users(&kannel.users, "compat.kannel", reader);
        for (index, user) in kannel.users.iter().enumerate() {
            let key = format!("compat.kannel.users[{index}]");
            if user.conversation.is_some() {
                reader.problem(format!("{key}.conversation"), "only users of compat.vumi have conversations");
            }
            if user.smsc.as_ref().is_some_and(|table| table.contains_key("")) {
                reader.problem(format!("{key}.smsc"), "a name must not be empty");
            }
        }
    }
    if let Some(vumi) = &compat.vumi {
        path(&vumi.path.replacen(CONVERSATION, "x", 1), "compat.vumi.path", reader);
        users(&vumi.users, "compat.vumi", reader);
        let without = !vumi.path.contains(CONVERSATION);
        for (index, user) in vumi.users.iter().enumerate() {
            if user.conversation.is_some() && without {
                let key = format!("compat.vumi.users[{index}].conversation");
                reader
                    .problem(key, format!("has no effect: compat.vumi.path does not contain {CONVERSATION}"));
            }
            if user.smsc.is_some() {
                let key = format!("compat.vumi.users[{index}].smsc");
                reader.problem(key, "only clients of compat.kannel can name an smsc");
            }
            if user.username.contains(':') {
                let key = format!("compat.vumi.users[{index}].username");
                reader.problem(key, "must have no colon: it comes in an Authorization header (RFC 7617)");
            }
        }
        if compat.kannel.as_ref().is_some_and(|kannel| kannel.path == vumi.path) {
            reader.problem("compat.vumi.path", "is also the path of compat.kannel");
        }
    }
}

fn path(path: &str, key: &str, reader: &mut Reader) {
    let segment = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let right = path.len() > 1 && path.starts_with('/') && path.chars().all(|c| c == '/' || segment(c));
    if !right || path.contains("//") {
        let rule = "must be a path such as \"/cgi-bin/sendsms\": letters, digits, - . _ ~ between slashes";
        reader.problem(key, rule);
    }
    let below =
        |taken: &str| path.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(taken) = TAKEN.into_iter().find(|taken| below(taken)) {
        reader.problem(key, format!("{taken} is reserved for Postern"));
    }
}

fn users(users: &[CompatUser], table: &str, reader: &mut Reader) {
    if users.is_empty() {
        reader.problem(format!("{table}.users"), format!("is missing: at least one [[{table}.users]]"));
    }
    let mut names = BTreeSet::new();
    for (index, user) in users.iter().enumerate() {
        let key = format!("{table}.users[{index}]");
        if user.username.is_empty() || user.username.chars().any(char::is_control) {
            reader.problem(format!("{key}.username"), "must not be empty or contain control characters");
        } else if !names.insert((&user.username, &user.conversation)) {
            reader.problem(format!("{key}.username"), "is also the name of another user");
        }
        if user.allow.as_ref().is_some_and(Networks::is_empty) {
            let why = "would allow nobody: list addresses, or remove this key to allow any";
            reader.problem(format!("{key}.allow"), why);
        }
    }
}

#[cfg(test)]
mod tests;
