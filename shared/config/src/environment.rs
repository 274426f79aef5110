//! Any key from the environment, such as `POSTERN__BROKER__URL=…`.

use super::{document::Document, lines::join, section_names::SECTIONS};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The prefix of every variable that overrides a key.
const PREFIX: &str = "POSTERN__";
/// Postern's other variables, which override no key but options of command lines.
const OURS: [&str; 2] = ["POSTERN_CONFIG", "POSTERN_ADMIN_TOKEN"];

/// The keys that a section may have but that the built-in configuration does not set.
const ABSENT: [(&str, &str); 17] = [
    ("broker", "max_messages"),
    ("ingress", "public_url"),
    ("ingress", "tls"),
    ("ingress", "max_connections"),
    ("ingress", "rate_limit"),
    ("ingress", "spool"),
    ("admin", "listen"),
    ("admin", "tls"),
    ("admin", "token"),
    ("api", "listen"),
    ("api", "tls"),
    ("api", "max_connections"),
    ("application", "url"),
    ("application", "secret"),
    ("log", "messages"),
    ("log", "url"),
    ("log", "hash_key"),
];

/// Sets the keys that `variables` name, and returns the paths of those keys.
///
/// The parts of a name are matched against the existing keys, without regard to case, with `-` and `_` alike; a
/// part that matches no key makes a new one in lower case. In a list, a part is a position, counted from 0; the
/// position after the last makes a new entry. A value is read as TOML if it is valid TOML (`8`, `true`, `["a"]`),
/// else as text.
pub(super) fn apply(
    tree: &mut Map<String, Value>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> BTreeSet<String> {
    let variables: Vec<_> = variables.into_iter().collect();
    let ours = variables.iter().filter_map(|(name, text)| {
        let parts: Vec<&str> =
            name.strip_prefix(PREFIX)?.split("__").filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then_some((parts, text))
    });
    let mut ours: Vec<_> = ours.collect();
    // Positions are compared as numbers: the tenth entry of a list comes after its second.
    ours.sort_by_cached_key(|(parts, _)| {
        parts.iter().map(|part| (part.parse::<usize>().ok(), (*part).to_owned())).collect::<Vec<_>>()
    });
    let mut root = Value::Object(std::mem::take(tree));
    let set =
        ours.into_iter().map(|(parts, text)| put(&mut root, String::new(), &parts, read(text))).collect();
    if let Value::Object(root) = root {
        *tree = root;
    }
    set
}

/// The variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    let parts = key.split(['.', '[']).map(|part| part.trim_end_matches(']'));
    let parts: Vec<_> = parts.map(|part| part.to_uppercase().replace('-', "_")).collect();
    format!("{PREFIX}{}", parts.join("__"))
}

/// The problem `what`, with the name of the variable that sets `key`.
pub(super) fn set_by(what: &str, key: &str) -> String {
    format!("{what} (set by the environment variable {})", variable(key))
}

/// The variables among `names` that set nothing although they were probably meant to: what is wrong with each, and
/// whether that is certain. `tree` is the configuration.
pub(super) fn mistaken<'n>(
    tree: &Map<String, Value>,
    names: impl IntoIterator<Item = &'n str>,
) -> Vec<(String, bool)> {
    let mut secrets = BTreeSet::new();
    tree.values().for_each(|value| variables_in(value, &mut secrets));
    let mut names: Vec<_> = names.into_iter().filter(|name| !secrets.contains(name)).collect();
    names.sort_unstable();
    let mistaken = names.into_iter().filter_map(|name| {
        let upper = name.to_ascii_uppercase();
        if upper.starts_with(PREFIX) {
            let why = format!("the environment variable {name} sets nothing: did you mean {upper}?");
            return (upper != name).then_some((why, true));
        }
        let rest = upper.strip_prefix("POSTERN_").filter(|_| !OURS.contains(&name))?;
        let section = SECTIONS.into_iter().find(|section| {
            rest.strip_prefix(&section.to_uppercase())
                .is_some_and(|rest| rest.starts_with('_') && rest.len() > 1)
        })?;
        let key = rest[section.len()..].trim_start_matches('_');
        let meant =
            format!("{PREFIX}{}__{}", section.to_uppercase(), with_separators(tree.get(section), key));
        let why = format!("the environment variable {name} sets nothing: did you mean {meant}?");
        let is_certain = rest.contains("__");
        let is_key = is_certain || is_key(section, tree.get(section), key);
        (is_key && !is_of_kubernetes(key)).then_some((why, is_certain))
    });
    mistaken.collect()
}

/// Whether `key` probably means a key of `section`, whose table is `table`. Other programs may use variables with
/// similar names.
fn is_key(section: &str, table: Option<&Value>, key: &str) -> bool {
    let known = table.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str());
    let known = known.chain(ABSENT.into_iter().filter(|(of, _)| *of == section).map(|(_, name)| name));
    let mut folded = known.map(|name| name.to_uppercase().replace('-', "_"));
    folded.any(|name| key.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

/// Finds the names in `{ env = "NAME" }` anywhere in `value`.
fn variables_in<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(table) => {
            if let (1, Some(Value::String(name))) = (table.len(), table.get("env")) {
                found.insert(name);
            }
            table.values().for_each(|value| variables_in(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| variables_in(value, found)),
        _ => {}
    }
}

/// Whether Kubernetes sets a variable with this ending for a service named `postern-ingress`.
fn is_of_kubernetes(key: &str) -> bool {
    key == "PORT" || ["SERVICE_HOST", "SERVICE_PORT", "PORT_"].iter().any(|start| key.starts_with(start))
}

/// `key` with `__` after the name of a table in `table`: `SPOOL_MAX_BYTES` becomes `SPOOL__MAX_BYTES`.
fn with_separators(table: Option<&Value>, key: &str) -> String {
    let tables = table.and_then(Value::as_object).into_iter().flatten();
    let mut below = tables.filter(|(_, value)| value.is_object()).filter_map(|(name, value)| {
        let folded = name.to_uppercase().replace('-', "_");
        let rest = key.strip_prefix(&folded)?.strip_prefix('_')?.trim_start_matches('_');
        Some(format!("{folded}__{}", with_separators(Some(value), rest)))
    });
    below.next().unwrap_or_else(|| key.to_owned())
}

fn put(at: &mut Value, path: String, parts: &[&str], value: Value) -> String {
    let Some((part, rest)) = parts.split_first() else {
        *at = value;
        return path;
    };
    if at.is_null() && *part == "0" {
        *at = Value::Array(Vec::new());
    }
    if let Value::Array(list) = at
        && let Ok(index) = part.parse::<usize>()
        && index <= list.len()
    {
        if index == list.len() {
            list.push(Value::Null);
        }
        return put(&mut list[index], format!("{path}[{index}]"), rest, value);
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    match at {
        Value::Object(table) => {
            let key = existing(table, part);
            let path = join(&path, &key);
            put(table.entry(key).or_insert(Value::Null), path, rest, value)
        }
        _ => path,
    }
}

fn existing(table: &Map<String, Value>, part: &str) -> String {
    let fold = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let found = table.keys().find(|key| fold(key) == fold(part));
    found.cloned().unwrap_or_else(|| part.to_ascii_lowercase())
}

/// `text` as a TOML value, or as a text if it is not TOML. A number that would be written differently, such as
/// `+46766861004` or `0x1f`, is a text: it may be a person's number or a password.
fn read(text: &str) -> Value {
    let document = Document::parse(&format!("value = {text}\n"));
    match document.map(|mut document| (document.tree.len(), document.tree.remove("value"))) {
        Ok((1, Some(value))) if value.as_number().is_none_or(|number| number.to_string() == text.trim()) => {
            value
        }
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_find_their_keys_and_values_their_types() {
        let mut tree = Document::parse("[backends.my-one.send.headers]\nX-Id = \"a\"\n").unwrap().tree;
        let variables = [
            ("POSTERN__BACKENDS__MY_ONE__SEND__HEADERS__X_ID", "b"),
            ("POSTERN__DISPATCHER__CONCURRENCY", "8"),
            ("POSTERN__DISPATCHER__BACKENDS", "[\"a\"]"),
            ("POSTERN__BROKER__URL", "amqp://h"),
            ("POSTERN__ADMIN__TOKEN", "98765432109876543210"),
            ("POSTERN__BACKENDS__MY_ONE__SETTINGS__FROM", "+46766861004"),
            ("POSTERN__BACKENDS__MY_ONE__SETTINGS__PASSWORD", "1_0e3"),
            ("POSTERN_CONFIG", "x"),
            ("HOME", "x"),
        ];
        let set = apply(&mut tree, variables.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(
            Value::Object(tree),
            json!({
                "admin": {"token": "98765432109876543210"},
                "backends": {"my-one": {
                    "send": {"headers": {"X-Id": "b"}},
                    "settings": {"from": "+46766861004", "password": "1_0e3"},
                }},
                "broker": {"url": "amqp://h"},
                "dispatcher": {"backends": ["a"], "concurrency": 8},
            })
        );
        assert!(set.contains("backends.my-one.send.headers.X-Id") && set.len() == 7);
    }

    #[test]
    fn a_variable_that_was_meant_to_set_a_key_is_told_from_others() {
        let text = "[backends.my-one.settings]\nx = { env = \"POSTERN_API_KEY\" }\n[ingress]\nspool = { dir = \"d\" }\n";
        let mut tree = Document::parse(text).unwrap().tree;
        tree.insert("broker".to_owned(), json!({"url": "embedded:x"}));
        for (name, meant, is_certain) in [
            ("POSTERN_BROKER__URL", "POSTERN__BROKER__URL", true),
            ("POSTERN_BROKER_URL", "POSTERN__BROKER__URL", false),
            ("POSTERN_INGRESS_SPOOL_DIR", "POSTERN__INGRESS__SPOOL__DIR", false),
            ("POSTERN_BACKENDS_MY_ONE_SETTINGS_KEY", "POSTERN__BACKENDS__MY_ONE__SETTINGS__KEY", false),
            ("postern__broker__url", "POSTERN__BROKER__URL", true),
        ] {
            let found = mistaken(&tree, [name]);
            let [(why, certain)] = &found[..] else { panic!("{name}: {found:?}") };
            assert!(why.contains(name) && why.contains(&format!("did you mean {meant}?")), "{why}");
            assert_eq!(*certain, is_certain, "{name}");
        }
        let others = [
            "POSTERN_CONFIG",
            "POSTERN_ADMIN_TOKEN",
            "POSTERN_API_KEY",
            "POSTERN__BROKER__URL",
            "POSTERN_INGRESS_SERVICE_HOST",
            "POSTERN_INGRESS_PORT_8080_TCP_ADDR",
            "POSTERN_PORT",
            "POSTERN_VERSION",
            "POSTERN_API_SECRET",
            "POSTERN_LOG_DIR",
            "HOME",
        ];
        assert_eq!(mistaken(&tree, others), []);
        assert_eq!(variable("api.keys[0].key-x"), "POSTERN__API__KEYS__0__KEY_X");
    }

    #[test]
    fn a_place_in_a_list_is_a_part_of_the_name() {
        let mut tree = Document::parse("[[api.keys]]\nname = \"a\"\nkey = \"x\"\n").unwrap().tree;
        let entries = (1..12).map(|n| (format!("POSTERN__API__KEYS__{n}__NAME"), format!("n{n}")));
        let more = [
            ("POSTERN__API__KEYS__0__KEY", "y"),
            ("POSTERN__COMPAT__KANNEL__USERS__0__USERNAME", "u"),
            ("POSTERN__COMPAT__KANNEL__USERS__0__ALLOW__0", "10.0.0.0/8"),
        ];
        let set = apply(&mut tree, entries.chain(more.map(|(k, v)| (k.to_owned(), v.to_owned()))));
        let mut keys = vec![json!({"name": "a", "key": "y"})];
        keys.extend((1..12).map(|n| json!({"name": format!("n{n}")})));
        let users = json!([{"username": "u", "allow": ["10.0.0.0/8"]}]);
        assert_eq!(
            Value::Object(tree),
            json!({"api": {"keys": keys}, "compat": {"kannel": {"users": users}}})
        );
        assert!(
            set.contains("api.keys[0].key") && set.contains("compat.kannel.users[0].allow[0]"),
            "{set:?}"
        );
    }
}
