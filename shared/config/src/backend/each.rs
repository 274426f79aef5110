//! `receive.each`, `status.each`: the items of one body, each a message or a delivery report.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// The path to lists in a JSON or XML body, such as `/entry/*/changes/*/value/messages`. Every item of the
/// lists is one message or report.
///
/// It is a JSON pointer (RFC 6901), in which `*` stands for every item of a list. The empty path means that the
/// body itself is the list.
///
/// ```
/// use postern_config::backend::each::Each;
/// use serde_json::json;
///
/// let each: Each = serde_json::from_value(json!("/entry/*/messages")).unwrap();
/// let body = json!({"entry": [{"messages": ["a"]}, {"messages": ["b", "c"]}]});
/// let items = each.items(&body, 100).unwrap().unwrap();
/// assert_eq!(items.len(), 3);
/// assert_eq!(items[2].place, "entry[1].messages[1]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Each {
    path: String,
    steps: Vec<PathStep>,
}

/// A step of a path in which `*` is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PathStep {
    /// The member of an object, or the item of a list with this number.
    Member(String),
    /// Every item of a list.
    Every,
}

/// One item of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'v> {
    /// Its place in the body, such as `entry[0].messages[2]`.
    pub place: String,
    /// Its value.
    pub value: &'v Value,
}

/// Why the items of a body are refused. No error message quotes a value of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoItems {
    /// The value at this place is not a list.
    #[error("{0} must be a list")]
    NotAList(String),
    /// There are more items than one request may have.
    #[error("at most {0} items are accepted in one request (ingress.max_items)")]
    TooMany(usize),
    /// The path has a number, but the list has more items than this one.
    #[error(transparent)]
    Unread(#[from] UnreadItems),
}

/// A list that has more items than the configuration reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{list} has {items} items, but only {} read", only(.read))]
pub struct UnreadItems {
    /// The list's place in the body.
    pub list: String,
    /// How many items it has.
    pub items: usize,
    /// The numbers of the items that are read. At least one.
    pub read: Vec<usize>,
}

fn only(read: &[usize]) -> String {
    let numbers: Vec<_> = read.iter().map(usize::to_string).collect();
    match &numbers[..] {
        [one] => format!("item {one} is"),
        many => format!("items {} are", many.join(", ")),
    }
}

impl Each {
    /// The path as it was written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The items of `body` in order. `None` if the path leads to nothing in it. If there is an object in place
    /// of a list, it is the only item; `null` counts as absent.
    ///
    /// # Errors
    /// [`NoItems`], including when there are more than `most` items.
    pub fn items<'v>(&self, body: &'v Value, most: usize) -> Result<Option<Vec<Item<'v>>>, NoItems> {
        let mut walk = Walk { most, found: None };
        walk.step(&self.steps, &Item { place: String::new(), value: body })?;
        Ok(walk.found)
    }

    fn parse(path: &str) -> Result<Self, String> {
        const EXAMPLES: &str = "such as \"/results\" or \"/entry/*/changes/*/value/messages\"";
        if path.is_empty() {
            return Ok(Self { path: String::new(), steps: Vec::new() });
        }
        let Some(rest) = path.strip_prefix('/') else {
            return Err(format!(
                "must begin with /: it is a JSON pointer to a list, {EXAMPLES}; \"\" means that the body \
                 itself is a list"
            ));
        };
        let steps: Vec<_> = rest.split('/').map(PathStep::parse).collect::<Result<_, _>>()?;
        match steps.last() {
            Some(PathStep::Member(last)) if last.is_empty() => Err(format!(
                "must not end in /: it names the list itself, {EXAMPLES}; \"\" means that the body itself is \
                 a list"
            )),
            Some(PathStep::Every) => {
                let list = path.trim_end_matches("/*");
                Err(format!(
                    "must not end in *, because every item of the list is read anyway: write \"{list}\""
                ))
            }
            _ => Ok(Self { path: path.to_owned(), steps }),
        }
    }
}

impl PathStep {
    pub(super) fn parse(token: &str) -> Result<Self, String> {
        match token {
            "*" => Ok(Self::Every),
            _ if token.contains('*') => {
                Err(format!("`{token}`: * must stand alone between two /, and means every item of a list"))
            }
            _ => Ok(Self::Member(unescape(token))),
        }
    }
}

impl<'de> Deserialize<'de> for Each {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A walk along a path. `found` are the items found so far; `None` until the path has led to something.
struct Walk<'v> {
    most: usize,
    found: Option<Vec<Item<'v>>>,
}

impl<'v> Walk<'v> {
    fn step(&mut self, steps: &[PathStep], at: &Item<'v>) -> Result<(), NoItems> {
        match steps {
            [] => self.every(at, |walk, item| walk.take(item)),
            [PathStep::Every, rest @ ..] => self.every(at, |walk, item| walk.step(rest, &item)),
            [PathStep::Member(name), rest @ ..] => match member(at, name)? {
                Some(value) => self.step(rest, &Item { place: joined(&at.place, name), value }),
                None => Ok(()),
            },
        }
    }

    /// Does `work` with every item of the list `at`.
    fn every(
        &mut self,
        at: &Item<'v>,
        mut work: impl FnMut(&mut Self, Item<'v>) -> Result<(), NoItems>,
    ) -> Result<(), NoItems> {
        match at.value {
            Value::Null => Ok(()),
            Value::Array(items) => {
                if items.is_empty() {
                    self.found.get_or_insert_default();
                }
                let mut all = items.iter().enumerate();
                all.try_for_each(|(number, value)| {
                    work(self, Item { place: format!("{}[{number}]", at.place), value })
                })
            }
            Value::Object(_) => work(self, at.clone()),
            _ => Err(NoItems::NotAList(named(&at.place))),
        }
    }

    fn take(&mut self, item: Item<'v>) -> Result<(), NoItems> {
        let found = self.found.get_or_insert_default();
        if found.len() == self.most {
            return Err(NoItems::TooMany(self.most));
        }
        found.push(item);
        Ok(())
    }
}

/// The member `name` of an object, or the only item of a list.
fn member<'v>(at: &Item<'v>, name: &str) -> Result<Option<&'v Value>, UnreadItems> {
    match at.value {
        Value::Object(members) => Ok(members.get(name)),
        Value::Array(items) => match index(name) {
            Some(number) if number < items.len() && items.len() > 1 => {
                Err(UnreadItems { list: named(&at.place), items: items.len(), read: vec![number] })
            }
            Some(number) => Ok(items.get(number)),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// The number in a list that a step of a JSON pointer means. It has no leading zero (RFC 6901).
pub fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    if plain { token.parse().ok() } else { None }
}

/// The name that a step of a JSON pointer stands for.
pub fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The place that the step `token` leads to from `place`. Numbers are written in brackets.
pub fn joined(place: &str, token: &str) -> String {
    match index(token) {
        Some(number) => format!("{place}[{number}]"),
        None if place.is_empty() => token.to_owned(),
        None => format!("{place}.{token}"),
    }
}

/// `place` as an error message names it.
pub fn named(place: &str) -> String {
    if place.is_empty() { "the body".to_owned() } else { place.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn each(path: &str) -> Result<Each, serde_json::Error> {
        serde_json::from_value(path.into())
    }

    /// The places of the items, or why there are none.
    fn places(path: &str, body: &Value) -> Result<Option<Vec<String>>, String> {
        let items = each(path).unwrap().items(body, 4).map_err(|why| why.to_string())?;
        Ok(items.map(|items| items.into_iter().map(|item| item.place).collect()))
    }

    #[test]
    fn every_item_of_every_list_is_found_in_order() {
        for (path, body, wanted) in [
            ("/results", json!({"results": [1, 2]}), Some(vec!["results[0]", "results[1]"])),
            ("/results", json!({"results": []}), Some(vec![])),
            ("/results", json!({"results": null}), None),
            ("/results", json!({"other": []}), None),
            ("/results", json!([]), None),
            ("/results", json!("x"), None),
            ("/results", json!({"results": {"a": 1}}), Some(vec!["results"])),
            ("", json!([1, 2]), Some(vec!["[0]", "[1]"])),
            ("", json!({"a": 1}), Some(vec![""])),
            ("/data/list", json!({"data": {"list": [0]}}), Some(vec!["data.list[0]"])),
            ("/data/list", json!({"data": [{"list": [0]}]}), None),
            ("/*/m", json!([{"m": [1]}, {}, {"m": [2]}]), Some(vec!["[0].m[0]", "[2].m[0]"])),
            ("/e/*/m", json!({"e": [{"m": [1, 2]}, {"n": [3]}]}), Some(vec!["e[0].m[0]", "e[0].m[1]"])),
            ("/e/*/m", json!({"e": [{"n": [3]}]}), None),
            ("/e/*/m", json!({"e": []}), Some(vec![])),
            ("/e/*/m", json!({"e": {"m": [1]}}), Some(vec!["e.m[0]"])),
            (
                "/e/*/*/m",
                json!({"e": [[{"m": [1]}], [{"m": [2]}]]}),
                Some(vec!["e[0][0].m[0]", "e[1][0].m[0]"]),
            ),
            ("/e/0/m", json!({"e": [{"m": [1, 2]}]}), Some(vec!["e[0].m[0]", "e[0].m[1]"])),
            ("/e/1/m", json!({"e": [{"m": [1, 2]}]}), None),
            ("/e/0/m", json!({"e": {"0": {"m": [1]}}}), Some(vec!["e[0].m[0]"])),
            ("/a~1b/m~0", json!({"a/b": {"m~": [1]}}), Some(vec!["a/b.m~[0]"])),
        ] {
            let wanted = wanted.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(places(path, &body), Ok(wanted), "{path} {body}");
        }
    }

    #[test]
    fn what_is_not_taken_says_why_without_a_value() {
        for (path, body, says) in [
            ("/results", json!({"results": "hush"}), "results must be a list"),
            ("", json!(7), "the body must be a list"),
            ("/e/*/m", json!({"e": [{"m": 3}]}), "e[0].m must be a list"),
            ("/e/*/m", json!({"e": 3}), "e must be a list"),
            ("/e", json!({"e": [1, 2, 3, 4, 5]}), "at most 4 items"),
            ("/e/0/m", json!({"e": [{}, {}]}), "e has 2 items, but only item 0 is read"),
            ("/2/m", json!([1, 2, 3]), "the body has 3 items, but only item 2 is read"),
        ] {
            let why = places(path, &body).unwrap_err();
            assert!(why.contains(says), "{path} {body}: {why}");
        }
    }

    #[test]
    fn a_wrong_path_says_what_to_write() {
        for (path, says) in [
            ("results", "must begin with /"),
            ("results/*", "must begin with /"),
            ("$.results", "must begin with /"),
            ("^/results", "must begin with /"),
            ("/results/", "must not end in /"),
            ("/", "must not end in /"),
            ("/results/*", "write \"/results\""),
            ("/*", "write \"\""),
            ("/results[*]", "* must stand alone"),
            ("/entry/*x/messages", "* must stand alone"),
        ] {
            let why = each(path).unwrap_err().to_string();
            assert!(why.contains(says), "{path}: {why}");
        }
    }
}
