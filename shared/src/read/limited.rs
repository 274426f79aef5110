//! Reads a JSON text that a stranger wrote, and holds no more of it in memory than the limits allow.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// How much one JSON text may hold. serde_json itself takes at most 127 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// The most members of objects and items of arrays, at all levels together.
    pub values: usize,
    /// The longest name of a member, in bytes.
    pub name: usize,
    /// The longest text, in bytes.
    pub text: usize,
}

/// Why a JSON text is not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It is not JSON.
    Invalid(serde_json::Error),
    /// It has more members and items than [`JsonLimits::values`].
    Values,
    /// The name of a member is too long.
    Name,
    /// A text is too long. Holds the name of the member that contains it, which is empty outside any object.
    Text(String),
}

/// Reads `text`. It stops at the first thing that is over a limit, so that what comes after it costs nothing.
///
/// # Errors
/// [`NotTaken`] if `text` is not JSON or is over one of the `limits`.
pub fn value_within(text: &[u8], limits: JsonLimits) -> Result<Value, NotTaken> {
    let mut count = Count { limits, values: 0, exceeded: None };
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = JsonPart { count: &mut count, name: "" }.deserialize(&mut json);
    let read = read.and_then(|value| json.end().map(|()| value));
    read.map_err(|error| count.exceeded.take().unwrap_or(NotTaken::Invalid(error)))
}

struct Count {
    limits: JsonLimits,
    values: usize,
    /// The limit that was exceeded: serde_json's error can only hold a text.
    exceeded: Option<NotTaken>,
}

impl Count {
    fn one_more<E: Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > self.limits.values { self.stop(NotTaken::Values) } else { Ok(()) }
    }

    fn stop<T, E: Error>(&mut self, why: NotTaken) -> Result<T, E> {
        self.exceeded = Some(why);
        Err(E::custom("too much"))
    }
}

/// One value, which the member `name` holds.
struct JsonPart<'c> {
    count: &'c mut Count,
    name: &'c str,
}

impl<'de> DeserializeSeed<'de> for JsonPart<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonPart<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        if text.len() > self.count.limits.text {
            return self.count.stop(NotTaken::Text(self.name.to_owned()));
        }
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Self { count, name } = self;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(ArrayItem { count: &mut *count, name })? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let count = self.count;
        let mut table = Map::new();
        while let Some(name) = members.next_key_seed(Name(&mut *count))? {
            let value = members.next_value_seed(JsonPart { count: &mut *count, name: &name })?;
            table.insert(name, value);
        }
        Ok(table.into())
    }
}

/// An item of an array, counted before it is read.
struct ArrayItem<'c> {
    count: &'c mut Count,
    name: &'c str,
}

impl<'de> DeserializeSeed<'de> for ArrayItem<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count.one_more()?;
        JsonPart { count: self.count, name: self.name }.deserialize(deserializer)
    }
}

/// The name of a member, which is counted with it.
struct Name<'c>(&'c mut Count);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        self.0.one_more()?;
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        if name.len() > self.0.limits.name {
            return self.0.stop(NotTaken::Name);
        }
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: JsonLimits = JsonLimits { values: 5, name: 4, text: 6 };

    fn why(text: &str) -> String {
        match value_within(text.as_bytes(), LIMITS) {
            Ok(value) => value.to_string(),
            Err(NotTaken::Invalid(error)) => error.to_string(),
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn it_stops_at_the_first_thing_that_is_too_much() {
        for (text, wanted) in [
            ("[1,2,3,4,5]", "[1,2,3,4,5]"),
            // What comes after it is not even looked at.
            ("[1,2,3,4,5,6,", "Values"),
            ("[[],[],[],[],[],{", "Values"),
            (r#"{"a":[1,2,{"b":0},{"c""#, "Values"),
            (r#"{"a":1,"a":2,"a":3,"a":4,"a":5,"#, "EOF while parsing a value at line 1 column 31"),
            (r#"{"a":1,"a":2,"a":3,"a":4,"a":5,"a""#, "Values"),
            (r#"{"abcd":1}"#, r#"{"abcd":1}"#),
            (r#"{"abcde":["#, "Name"),
            (r#"{"abc":[["1234567"#, "EOF while parsing a string at line 1 column 17"),
            (r#"{"abc":[["1234567","#, r#"Text("abc")"#),
            (r#""\u0031234567""#, r#"Text("")"#),
            ("[", "EOF while parsing a list at line 1 column 1"),
            ("[] x", "trailing characters at line 1 column 4"),
        ] {
            assert_eq!(why(text), wanted, "{text}");
        }
        assert!(why(&"[".repeat(200)).contains("recursion limit") || why(&"[".repeat(200)) == "Values");
    }

    proptest! {
        #[test]
        fn what_is_within_the_limits_is_read_as_serde_json_reads_it(
            text in "[\\[\\]{}\",:0-9a-z.eE+\\\\ -]{0,60}",
        ) {
            let limits = JsonLimits { values: 100, name: 100, text: 100 };
            match (value_within(text.as_bytes(), limits), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Err(NotTaken::Invalid(ours)), Err(theirs)) => {
                    prop_assert_eq!(ours.to_string(), theirs.to_string());
                }
                (ours, theirs) => prop_assert!(false, "{:?} {:?}", ours, theirs),
            }
        }
    }
}
