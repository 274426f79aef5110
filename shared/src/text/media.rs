//! Media, such as pictures, that an application sends along (`context.media`), and how a text refers to them.

use crate::message::Context;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use url::Url;

/// The key of media: in `fields` of a received message, and in `context` of a message to send.
pub const MEDIA: &str = "media";

/// What happens to the media that an application sends along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaUse {
    /// Their URLs are appended to the text, each on a line of its own.
    #[default]
    Append,
    /// The message is not sent.
    Refuse,
    /// The request to the provider contains them: its templates use `media`.
    Send,
}

/// Why a message with media is not sent. The error contains nothing of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaProblem {
    /// `context.media` has something other than http or https URLs and objects with one.
    #[error("media must be an http or https URL, or a list of URLs or of objects with a url")]
    NoMedia,
    /// The backend refuses media.
    #[error("this backend cannot send media (text.media)")]
    Refused,
}

impl MediaProblem {
    /// The code of the failure of a message that has this problem.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoMedia => "invalid_media",
            Self::Refused => "media_refused",
        }
    }
}

impl MediaUse {
    /// The text that is sent for a message with `text` and `context`.
    ///
    /// # Errors
    /// The message is not sent, and the error says why.
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
/// [`MediaProblem::NoMedia`] if something else is among them.
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
}
