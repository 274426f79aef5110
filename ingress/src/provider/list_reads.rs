//! Lists in a body of which the configuration reads single items, such as `/results/0/text`. The other items
//! of the list must not be lost silently.

use crate::forms::Request;
use indexmap::IndexMap;
use postern_config::backend::{
    batch::is_essential,
    each::{UnreadItems, index, joined, named, unescape},
};
use postern_shared::value::OneOrMany;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The parameters of a backend that read single items of lists. Empty for most backends.
#[derive(Debug)]
pub(super) struct ListReads(Vec<ListParameter>);

#[derive(Debug)]
struct ListParameter {
    /// Whether a message or a report needs the parameter. Only then must its lists be read in full: a text is
    /// not refused because of a picture that comes with it.
    essential: bool,
    /// The names in the request. The first that is present counts.
    names: Vec<String>,
}

/// A list that is read.
struct List {
    items: usize,
    read: BTreeSet<usize>,
    essential: bool,
}

impl ListReads {
    /// The parameters among `params`.
    pub(super) fn new(params: &IndexMap<String, OneOrMany>) -> Self {
        let parameter = |(ours, theirs): (&String, &OneOrMany)| ListParameter {
            essential: is_essential(ours),
            names: theirs.0.clone(),
        };
        let all: Vec<_> = params.iter().map(parameter).collect();
        let has_number = |name: &String| name.split('/').skip(1).any(|token| index(token).is_some());
        let any = all.iter().any(|it| it.essential && it.names.iter().any(has_number));
        Self(if any { all } else { Vec::new() })
    }

    /// Whether there are no parameters.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that each list from which a message or a report in `request` comes is read in full. `place` is
    /// set if `request` is an item of a batch.
    ///
    /// # Errors
    /// The first list that is read only in part.
    pub(super) fn check(&self, request: &Request<'_>, place: Option<&str>) -> Result<(), UnreadItems> {
        let mut lists = BTreeMap::new();
        for parameter in &self.0 {
            let there = parameter.names.iter().find(|name| request.json_value(name).is_some());
            let Some(name) = there else { continue };
            let (root, place, pointer) = match (name.strip_prefix('^'), request.batch) {
                (Some(pointer), Some(batch)) => (Some(batch.body), "", pointer),
                (Some(pointer), None) => (request.json.as_deref(), "", pointer),
                (None, _) => (request.json.as_deref(), place.unwrap_or_default(), &**name),
            };
            if let (Some(root), true) = (root, pointer.starts_with('/')) {
                note(&mut lists, parameter.essential, (root, place), pointer);
            }
        }
        let unread = lists.into_iter().find(|(_, list)| list.essential && list.read.len() < list.items);
        match unread {
            Some((list, List { items, read, .. })) => {
                Err(UnreadItems { list: named(&list), items, read: read.into_iter().collect() })
            }
            None => Ok(()),
        }
    }
}

/// Records the lists that `pointer` goes through, beginning at the value at `place`.
fn note(
    lists: &mut BTreeMap<String, List>,
    essential: bool,
    (mut value, place): (&Value, &str),
    pointer: &str,
) {
    let mut place = place.to_owned();
    for token in pointer.split('/').skip(1) {
        let next = match value {
            Value::Array(items) => {
                let Some((number, item)) = index(token).and_then(|number| Some((number, items.get(number)?)))
                else {
                    return;
                };
                let new = || List { items: items.len(), read: BTreeSet::new(), essential: false };
                let list = lists.entry(place.clone()).or_insert_with(new);
                list.read.insert(number);
                list.essential |= essential;
                item
            }
            Value::Object(members) => match members.get(&unescape(token)) {
                Some(member) => member,
                None => return,
            },
            _ => return,
        };
        value = next;
        place = joined(&place, &unescape(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::RawRequest;
    use actix_web::http::{Method, header::HeaderMap};
    use bytes::Bytes;
    use postern_config::backend::http::BodyFormat;
    use serde_json::json;

    const LIMITS: crate::forms::ParameterLimits =
        crate::forms::ParameterLimits { max_fields: 100, max_key: 100, max_value: 100 };

    /// The error about `body`; if `body` has a member `item`, the error about that as an item of a batch.
    fn check(params: &Value, body: &Value) -> Option<String> {
        let params: IndexMap<String, OneOrMany> = serde_json::from_value(params.clone()).unwrap();
        let (headers, method) = (HeaderMap::new(), Method::POST);
        let bytes = Bytes::from(body.to_string());
        let raw = RawRequest { method: &method, headers: &headers, query: "", body: &bytes };
        let whole = Request::parse(raw, Some(BodyFormat::Json), None, &LIMITS).unwrap();
        let reads = ListReads::new(&params);
        let checked = match body.get("item") {
            Some(item) => reads.check(&whole.item(item, &whole).unwrap(), Some("item")),
            None => reads.check(&whole, None),
        };
        checked.err().map(|why| why.to_string())
    }

    #[test]
    fn a_list_that_a_message_is_read_from_is_read_whole_or_named() {
        let first = json!({"identity": "/r/0/from", "text": "/r/0/text"});
        for (params, body, wanted) in [
            (&first, json!({"r": [{"from": "1", "text": "a"}]}), None),
            (
                &first,
                json!({"r": [{"from": "1", "text": "a"}, {"from": "2"}]}),
                Some("r has 2 items, but only item 0 is read"),
            ),
            (&first, json!({"r": []}), None),
            (&first, json!({"r": {"0": {"from": "1"}}, "s": [1, 2]}), None),
            (&first, json!({"from": "1"}), None),
            (&first, json!({"r": [{"text": "a"}, 2, 3]}), Some("r has 3 items, but only item 0 is read")),
            (
                &json!({"identity": "/0", "text": "/1"}),
                json!(["1", "a", "more"]),
                Some("the body has 3 items, but only items 0, 1 are read"),
            ),
            // Items that other parameters read count as read.
            (&json!({"identity": "/0", "text": "/1", "received_at": "/2"}), json!(["1", "a", "t"]), None),
            // Of several names, only the one that is present counts.
            (&json!({"text": ["text", "/r/0/text"]}), json!({"text": "a", "r": [{"text": "b"}, {}]}), None),
            (
                &json!({"text": ["text", "/r/0/text"]}),
                json!({"text": null, "r": [{"text": "b"}, {}]}),
                Some("r has 2 items, but only item 0 is read"),
            ),
            // A message is not refused because of what only comes with it.
            (&json!({"text": "/text", "picture": "/media/0/url"}), json!({"media": [{"url": 1}, {}]}), None),
            (
                &json!({"state": "/a~1b/0/x/0"}),
                json!({"a/b": [{"x": [1, 2]}]}),
                Some("a/b[0].x has 2 items, but only item 0 is read"),
            ),
            // Within an item of a batch, and around it.
            (
                &json!({"text": "/parts/0"}),
                json!({"item": {"parts": ["a", "b"]}}),
                Some("item.parts has 2 items, but only item 0 is read"),
            ),
            (
                &json!({"identity": "^/contacts/0"}),
                json!({"item": {"a": 1}, "contacts": ["1", "2"]}),
                Some("contacts has 2 items, but only item 0 is read"),
            ),
            (
                &json!({"identity": "^/contacts/0"}),
                json!({"item": {"contacts": [1, 2]}, "contacts": ["1"]}),
                None,
            ),
        ] {
            assert_eq!(check(params, &body).as_deref(), wanted, "{params} {body}");
        }
    }
}
