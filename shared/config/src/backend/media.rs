//! Pictures and other media in a request: `receive.media`.

use super::{batch::name_problem, each::Each};
use postern_shared::value::OneOrMany;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Where a request holds media: an item of `receive.media`. Each medium becomes an object in the message's
/// `fields.media`, with the members that the request has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaSource {
    /// The lists in a JSON body, or with `receive.each` in the item, whose items are the media. Then the names
    /// below are names within a list's item. `None`: there is one medium.
    pub each: Option<Each>,
    /// The request's names of the medium's address. The first that is there counts.
    pub url: Option<OneOrMany>,
    /// The request's names of the provider's id of the medium, for providers that must be asked for the address.
    pub id: Option<OneOrMany>,
    /// The request's names of the medium's type: `image/jpeg`, for example, or the provider's word for it.
    #[serde(rename = "type")]
    pub kind: Option<OneOrMany>,
    /// The request's names of the file's name.
    pub name: Option<OneOrMany>,
}

impl MediaSource {
    /// The members of an object in `fields.media`, in their order, with the request's names.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &OneOrMany)> {
        let all = [("url", &self.url), ("id", &self.id), ("type", &self.kind), ("name", &self.name)];
        all.into_iter().filter_map(|(member, names)| Some((member, names.as_ref()?)))
    }

    /// The medium with the values that `find` returns for the request's names. `None` if it has neither a URL
    /// nor an id.
    pub fn medium(&self, find: impl Fn(&str) -> Option<String>) -> Option<Value> {
        let value = |names: &OneOrMany| names.0.iter().find_map(|name| find(name));
        let found =
            self.members().filter_map(|(member, names)| Some((member.to_owned(), value(names)?.into())));
        let medium: Map<String, Value> = found.collect();
        (medium.contains_key("url") || medium.contains_key("id")).then(|| Value::Object(medium))
    }

    /// The mistakes that the types do not rule out: a key below the item of `media`, and what is wrong. With
    /// `of_items`, the names are names within an item of `receive.each`.
    pub(super) fn problems(&self, of_items: bool) -> Vec<(&'static str, String)> {
        let of_items = of_items || self.each.is_some();
        let wrong =
            self.members().filter_map(|(key, names)| Some((key, name_problem(names, of_items)?.to_owned())));
        let mut wrong: Vec<_> = wrong.collect();
        if self.url.is_none() && self.id.is_none() {
            wrong.push(("url", "is missing: set url (where a media item's URL is), or id".to_owned()));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_source_makes_a_medium_of_what_is_there() {
        let source: MediaSource =
            serde_json::from_value(json!({"url": ["a", "b"], "type": "t", "id": "i"})).unwrap();
        let medium = |values: &[(&str, &str)]| {
            source.medium(|name| {
                values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(
            medium(&[("b", "https://h/b"), ("t", "image/png")]),
            Some(json!({
                "url": "https://h/b", "type": "image/png",
            }))
        );
        assert_eq!(medium(&[("i", "7")]), Some(json!({"id": "7"})));
        assert_eq!(medium(&[("t", "image/png")]), None);
    }
}
