//! `ingress.spool`: a folder, a table, or `false`.

use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use std::fmt;

/// The default folder.
const DIR: &str = "postern-spool";
const MAX_MESSAGES: u64 = 1_000_000;
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// `ingress.spool`: `"DIR"`, `{ dir = "DIR", max_messages = …, max_bytes = … }`, or `false` (also
/// `""`) for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSection {
    dir: Option<String>,
    chosen: bool,
    /// The most messages in the spool.
    pub max_messages: u64,
    /// The most bytes in the spool.
    pub max_bytes: u64,
}

impl SpoolSection {
    /// The folder. `None` if there is no spool.
    pub fn dir(&self) -> Option<&str> {
        self.dir.as_deref()
    }

    /// Whether the configuration names the folder, which must then be usable. If the default folder cannot be
    /// made, Postern runs without a spool.
    pub fn is_chosen(&self) -> bool {
        self.chosen && self.dir.is_some()
    }

    fn at(dir: &str) -> Self {
        Self::new(dir, true)
    }

    fn new(dir: &str, chosen: bool) -> Self {
        let dir = (!dir.is_empty()).then(|| dir.to_owned());
        Self { dir, chosen, max_messages: MAX_MESSAGES, max_bytes: MAX_BYTES }
    }
}

impl Default for SpoolSection {
    fn default() -> Self {
        Self::new(DIR, false)
    }
}

/// `ingress.spool` as a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpoolTable {
    dir: Option<String>,
    max_messages: Option<u64>,
    max_bytes: Option<u64>,
}

impl From<SpoolTable> for SpoolSection {
    fn from(table: SpoolTable) -> Self {
        let section = table.dir.as_deref().map_or_else(Self::default, Self::at);
        Self {
            max_messages: table.max_messages.unwrap_or(MAX_MESSAGES),
            max_bytes: table.max_bytes.unwrap_or(MAX_BYTES),
            ..section
        }
    }
}

impl<'de> Deserialize<'de> for SpoolSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpoolVisitor)
    }
}

struct SpoolVisitor;

impl<'de> de::Visitor<'de> for SpoolVisitor {
    type Value = SpoolSection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a folder, false, or a table of dir, max_messages and max_bytes")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<SpoolSection, E> {
        Ok(if on { SpoolSection::at(DIR) } else { SpoolSection::at("") })
    }

    fn visit_str<E: de::Error>(self, dir: &str) -> Result<SpoolSection, E> {
        Ok(SpoolSection::at(dir))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<SpoolSection, A::Error> {
        SpoolTable::deserialize(MapAccessDeserializer::new(map)).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_folder_a_table_and_nothing_are_told_apart() {
        let read = |value| serde_json::from_value::<SpoolSection>(value).unwrap();
        assert_eq!(SpoolSection::default().dir(), Some("postern-spool"));
        assert!(!SpoolSection::default().is_chosen());
        for (value, dir) in [
            (json!("a/b"), Some("a/b")),
            (json!({"dir": "c"}), Some("c")),
            (json!(true), Some("postern-spool")),
            (json!(false), None),
            (json!(""), None),
            (json!({"dir": ""}), None),
        ] {
            let section = read(value.clone());
            assert_eq!((section.dir(), section.is_chosen()), (dir, dir.is_some()), "{value}");
        }
        let small = read(json!({"max_messages": 5, "max_bytes": 6}));
        assert_eq!((small.max_messages, small.max_bytes), (5, 6));
        assert_eq!((small.dir(), small.is_chosen()), (Some("postern-spool"), false));
        let wrong = serde_json::from_value::<SpoolSection>(json!(7)).unwrap_err().to_string();
        assert!(wrong.contains("a folder, false, or a table"), "{wrong}");
    }
}
