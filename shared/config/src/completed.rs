//! The effective value of each key of a configuration, so that two configurations can be compared. It includes the
//! defaults, the file of the backend's type, the environment and the secrets. Only digests are kept.

use crate::{
    changes::Changes, document::overlay, lines::join, provider_registry::ProviderRegistry, reader::is_in,
};
use postern_shared::value::referenced_secret;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt};

/// The listeners that are off unless their table is there, and the path that each has if none is set.
const LISTENERS: [CompatTable; 2] = [("kannel", crate::compat::sendsms), ("vumi", crate::compat::messages)];
/// A listener's table below `[compat]`, and its default path.
type CompatTable = (&'static str, fn() -> String);

/// A digest for each backend, and for each key of the other sections. No digest is printed: one could confirm a
/// guess of a secret.
#[derive(Clone, Default)]
pub(super) struct Completed(BTreeMap<String, [u8; 32]>);

impl Completed {
    /// The digests of `tree`, which already includes the environment. Must be called before the tree is read: if a
    /// secret's file changes in between, the next comparison then finds the change.
    pub(super) fn of(tree: &Map<String, Value>, providers: &ProviderRegistry) -> Self {
        let mut completed = Self::default();
        for (name, section) in tree.iter().filter(|(name, _)| *name != "backends") {
            completed.note(name.clone(), section);
        }
        let compat = tree.get("compat");
        for (name, path) in LISTENERS {
            if compat.and_then(|compat| compat.get(name)).is_some() {
                let key = format!("compat.{name}.path");
                completed.0.entry(key).or_insert_with(|| digest(&Value::String(path())));
            }
        }
        let backends = tree.get("backends").and_then(Value::as_object);
        for (name, table) in backends.into_iter().flatten() {
            completed.0.insert(join("backends", name), digest(&whole(tree, table, providers)));
        }
        completed
    }

    fn note(&mut self, key: String, value: &Value) {
        match value {
            Value::Object(table) if referenced_secret(value).is_none() => {
                table.iter().for_each(|(name, value)| self.note(join(&key, name), value));
            }
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) => match items.iter().map(name_of).collect::<Option<Vec<_>>>() {
                Some(names) => {
                    let mut entries: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
                    names.into_iter().zip(items).for_each(|(name, item)| {
                        entries.entry(name).or_default().push(item);
                    });
                    for (name, entries) in entries {
                        self.0.insert(join(&key, name), digest(&json!(entries)));
                    }
                }
                None => drop(self.0.insert(key, digest(value))),
            },
            value => drop(self.0.insert(key, digest(value))),
        }
    }

    /// Whether the values at and below `key` are the same in both.
    pub(super) fn is_same(&self, other: &Self, key: &str) -> bool {
        let at = |all: &Self| -> Vec<(String, [u8; 32])> {
            all.0
                .iter()
                .filter(|(name, _)| is_in(name, key))
                .map(|(name, hash)| (name.clone(), *hash))
                .collect()
        };
        at(self) == at(other)
    }

    /// The differences from `before`.
    pub(super) fn changes_from(&self, before: &Self) -> Changes {
        let mut changes = Changes::default();
        for (key, now) in &self.0 {
            match before.0.get(key) {
                None => changes.added.push(key.clone()),
                Some(then) if then != now => changes.changed.push(key.clone()),
                Some(_) => changes.unchanged += usize::from(is_component(key)),
            }
        }
        changes.removed.extend(before.0.keys().filter(|key| !self.0.contains_key(*key)).cloned());
        changes
    }
}

impl fmt::Debug for Completed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether `key` is a backend, an API key or a user, which have names of their own.
fn is_component(key: &str) -> bool {
    ["backends.", "api.keys.", "compat.kannel.users.", "compat.vumi.users."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// The name of an entry of a list, which is an API key or a user.
fn name_of(item: &Value) -> Option<&str> {
    item.get("name").or_else(|| item.get("username")).and_then(Value::as_str)
}

/// The table of a backend with everything that it takes from its type and from the sections that apply to every
/// backend.
fn whole(tree: &Map<String, Value>, table: &Value, providers: &ProviderRegistry) -> Value {
    let complete = || {
        let (table, kind) = (table.as_object()?, table.get("type")?.as_str()?);
        providers.complete(kind, table.clone())
    };
    // A backend that cannot be read is refused anyway.
    let Some(mut backend) = complete() else { return table.clone() };
    let section = |name: &str| tree.get(name).cloned().unwrap_or_default();
    let of_all = |section: &str, key: &str| tree.get(section).and_then(|table| table.get(key)).cloned();
    backend.entry("retry").or_insert_with(|| section("retry"));
    backend.entry("concurrency").or_insert_with(|| of_all("dispatcher", "concurrency").unwrap_or_default());
    let mut breaker = section("breaker");
    match (&mut breaker, backend.remove("breaker")) {
        (Value::Object(general), Some(Value::Object(own))) => overlay(general, own),
        (_, None) => {}
        (general, Some(own)) => *general = own,
    }
    backend.insert("breaker".to_owned(), breaker);
    // Not a key of a backend, but it is in the addresses that the provider is told.
    let public_url = of_all("ingress", "public_url").unwrap_or_default();
    let files = tls_files(&backend);
    json!([backend, public_url, files])
}

/// Digests of the files that `backend` names in `send.tls`: a changed file is used after a reload.
fn tls_files(backend: &Map<String, Value>) -> Vec<String> {
    let tls = backend.get("send").and_then(|send| send.get("tls")).and_then(Value::as_object);
    let paths = tls.into_iter().flat_map(Map::values).filter_map(Value::as_str);
    // A file that cannot be read is refused anyway.
    paths.map(|path| format!("{:x}", Sha256::digest(std::fs::read(path).unwrap_or_default()))).collect()
}

fn digest(value: &Value) -> [u8; 32] {
    let mut hash = Sha256::new();
    feed(&mut hash, value);
    hash.finalize().into()
}

/// Hashes `value` with the secrets that it names. Each part is preceded by its length, so that no two values give
/// the same bytes.
fn feed(hash: &mut Sha256, value: &Value) {
    if let Some(secret) = referenced_secret(value) {
        hash.update(b"s");
        hash.update(Sha256::digest(secret.unwrap_or_default()));
    }
    match value {
        Value::Object(table) => {
            hash.update(format!("o{} ", table.len()));
            for (name, value) in table {
                hash.update(format!("{} {name}", name.len()));
                feed(hash, value);
            }
        }
        Value::Array(items) => {
            hash.update(format!("a{} ", items.len()));
            items.iter().for_each(|item| feed(hash, item));
        }
        plain => {
            let text = plain.to_string();
            hash.update(format!("v{} {text}", text.len()));
        }
    }
}

#[cfg(test)]
mod tests;
