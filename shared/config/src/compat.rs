//! `[compat]`: listeners for clients that speak another gateway's protocol.

use crate::{flow_check, reader::Reader};
use indexmap::IndexMap;
use postern_shared::{
    callback::CallbackKeys,
    message::BackendName,
    value::{BackendSelection, Networks, Rate, Secret, Span},
};
use serde::Deserialize;
use std::{collections::BTreeSet, time::Duration};

/// The longest timeout of a callback.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The most attempts of a callback. They cost the client nothing, so there is a bound.
const MAX_ATTEMPTS: usize = 10;
/// The placeholder for the conversation in the path of `[compat.vumi]`.
pub const CONVERSATION: &str = "{conversation}";
/// The paths that Postern itself uses, with everything below them.
const TAKEN: [&str; 4] = ["/backends", "/v1", "/openapi.json", "/health"];

/// `[compat]`: listeners for clients of other gateways. A listener is off unless its table is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatSection {
    /// How delivery callbacks are made.
    pub callbacks: CallbacksSection,
    /// `[compat.kannel]`; `None`: off.
    pub kannel: Option<KannelSection>,
    /// `[compat.vumi]`; `None`: off.
    pub vumi: Option<VumiSection>,
}

/// `[compat.callbacks]`: how delivery callbacks reach the clients that ask for them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbacksSection {
    /// Addresses that may be called although they are not public.
    pub allow: Networks,
    /// How long connecting, sending and the whole answer may take; at most 10 minutes.
    pub timeout: Span,
    /// The most callbacks in flight, 1 to 2,000. Each user and each host may have at most a quarter of them.
    pub concurrency: u16,
    /// How often a callback is attempted, 1 to 10, with the delays of `[retry]` in between; then it is given up.
    pub attempts: usize,
}

/// `[compat.kannel]`: Kannel's sendsms.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KannelSection {
    /// The path on the public port.
    #[serde(default = "sendsms")]
    pub path: String,
    /// The clients that may send. At least one.
    #[serde(default)]
    pub users: Vec<CompatUser>,
}

/// `[compat.vumi]`: the URL at which clients of Vumi and Vumi Go send messages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VumiSection {
    /// The path on the public port; `{conversation}` stands for one segment.
    #[serde(default = "messages")]
    pub path: String,
    /// The clients that may send. At least one.
    #[serde(default)]
    pub users: Vec<CompatUser>,
}

pub(super) fn sendsms() -> String {
    "/cgi-bin/sendsms".to_owned()
}

pub(super) fn messages() -> String {
    format!("/api/v1/go/http_api_nostream/{CONVERSATION}/messages.json")
}

/// `[[compat.*.users]]`: a client that may send.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatUser {
    /// The name that the client sends.
    pub username: String,
    /// The password that the client sends.
    pub password: Secret,
    /// The backend that the client's messages go to.
    pub backend: BackendName,
    /// The other backends that the client may name in Kannel's `smsc`. Absent: none.
    pub backends: Option<BackendSelection>,
    /// Kannel: the client's own names for `smsc`, and the backends that they mean.
    pub smsc: Option<IndexMap<String, BackendName>>,
    /// The addresses that the client may connect from. Absent: any.
    pub allow: Option<Networks>,
    /// The most requests of the client. Absent: any number.
    pub rate: Option<Rate>,
    /// Vumi: the conversation in the path that this entry is for. Absent: any. There may be several entries
    /// with the same user name, each for another conversation and backend.
    pub conversation: Option<String>,
}

impl CompatUser {
    /// The backend for a message whose client names `smsc`: the one in the user's table `smsc`, else the
    /// backend of that name if the user may use it. Without a name it is the user's own `backend`. For a user
    /// with neither `smsc` nor `backends` an unknown name means that, too, as Kannel sends a message for an
    /// unknown connection through any connection. `None`: the user has one of the two, and the name is in
    /// neither.
    pub fn route(&self, smsc: Option<&str>) -> Option<BackendName> {
        let Some(smsc) = smsc else { return Some(self.backend.clone()) };
        let listed = self.smsc.as_ref().and_then(|table| table.get(smsc));
        let named = || smsc.parse().ok().filter(|name| self.may_use(name));
        let otherwise = || (self.smsc.is_none() && self.backends.is_none()).then(|| self.backend.clone());
        listed.cloned().or_else(named).or_else(otherwise)
    }

    /// Whether `backend` is the user's own backend or one of its `backends`. A name in `smsc` may also lead to
    /// others.
    pub fn may_use(&self, backend: &BackendName) -> bool {
        *backend == self.backend || self.backends.as_ref().is_some_and(|more| more.contains(backend))
    }
}

impl CompatSection {
    /// The keys that seal the callbacks that the users ask for.
    pub fn callback_keys(&self) -> CallbackKeys {
        let users = self.kannel.iter().flat_map(|kannel| &kannel.users);
        CallbackKeys::new(users.map(|user| (user.username.as_str(), &user.password)))
    }

    /// Whether clients can ask for callbacks.
    pub fn call_back(&self) -> bool {
        self.kannel.is_some()
    }
}

/// Checks `[compat]` beyond the types, except for the backends that it names.
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
