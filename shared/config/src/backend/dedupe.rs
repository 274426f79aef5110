//! `receive.dedupe`: how a repetition by the provider is told from a new message.

use postern_shared::suggest;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// How a repetition by the provider is told from a new message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Dedupe {
    /// `true`: a repetition has the same `external_id`, identity and text. Without an `external_id`, every
    /// message is new.
    #[default]
    ExternalId,
    /// `false`: every message is new, since the provider reuses its ids for other messages with the same text.
    Never,
    /// A repetition has the same values in all fields listed here; no other field counts. A message that lacks
    /// one is new.
    Fields(Vec<String>),
}

impl<'de> Deserialize<'de> for Dedupe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WANTED: &str = "must be true, false, or a list of the fields by which a repeated message is \
                              recognized";
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Self::ExternalId),
            Value::Bool(false) => Ok(Self::Never),
            Value::Array(names) => {
                let names = names.into_iter().map(|name| match name {
                    Value::String(name) => Ok(name),
                    _ => Err(de::Error::custom(WANTED)),
                });
                names.collect::<Result<_, _>>().map(Self::Fields)
            }
            _ => Err(de::Error::custom(WANTED)),
        }
    }
}

impl Dedupe {
    /// What is wrong with the names, if messages have the fields `standard` and `declared`. `None` if nothing is.
    pub(super) fn problem(&self, standard: &[&str], declared: &[&str]) -> Option<String> {
        let Self::Fields(names) = self else { return None };
        if names.is_empty() {
            return Some("names no field: set false if messages are never repeated".to_owned());
        }
        let known = || standard.iter().chain(declared).copied();
        let unknown = names.iter().find(|name| known().all(|known| known != *name))?;
        let hint = suggest::hint(unknown, known());
        let standard = standard.join(", ");
        Some(format!(
            "messages have no field {unknown}: use {standard}, or declare it in receive.fields{hint}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_a_truth_value_or_a_list_of_fields() {
        let read = |value: Value| serde_json::from_value::<Dedupe>(value).map_err(|why| why.to_string());
        assert_eq!(read(json!(true)), Ok(Dedupe::ExternalId));
        assert_eq!(read(json!(false)), Ok(Dedupe::Never));
        let fields = read(json!(["identity", "ref"])).unwrap();
        assert_eq!(fields, Dedupe::Fields(vec!["identity".to_owned(), "ref".to_owned()]));
        for wrong in [json!("identity"), json!([1]), json!(0)] {
            assert!(read(wrong.clone()).unwrap_err().contains("list of the fields"), "{wrong}");
        }
        assert_eq!(fields.problem(&["identity"], &["ref"]), None);
        assert!(fields.problem(&["identity"], &["refs"]).unwrap().contains("did you mean refs?"));
        assert!(Dedupe::Fields(Vec::new()).problem(&[], &[]).unwrap().contains("false"));
    }
}
