//! Reads a JSON value so that only a table becomes a table, and only a name becomes a choice.
//!
//! serde's derived code for a struct also takes a list of the fields' values in their order: nobody
//! means that, and a wrong value would pass. And if a choice is neither a text nor a table, serde's
//! error does not say which choices there are.

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error as _, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value, map};
use std::slice;

/// A value, and everything in it.
pub(super) struct Strict<'a>(pub(super) &'a Value);

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(list) => {
                let mut items = ValueItems(list.iter());
                let read = visitor.visit_seq(&mut items)?;
                let is_whole = items.0.len() == 0;
                is_whole.then_some(read).ok_or_else(|| Error::invalid_length(list.len(), &"fewer items"))
            }
            Value::Object(table) => visitor.visit_map(Members::of(table)),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(_) => self.0.deserialize_enum(name, variants, visitor),
            Value::Object(table) if table.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Members::of(table)))
            }
            Value::Object(_) => Err(Error::invalid_value(Unexpected::Map, &"map with a single key")),
            _ => Err(Error::unknown_variant("", variants)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list.
struct ValueItems<'a>(slice::Iter<'a, Value>);

impl<'a> SeqAccess<'a> for ValueItems<'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(Strict(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The members of a table, and the value of the one whose key was read.
struct Members<'a> {
    members: map::Iter<'a>,
    value: Option<&'a Value>,
}

impl<'a> Members<'a> {
    fn of(table: &'a Map<String, Value>) -> Self {
        Self { members: table.iter(), value: None }
    }
}

impl<'a> MapAccess<'a> for Members<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.members.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(Value::String(key.clone())).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(Strict(value)),
            None => Err(Error::custom("a value without a key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.members.len())
    }
}
