//! `[doors]`: ways in for clients that speak another gateway's protocol.

use super::{
    Config, Secret, Selection, cross_check::selection, networks::Networks, reader::Reader, values::Span,
};
use crate::message::BackendName;
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
    /// The addresses that it may come from. Absent: any.
    pub allow: Option<Networks>,
    /// Vumi: the only conversation in the path that is this user's. Absent: any. One user name may
    /// have several, each with a backend of its own.
    pub conversation: Option<String>,
}

impl DoorUser {
    /// Whether it may send through `backend`.
    pub fn may_use(&self, backend: &BackendName) -> bool {
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
    if !(1..=2_000).contains(&callbacks.concurrency) {
        reader.problem("doors.callbacks.concurrency", "must be 1 to 2000");
    }
    if let Some(door) = &doors.kannel {
        path(&door.path, "doors.kannel.path", reader);
        users(&door.users, "doors.kannel", reader);
        for (index, _) in door.users.iter().enumerate().filter(|(_, user)| user.conversation.is_some()) {
            let key = format!("doors.kannel.users[{index}].conversation");
            reader.problem(key, "only users of doors.vumi have conversations");
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
            let key = format!("{door}.users[{index}].backend");
            if let Some(more) = &user.backends {
                selection(config, more, &format!("{key}s"), reader);
            }
            match config.backends.get(&user.backend) {
                None => {
                    let known: Vec<_> = config.backends.keys().map(BackendName::as_str).collect();
                    let known = known.join(", ");
                    reader
                        .problem(key, format!("unknown backend `{}`; configured are: {known}", user.backend));
                }
                Some(backend) if !backend.definition.sends() => {
                    let why = format!("the backend {} only receives: it has no send table", user.backend);
                    reader.problem(key, why);
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Catalogue, Config};

    /// The problems of `doors` beside two backends, of which `deaf` only receives.
    fn problems(doors: &str) -> Vec<String> {
        let text = format!("[backends.x]\ntype = \"console\"\n[backends.deaf]\ntype = \"http\"\n{doors}\n");
        match Config::parse("test", Some(&text), [], &Catalogue::builtin()) {
            Ok(_) => Vec::new(),
            Err(invalid) => invalid.problems.iter().map(ToString::to_string).collect(),
        }
    }

    const USER: &str = "username = \"u\"\npassword = \"hush\"\nbackend = \"x\"\n";

    #[test]
    fn doors_that_can_be_opened_are_taken() {
        for doors in [
            String::new(),
            format!("[doors.kannel]\n[[doors.kannel.users]]\n{USER}"),
            format!(
                "[doors.kannel]\npath = \"/sms\"\n[[doors.kannel.users]]\n{USER}backends = [\"*\"]\nallow = [\"10.0.0.0/8\"]"
            ),
            format!(
                "[[doors.vumi.users]]\n{USER}conversation = \"a\"\n[[doors.vumi.users]]\n{USER}conversation = \"b\""
            ),
            format!("[doors.vumi]\npath = \"/v1x/send\"\n[[doors.vumi.users]]\n{USER}"),
            "[doors.callbacks]\nallow = [\"127.0.0.1\", \"fd00::/8\"]".to_owned(),
        ] {
            assert_eq!(problems(&doors), [""; 0], "{doors}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        for (doors, expected) in [
            ("[doors.kannnel]", "line 5: doors.kannnel: unknown key; allowed here: callbacks, kannel, vumi"),
            ("[doors.kannel]", "line 5: doors.kannel.users: is missing: at least one [[doors.kannel.users]]"),
            (
                "[doors.kannel]\nport = 1\n[[doors.kannel.users]]\nUSER",
                "line 6: doors.kannel.port: unknown key; allowed here: path or users",
            ),
            (
                "[[doors.kannel.users]]\nname = \"u\"\nUSER",
                "line 6: doors.kannel.users[0].name: unknown key; allowed here: username, password,",
            ),
            (
                "[[doors.kannel.users]]\nusername = \"u\"\nbackend = \"x\"",
                "line 5: doors.kannel.users[0].password: is missing",
            ),
            (
                "[[doors.kannel.users]]\nusername = \"u\"\npassword = \"\"\nbackend = \"x\"",
                "line 7: doors.kannel.users[0].password: the secret is empty",
            ),
            (
                "[[doors.kannel.users]]\nUSER[[doors.kannel.users]]\nUSER",
                "line 10: doors.kannel.users[1].username: is another user's too",
            ),
            (
                "[[doors.kannel.users]]\nUSERallow = [\"10.0.0.1/8\"]",
                "line 9: doors.kannel.users[0].allow[0]: has bits beyond its mask",
            ),
            (
                "[[doors.kannel.users]]\nUSERallow = [\"here\"]",
                "line 9: doors.kannel.users[0].allow[0]: must be an address such as",
            ),
            (
                "[[doors.kannel.users]]\nUSERallow = []",
                "line 9: doors.kannel.users[0].allow: would let nobody in",
            ),
            (
                "[[doors.kannel.users]]\nUSERbackends = [\"z\"]",
                "line 9: doors.kannel.users[0].backends: unknown backend `z`; configured are: deaf, x",
            ),
            (
                "[[doors.kannel.users]]\nusername = \"u\"\npassword = \"p\"\nbackend = \"z\"",
                "line 8: doors.kannel.users[0].backend: unknown backend `z`",
            ),
            (
                "[[doors.kannel.users]]\nusername = \"u\"\npassword = \"p\"\nbackend = \"deaf\"",
                "line 8: doors.kannel.users[0].backend: the backend deaf only receives",
            ),
            (
                "[[doors.kannel.users]]\nUSERconversation = \"c\"",
                "line 9: doors.kannel.users[0].conversation: only users of doors.vumi have conversations",
            ),
            (
                "[doors.kannel]\npath = \"sendsms\"\n[[doors.kannel.users]]\nUSER",
                "line 6: doors.kannel.path: must be a path such as",
            ),
            (
                "[doors.kannel]\npath = \"/{x}\"\n[[doors.kannel.users]]\nUSER",
                "line 6: doors.kannel.path: must be a path such as",
            ),
            (
                "[doors.kannel]\npath = \"/backends/x\"\n[[doors.kannel.users]]\nUSER",
                "line 6: doors.kannel.path: /backends is Postern's own",
            ),
            (
                "[doors.vumi]\npath = \"/v1/messages\"\n[[doors.vumi.users]]\nUSER",
                "line 6: doors.vumi.path: /v1 is Postern's own",
            ),
            (
                "[doors.vumi]\npath = \"/m\"\n[[doors.vumi.users]]\nUSERconversation = \"c\"",
                "line 11: doors.vumi.users[0].conversation: doors.vumi.path has no {conversation}",
            ),
            (
                "[[doors.vumi.users]]\nusername = \"a:b\"\npassword = \"p\"\nbackend = \"x\"",
                "line 6: doors.vumi.users[0].username: must have no colon",
            ),
            (
                "[doors.vumi]\npath = \"/cgi-bin/sendsms\"\n[[doors.vumi.users]]\nUSER[[doors.kannel.users]]\nUSER",
                "line 6: doors.vumi.path: is the path of doors.kannel, too",
            ),
            ("[doors.callbacks]\nallow = \"127.0.0.1\"", "line 6: doors.callbacks.allow: must be a list"),
            (
                "[doors.callbacks]\ntimeout = \"11m\"",
                "line 6: doors.callbacks.timeout: must be longer than 0 and at most 10m",
            ),
            ("[doors.callbacks]\nconcurrency = 0", "line 6: doors.callbacks.concurrency: must be 1 to 2000"),
        ] {
            let doors = doors.replace("USER", USER);
            let found = problems(&doors);
            assert!(
                found.iter().any(|problem| problem.starts_with(expected)),
                "{doors}\n{expected}\n{found:?}"
            );
            assert!(!found.iter().any(|problem| problem.contains("hush")), "{found:?}");
        }
    }
}
