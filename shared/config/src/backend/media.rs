//! Pictures and the like: those that a request brings (`receive.media`), and those that an application sends along
//! (`context.media`, `text.media`).

use super::{batch::name_problem, each::Each};
use postern_shared::{message::Context, value::OneOrMany};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use url::Url;

/// The name in `fields` of what a request brings, and in `context` of what goes along.
pub const MEDIA: &str = "media";

/// Where a request holds media: an item of `receive.media`. Each makes an object in the message's `fields.media`,
/// which has the members that are there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaSource {
    /// The lists in a JSON body, with `receive.each` in the item, of which every item is one; the names are then
    /// that item's. `None`: there is one.
    pub each: Option<Each>,
    /// The request's names of the address that the medium is at, of which the first that is there counts.
    pub url: Option<OneOrMany>,
    /// The same of the provider's id of it, for providers that want to be asked for the address.
    pub id: Option<OneOrMany>,
    /// The same of its type, such as `image/jpeg`, or the provider's word for it.
    #[serde(rename = "type")]
    pub kind: Option<OneOrMany>,
    /// The same of its file's name.
    pub name: Option<OneOrMany>,
}

impl MediaSource {
    /// The members of an object in `fields.media`, in their order, with the request's names.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &OneOrMany)> {
        let all = [("url", &self.url), ("id", &self.id), ("type", &self.kind), ("name", &self.name)];
        all.into_iter().filter_map(|(member, names)| Some((member, names.as_ref()?)))
    }

    /// The medium of which `find` gives the values by their names; `None` if it has neither a URL nor an id.
    pub fn medium(&self, find: impl Fn(&str) -> Option<String>) -> Option<Value> {
        let value = |names: &OneOrMany| names.0.iter().find_map(|name| find(name));
        let found =
            self.members().filter_map(|(member, names)| Some((member.to_owned(), value(names)?.into())));
        let medium: Map<String, Value> = found.collect();
        (medium.contains_key("url") || medium.contains_key("id")).then(|| Value::Object(medium))
    }

    /// What is wrong beyond the types: the key below it, and why. `of_items` as with the other names.
    pub(super) fn problems(&self, of_items: bool) -> Vec<(&'static str, String)> {
        let of_items = of_items || self.each.is_some();
        let wrong =
            self.members().filter_map(|(key, names)| Some((key, name_problem(names, of_items)?.to_owned())));
        let mut wrong: Vec<_> = wrong.collect();
        if self.url.is_none() && self.id.is_none() {
            wrong
                .push(("url", "must say where the URL of a media item is, or id where its id is".to_owned()));
        }
        wrong
    }
}

/// What becomes of the media that an application sends along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaUse {
    /// Their URLs are appended to the text, each on a line of its own.
    #[default]
    Append,
    /// The message is not sent.
    Refuse,
    /// The request has them: its templates name `media`.
    Send,
}

/// Why a message with media is not sent. The text holds nothing of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaProblem {
    /// `context.media` is something else.
    #[error("media must be an http or https URL, or a list of URLs or of objects with a url")]
    NoMedia,
    /// They are refused.
    #[error("this backend cannot send media (text.media)")]
    Refused,
}

impl MediaProblem {
    /// The code of the failure of a message that is not sent for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoMedia => "invalid_media",
            Self::Refused => "media_refused",
        }
    }
}

impl MediaUse {
    /// The text of a message with `text` and `context`, as it is sent.
    ///
    /// # Errors
    /// Why it is not sent.
    pub fn text<'t>(self, text: &'t str, context: &Context) -> Result<Cow<'t, str>, MediaProblem> {
        let urls = urls(context)?;
        match self {
            _ if urls.is_empty() => Ok(text.into()),
            Self::Send => Ok(text.into()),
            Self::Refuse => Err(MediaProblem::Refused),
            Self::Append => {
                let text = Some(text).filter(|text| !text.is_empty());
                Ok(text.into_iter().chain(urls).collect::<Vec<_>>().join("\n").into())
            }
        }
    }
}

/// The URLs of the media that go with a message.
///
/// # Errors
/// [`MediaProblem::NoMedia`]
pub fn urls(context: &Context) -> Result<Vec<&str>, MediaProblem> {
    let media = match context.get(MEDIA) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(all)) => &all[..],
        Some(one) => std::slice::from_ref(one),
    };
    let urls =
        media.iter().map(|medium| medium.get("url").unwrap_or(medium).as_str().filter(|url| is_url(url)));
    urls.collect::<Option<Vec<_>>>().ok_or(MediaProblem::NoMedia)
}

fn is_url(text: &str) -> bool {
    let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    plain && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context(media: Value) -> Context {
        [("media".to_owned(), media), ("other".to_owned(), json!(1))].into_iter().collect()
    }

    #[test]
    fn the_media_of_a_context_are_urls() {
        for (media, expected) in [
            (json!("https://h/a.png"), Some(vec!["https://h/a.png"])),
            (
                json!(["https://h/a.png", {"url": "http://h/b", "type": "image/png"}]),
                Some(vec!["https://h/a.png", "http://h/b"]),
            ),
            (json!([]), Some(vec![])),
            (json!(null), Some(vec![])),
            (json!("file:///etc/passwd"), None),
            (json!("https://h/a b"), None),
            (json!("a.png"), None),
            (json!([["https://h/a.png"]]), None),
            (json!([{"type": "image/png"}]), None),
            (json!(7), None),
        ] {
            let context = context(media.clone());
            assert_eq!(urls(&context).ok(), expected, "{media}");
        }
        assert_eq!(urls(&Context::new()), Ok(vec![]));
    }

    #[test]
    fn media_are_appended_refused_or_left_to_the_request() {
        let two = context(json!(["https://h/a", "https://h/b"]));
        for (how, text, context, expected) in [
            (MediaUse::Append, "hi", &two, Ok("hi\nhttps://h/a\nhttps://h/b")),
            (MediaUse::Append, "", &two, Ok("https://h/a\nhttps://h/b")),
            (MediaUse::Send, "hi", &two, Ok("hi")),
            (MediaUse::Refuse, "hi", &two, Err(MediaProblem::Refused)),
            (MediaUse::Refuse, "hi", &Context::new(), Ok("hi")),
            (MediaUse::Send, "hi", &context(json!("x")), Err(MediaProblem::NoMedia)),
        ] {
            assert_eq!(how.text(text, context).as_deref().map_err(|why| *why), expected, "{how:?} {text}");
        }
    }

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
