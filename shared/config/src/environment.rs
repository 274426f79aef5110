//! `POSTERN__BROKER__URL=…`: any key from the environment.

use super::document::{Document, join};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What every variable that overrides a key begins with.
const PREFIX: &str = "POSTERN__";

/// Sets the keys that `variables` name, and returns the paths of those keys.
///
/// A name's parts are matched without regard to case, `-` and `_` alike, against the keys that are
/// there; a part that matches none makes a new key in lower case. In a list a part is a place,
/// counted from 0; the place behind the last makes a new entry. A value is read as TOML where it is
/// (`8`, `true`, `["a"]`), and is text otherwise.
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
    // The tenth entry of a list comes behind its second.
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

/// `text` as a TOML value; a bare word is text.
fn read(text: &str) -> Value {
    let document = Document::parse(&format!("value = {text}\n"));
    match document.map(|mut document| (document.tree.len(), document.tree.remove("value"))) {
        Ok((1, Some(value))) => value,
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
            ("POSTERN_CONFIG", "x"),
            ("HOME", "x"),
        ];
        let set = apply(&mut tree, variables.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(
            Value::Object(tree),
            json!({
                "backends": {"my-one": {"send": {"headers": {"X-Id": "b"}}}},
                "broker": {"url": "amqp://h"},
                "dispatcher": {"backends": ["a"], "concurrency": 8},
            })
        );
        assert!(set.contains("backends.my-one.send.headers.X-Id") && set.len() == 4);
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
