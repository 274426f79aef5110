//! The values of a body that is made of templates: `send.json`, `send.form` and `send.query`.

use crate::backend::template::Template;
use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use std::fmt;

/// A JSON value whose texts are templates; the names of members are not.
#[derive(Debug, Clone)]
pub enum JsonTemplate {
    /// A text.
    Text(Template),
    /// A number or a boolean.
    Plain(Value),
    /// An array.
    List(Vec<JsonTemplate>),
    /// An object.
    Object(IndexMap<String, JsonTemplate>),
}

/// Reads the value part by part, so that an error names the key with the mistake.
impl<'de> Deserialize<'de> for JsonTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = JsonTemplate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, a list or a table")
    }

    fn visit_str<E: de::Error>(self, source: &str) -> Result<JsonTemplate, E> {
        Template::parse(source).map(JsonTemplate::Text).map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Plain(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Plain(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Plain(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonTemplate, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(JsonTemplate::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<JsonTemplate, A::Error> {
        let mut table = IndexMap::new();
        while let Some((name, value)) = members.next_entry()? {
            table.insert(name, value);
        }
        Ok(JsonTemplate::Object(table))
    }
}

/// Reads a whole body: a table, or a list. An empty table means no body.
pub(super) fn of_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JsonTemplate>, D::Error> {
    match JsonTemplate::deserialize(deserializer)? {
        JsonTemplate::Object(table) if table.is_empty() => Ok(None),
        body @ (JsonTemplate::Object(_) | JsonTemplate::List(_)) => Ok(Some(body)),
        JsonTemplate::Text(_) | JsonTemplate::Plain(_) => Err(de::Error::custom("must be a table or a list")),
    }
}

impl JsonTemplate {
    /// The templates of `value`, which may use only `names`.
    ///
    /// # Errors
    /// What is wrong with a template, as a text for the user.
    pub(in crate::backend) fn seeing(value: Value, names: &[&str]) -> Result<Self, String> {
        Ok(match value {
            Value::String(source) => Self::Text(Template::seeing(&source, names)?),
            Value::Array(items) => {
                let items = items.into_iter().map(|item| Self::seeing(item, names));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Value::Object(table) => {
                let parse = |(name, value)| Self::seeing(value, names).map(|value| (name, value));
                Self::Object(table.into_iter().map(parse).collect::<Result<_, String>>()?)
            }
            plain => Self::Plain(plain),
        })
    }

    /// Adds the source of each template in this value to `all`, with its key at or below `key`.
    pub(in crate::backend) fn sources<'s>(&'s self, key: String, all: &mut Vec<(String, &'s str)>) {
        match self {
            Self::Text(template) => all.push((key, template.source())),
            Self::Plain(_) => {}
            Self::List(items) => {
                let items = items.iter().enumerate();
                items.for_each(|(index, item)| item.sources(format!("{key}[{index}]"), all));
            }
            Self::Object(table) => {
                table.iter().for_each(|(name, value)| value.sources(format!("{key}.{name}"), all));
            }
        }
    }
}

/// A parameter of a query or a form.
#[derive(Debug, Clone)]
pub enum FormTemplate {
    /// A text.
    Text(Template),
    /// A table or a list, which is written as JSON.
    Json(JsonTemplate),
}

impl FormTemplate {
    /// Adds the source of each template in this parameter to `all`, with its key at or below `key`.
    pub(super) fn sources<'s>(&'s self, key: String, all: &mut Vec<(String, &'s str)>) {
        match self {
            Self::Text(template) => all.push((key, template.source())),
            Self::Json(json) => json.sources(key, all),
        }
    }
}

impl<'de> Deserialize<'de> for FormTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match JsonTemplate::deserialize(deserializer)? {
            JsonTemplate::Text(template) => Ok(Self::Text(template)),
            json @ (JsonTemplate::Object(_) | JsonTemplate::List(_)) => Ok(Self::Json(json)),
            JsonTemplate::Plain(_) => {
                Err(de::Error::custom("must be a string, or a table or a list that is sent as JSON"))
            }
        }
    }
}
