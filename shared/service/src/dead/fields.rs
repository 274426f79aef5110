//! Reads the fields that are needed from the body of a dead letter, which may be anything. It builds no
//! tree of values, which would take many times the memory of the body.

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// The fields that are read.
const NAMES: [&str; 10] = [
    "id",
    "message_id",
    "backend",
    "priority",
    "created_at",
    "received_at",
    "at",
    "identities",
    "recipients",
    "identity",
];
/// The longest text that is read, in bytes: names, ids and times are shorter.
const MAX_TEXT: usize = 256;

/// The fields of a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectFields(BTreeMap<&'static str, ObjectField>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum ObjectField {
    Text(String),
    /// A list with this many items.
    List(usize),
    /// Anything else.
    Other,
}

impl ObjectFields {
    /// The fields of `body`. `None` if it is not a JSON object.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Whether there is a field `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text of the field `name`.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(ObjectField::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// How many items the list `name` has.
    pub(super) fn count(&self, name: &str) -> Option<usize> {
        match self.0.get(name) {
            Some(ObjectField::List(items)) => Some(*items),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for ObjectFields {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = ObjectFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<ObjectFields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some(key) = table.next_key::<Cow<'de, str>>()? {
                    match NAMES.into_iter().find(|name| *name == key) {
                        Some(name) => drop(fields.insert(name, table.next_value()?)),
                        None => drop(table.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(ObjectFields(fields))
            }
        }

        json.deserialize_map(FieldsVisitor)
    }
}

impl<'de> Deserialize<'de> for ObjectField {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = ObjectField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ObjectField, E> {
                Ok(if text.len() <= MAX_TEXT {
                    ObjectField::Text(text.to_owned())
                } else {
                    ObjectField::Other
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ObjectField, A::Error> {
                let mut items = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    items += 1;
                }
                Ok(ObjectField::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<ObjectField, A::Error> {
                while table.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(ObjectField::Other)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<ObjectField, E> {
                Ok(ObjectField::Other)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<ObjectField, E> {
                Ok(ObjectField::Other)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<ObjectField, E> {
                Ok(ObjectField::Other)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<ObjectField, E> {
                Ok(ObjectField::Other)
            }

            fn visit_unit<E: Error>(self) -> Result<ObjectField, E> {
                Ok(ObjectField::Other)
            }
        }

        json.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_texts_and_lengths_of_lists_are_kept_of_an_object() {
        let long = "x".repeat(MAX_TEXT + 1);
        let body = format!(
            r#"{{"id":"1","backend":7,"at":{{"a":[1]}},"priority":null,"message_id":"{long}","identities":["+1",{{}}],"b":[1,2]}}"#
        );
        let fields = ObjectFields::of(body.as_bytes()).unwrap();
        assert_eq!((fields.text("id"), fields.count("identities")), (Some("1"), Some(2)));
        for name in ["backend", "at", "priority", "message_id"] {
            assert!(
                fields.has(name) && fields.text(name).is_none() && fields.count(name).is_none(),
                "{name}"
            );
        }
        assert!(!fields.has("b") && !fields.has("identity"));
        for body in ["[]", "\"id\"", "", "{\"id\":", "\u{0}"] {
            assert_eq!(ObjectFields::of(body.as_bytes()), None, "{body}");
        }
    }
}
