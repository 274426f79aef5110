//! `POSTERN__BROKER__URL=…`: any key from the environment.

use super::document::{Document, join};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What every variable that overrides a key begins with.
const PREFIX: &str = "POSTERN__";

/// Sets the keys that `variables` name, and returns the paths of those keys.
///
/// A name's parts are matched without regard to case, `-` and `_` alike, against the keys that are
/// there; a part that matches none makes a new key in lower case. A value is read as TOML where it
/// is (`8`, `true`, `["a"]`), and is text otherwise.
pub(super) fn apply(
    tree: &mut Map<String, Value>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    let mut variables: Vec<_> = variables.into_iter().collect();
    variables.sort();
    for (name, text) in variables {
        if let Some(name) = name.strip_prefix(PREFIX) {
            let parts: Vec<&str> = name.split("__").filter(|part| !part.is_empty()).collect();
            if let Some((last, parents)) = parts.split_last() {
                set.extend(put(tree, parents, last, read(&text)));
            }
        }
    }
    set
}

fn put(tree: &mut Map<String, Value>, parents: &[&str], last: &str, value: Value) -> Option<String> {
    let mut path = String::new();
    let mut table = tree;
    for part in parents {
        let key = existing(table, part);
        path = join(&path, &key);
        let below = table.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if !below.is_object() {
            *below = Value::Object(Map::new());
        }
        table = below.as_object_mut()?;
    }
    let key = existing(table, last);
    path = join(&path, &key);
    table.insert(key, value);
    Some(path)
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
}
