//! `receive.nested`, `status.nested`: texts within a body that are bodies of their own, such as JSON in a
//! parameter of a form, or in a text of JSON.

use super::{
    each::{PathStep, index},
    http::BodyFormat,
};
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The places of the texts within a body that are bodies of their own, in the order in which they are read. One
/// text may be within another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Nested(IndexMap<NestedPath, BodyFormat>);

/// The place of one text: a name of a parameter or of a member of the outermost object, or a JSON pointer, in
/// which `*` stands for every item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NestedPath(Vec<PathStep>);

impl Nested {
    /// Whether there are no places.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces each text in `body` by what `read` makes of it. A text stays unchanged if `read` returns `None`: a
    /// provider may also write something else there.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn open<E>(
        &self,
        body: &mut Value,
        mut read: impl FnMut(&str, BodyFormat) -> Result<Option<Value>, E>,
    ) -> Result<(), E> {
        self.0.iter().try_for_each(|(path, format)| {
            at(&path.0, body, &mut |value| {
                let Value::String(text) = &*value else { return Ok(()) };
                if let Some(read) = read(text, *format)? {
                    *value = read;
                }
                Ok(())
            })
        })
    }
}

/// Calls `work` with each value that `steps` lead to from `value`.
fn at<E>(
    steps: &[PathStep],
    value: &mut Value,
    work: &mut impl FnMut(&mut Value) -> Result<(), E>,
) -> Result<(), E> {
    match (steps, value) {
        ([], value) => work(value),
        ([PathStep::Every, rest @ ..], Value::Array(items)) => {
            items.iter_mut().try_for_each(|item| at(rest, item, work))
        }
        // As with `each`, a value in place of a list is its only item.
        ([PathStep::Every, rest @ ..], value) => at(rest, value, work),
        ([PathStep::Member(name), rest @ ..], Value::Object(members)) => {
            members.get_mut(name).map_or(Ok(()), |member| at(rest, member, work))
        }
        ([PathStep::Member(name), rest @ ..], Value::Array(items)) => {
            let item = index(name).and_then(|number| items.get_mut(number));
            item.map_or(Ok(()), |item| at(rest, item, work))
        }
        _ => Ok(()),
    }
}

impl<'de> Deserialize<'de> for NestedPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        let Some(pointer) = path.strip_prefix('/') else {
            return match path.as_str() {
                "" => {
                    Err(de::Error::custom("must name a parameter, or be a JSON pointer such as \"/Message\""))
                }
                _ => Ok(Self(vec![PathStep::Member(path)])),
            };
        };
        let steps = pointer.split('/').map(PathStep::parse).collect::<Result<_, _>>();
        steps.map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_replaced_by_what_it_holds() {
        for (nested, body, wanted) in [
            (json!({"/a": "json"}), json!({"a": "[1]", "b": "[2]"}), json!({"a": [1], "b": "[2]"})),
            (json!({"a": "json"}), json!({"a": "[1]"}), json!({"a": [1]})),
            (json!({"/a": "json"}), json!({"a": "no json"}), json!({"a": "no json"})),
            (json!({"/a": "json"}), json!({"a": 7}), json!({"a": 7})),
            (json!({"/a/b": "json"}), json!({"a": "x", "b": "[]"}), json!({"a": "x", "b": "[]"})),
            (
                json!({"/r/*/a": "json"}),
                json!({"r": [{"a": "[1]"}, {}, {"a": "[2]"}]}),
                json!({"r": [{"a": [1]}, {}, {"a": [2]}]}),
            ),
            (json!({"/r/*/a": "json"}), json!({"r": {"a": "[1]"}}), json!({"r": {"a": [1]}})),
            (json!({"/r/1": "json"}), json!({"r": ["[1]", "[2]"]}), json!({"r": ["[1]", [2]]})),
            (
                json!({"/a": "json", "/a/b": "json"}),
                json!({"a": "{\"b\": \"[1]\"}"}),
                json!({"a": {"b": [1]}}),
            ),
            (json!({"/a~1b": "json"}), json!({"a/b": "[1]"}), json!({"a/b": [1]})),
        ] {
            let nested: Nested = serde_json::from_value(nested.clone()).unwrap();
            let mut read = body.clone();
            let opened = nested.open(&mut read, |text, _| Ok::<_, ()>(serde_json::from_str(text).ok()));
            assert_eq!((opened, &read), (Ok(()), &wanted), "{body}");
        }
        let nested: Nested = serde_json::from_value(json!({"/a": "json"})).unwrap();
        assert_eq!(nested.open(&mut json!({"a": "x"}), |_, _| Err(7)), Err(7));
    }
}
