//! The settings that the backends of a type may have.

use crate::backend::{
    codec::Codec,
    connector::{CONSOLE, SHOW},
    expression::When,
    template::uses,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The settings that a provider's file has, requires or uses.
pub(super) fn settings_in(file: &Map<String, Value>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(Value::Object(own)) = file.get("settings") {
        found.extend(own.keys().cloned());
    }
    let needed = file.get("required_settings").and_then(Value::as_array).into_iter().flatten();
    for needed in needed {
        let several = needed.as_array().map_or(std::slice::from_ref(needed), Vec::as_slice);
        found.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    file.values().for_each(|value| collect(value, &mut found));
    if file.get("connector").is_some_and(|kind| kind == CONSOLE) {
        found.insert(SHOW.to_owned());
    }
    for table in ["receive", "send"].into_iter().filter_map(|name| file.get(name)) {
        let codec = table.get("codec").and_then(|codec| Codec::deserialize(codec).ok());
        found.extend(codec.into_iter().flat_map(|codec| codec.settings()).map(|name| (*name).to_owned()));
    }
    found
}

/// The settings that a provider's file requires or uses, but gives no value.
pub(super) fn unset_in(file: &Map<String, Value>) -> BTreeSet<String> {
    let mut settings = settings_in(file);
    let own = file.get("settings").and_then(Value::as_object);
    settings.retain(|name| own.and_then(|own| own.get(name)).is_none_or(|value| value == ""));
    settings
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.contains("settings") => {
            let names = uses(text).into_iter().filter(|used| used.path[0] == "settings");
            found.extend(names.filter_map(|used| used.path.get(1).cloned()));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(table) => {
            let when = table.get("when").and_then(|when| When::deserialize(when).ok());
            found.extend(when.iter().flat_map(When::all_settings));
            table.values().for_each(|value| collect(value, found));
        }
        _ => {}
    }
}
