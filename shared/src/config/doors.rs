//! `[doors]`: ways in for clients that speak another gateway's protocol.

use super::{
    Config, Secret, Selection,
    cross_check::{selection, unknown_backend},
    networks::Networks,
    reader::Reader,
    values::{MAX_CONCURRENCY, Span},
};
use crate::message::BackendName;
use indexmap::IndexMap;
use serde::Deserialize;
use std::{collections::BTreeSet, time::Duration};

/// The longest time-out of a callback.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// What stands in the path of a Vumi door for the conversation.
pub const CONVERSATION: &str = "{conversation}";
/// Paths that are taken already, and everything below them.
const TAKEN: [&str; 3] = ["/backends", "/v1", "/openapi.json"];

/// `[doors]`. A door is shut unless its table is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorsSection {
    /// What clients want to be told, and where.
    pub callbacks: CallbacksSection,
    /// `[doors.kannel]`
    pub kannel: Option<KannelDoor>,
    /// `[doors.vumi]`
    pub vumi: Option<VumiDoor>,
}

/// `[doors.callbacks]`: how delivery callbacks reach the clients that ask for them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbacksSection {
    /// Addresses that may be called although they are not public.
    pub allow: Networks,
    /// How long connecting, asking and the whole answer may take; at most 10 minutes.
    pub timeout: Span,
    /// Callbacks in flight, 1 to 2,000.
    pub concurrency: u16,
}

/// `[doors.kannel]`: Kannel's sendsms.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KannelDoor {
    /// Its path on the public port.
    #[serde(default = "sendsms")]
    pub path: String,
    /// Who may come in. At least one.
    #[serde(default)]
    pub users: Vec<DoorUser>,
}

/// `[doors.vumi]`: the URL that Vumi and Vumi Go take messages at.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VumiDoor {
    /// Its path on the public port; `{conversation}` stands for one segment.
    #[serde(default = "messages")]
    pub path: String,
    /// Who may come in. At least one.
    #[serde(default)]
    pub users: Vec<DoorUser>,
}

fn sendsms() -> String {
    "/cgi-bin/sendsms".to_owned()
}

fn messages() -> String {
    format!("/api/v1/go/http_api_nostream/{CONVERSATION}/messages.json")
}

/// `[[doors.*.users]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorUser {
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
    /// Vumi: the only conversation in the path that is this user's. Absent: any. One user name may
    /// have several, each with a backend of its own.
    pub conversation: Option<String>,
}

impl DoorUser {
    /// Where a message goes whose client names `smsc`: what the user's table says, else the backend
    /// of that name if it is one of the user's. Any other name is `backend` for a user with neither
    /// `smsc` nor `backends`, as Kannel sends by any connection what names one that it does not
    /// have; who has either has said what there is, and gets `None`.
    pub fn route(&self, smsc: Option<&str>) -> Option<BackendName> {
        let Some(smsc) = smsc else { return Some(self.backend.clone()) };
        let listed = self.smsc.as_ref().and_then(|table| table.get(smsc));
        let named = || smsc.parse().ok().filter(|name| self.may_name(name));
        let otherwise = || (self.smsc.is_none() && self.backends.is_none()).then(|| self.backend.clone());
        listed.cloned().or_else(named).or_else(otherwise)
    }

    fn may_name(&self, backend: &BackendName) -> bool {
        *backend == self.backend || self.backends.as_ref().is_some_and(|more| more.contains(backend))
    }
}

impl DoorsSection {
    /// Whether there can be callbacks to make.
    pub fn call_back(&self) -> bool {
        self.kannel.is_some()
    }
}

/// What the types of `[doors]` cannot say, the backends aside.
pub(super) fn check(doors: &DoorsSection, reader: &mut Reader<'_>) {
    let callbacks = &doors.callbacks;
    if callbacks.timeout.0.is_zero() || callbacks.timeout.0 > MAX_TIMEOUT {
        reader.problem("doors.callbacks.timeout", "must be longer than 0 and at most 10m");
    }
    if !(1..=MAX_CONCURRENCY).contains(&callbacks.concurrency) {
        reader.problem("doors.callbacks.concurrency", "must be 1 to 2000");
    }
    if let Some(door) = &doors.kannel {
        path(&door.path, "doors.kannel.path", reader);
        users(&door.users, "doors.kannel", reader);
        for (index, user) in door.users.iter().enumerate() {
            let key = format!("doors.kannel.users[{index}]");
            if user.conversation.is_some() {
                reader.problem(format!("{key}.conversation"), "only users of doors.vumi have conversations");
            }
            if user.smsc.as_ref().is_some_and(|table| table.contains_key("")) {
                reader.problem(
                    format!("{key}.smsc"),
                    "a name is empty: that is what a client names who names none",
                );
            }
        }
    }
    if let Some(door) = &doors.vumi {
        path(&door.path.replacen(CONVERSATION, "x", 1), "doors.vumi.path", reader);
        users(&door.users, "doors.vumi", reader);
        let without = !door.path.contains(CONVERSATION);
        for (index, user) in door.users.iter().enumerate() {
            if user.conversation.is_some() && without {
                let key = format!("doors.vumi.users[{index}].conversation");
                reader.problem(key, format!("doors.vumi.path has no {CONVERSATION} to find it in"));
            }
            if user.smsc.is_some() {
                let key = format!("doors.vumi.users[{index}].smsc");
                reader.problem(key, "only clients of doors.kannel name an smsc");
            }
            if user.username.contains(':') {
                let key = format!("doors.vumi.users[{index}].username");
                reader.problem(key, "must have no colon: it comes in an Authorization header (RFC 7617)");
            }
        }
        if doors.kannel.as_ref().is_some_and(|kannel| kannel.path == door.path) {
            reader.problem("doors.vumi.path", "is the path of doors.kannel, too");
        }
    }
}

fn path(path: &str, key: &str, reader: &mut Reader<'_>) {
    let segment = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let right = path.len() > 1 && path.starts_with('/') && path.chars().all(|c| c == '/' || segment(c));
    if !right || path.contains("//") {
        let rule = "must be a path such as \"/cgi-bin/sendsms\": letters, digits, - . _ ~ between slashes";
        reader.problem(key, rule);
    }
    let below =
        |taken: &str| path.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(taken) = TAKEN.into_iter().find(|taken| below(taken)) {
        reader.problem(key, format!("{taken} is Postern's own"));
    }
}

fn users(users: &[DoorUser], door: &str, reader: &mut Reader<'_>) {
    if users.is_empty() {
        reader.problem(format!("{door}.users"), format!("is missing: at least one [[{door}.users]]"));
    }
    let mut names = BTreeSet::new();
    for (index, user) in users.iter().enumerate() {
        let key = format!("{door}.users[{index}]");
        if user.username.is_empty() || user.username.chars().any(char::is_control) {
            reader.problem(format!("{key}.username"), "must be there, without control characters");
        } else if !names.insert((&user.username, &user.conversation)) {
            reader.problem(format!("{key}.username"), "is another user's too");
        }
        if user.allow.as_ref().is_some_and(Networks::is_empty) {
            let why = "would let nobody in: name addresses, or leave it out for any";
            reader.problem(format!("{key}.allow"), why);
        }
    }
}

/// What `[doors]` says of backends.
pub(super) fn across(config: &Config, reader: &mut Reader<'_>) {
    let kannel = config.doors.kannel.iter().map(|door| ("doors.kannel", &door.users));
    let vumi = config.doors.vumi.iter().map(|door| ("doors.vumi", &door.users));
    for (door, users) in kannel.chain(vumi) {
        for (index, user) in users.iter().enumerate() {
            let key = format!("{door}.users[{index}]");
            if let Some(more) = &user.backends {
                selection(config, more, &format!("{key}.backends"), reader);
            }
            sends(config, &user.backend, format!("{key}.backend"), reader);
            for (name, backend) in user.smsc.iter().flatten() {
                sends(config, backend, format!("{key}.smsc.{name}"), reader);
            }
        }
    }
}

fn sends(config: &Config, name: &BackendName, key: String, reader: &mut Reader<'_>) {
    match config.backends.get(name) {
        None => unknown_backend(config, name, &key, reader),
        Some(backend) if !backend.definition.sends() && reader.has_read(&format!("backends.{name}")) => {
            reader.problem(key, format!("the backend {name} only receives: it has no send table"));
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests;
