//! The body of `POST /v1/messages`, read by hand so that one answer names everything wrong with it.

use crate::{
    accept::{Submission, context_fits},
    problem::Invalid,
};
use jiff::Timestamp;
use postern_shared::{
    callback::CONTEXT_KEY,
    message::{BackendName, Context, Identity, MAX_CONTEXT_BYTES, MAX_IDENTITIES, MAX_TEXT_CHARS, Priority},
};
use serde_json::{Map, Value};

/// The keys that the body may have.
pub(super) const KEYS: [&str; 7] =
    ["backend", "identities", "to", "text", "context", "priority", "expires_at"];
/// The keys whose values are texts or lists of texts.
pub(super) const TEXTS: [&str; 6] = ["backend", "identities", "to", "text", "priority", "expires_at"];
/// The most mistakes that one answer lists.
const MAX_LISTED: usize = 20;

/// How a body names its recipients, for the pointer to one of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum RecipientsKey {
    /// A list, under this key.
    List(&'static str),
    /// A single recipient, under `to`.
    One,
}

impl RecipientsKey {
    /// How `body` names its recipients.
    pub(super) fn of(body: &Value) -> Self {
        match body.get("to") {
            Some(Value::Array(_)) => Self::List("to"),
            Some(_) => Self::One,
            None => Self::List("identities"),
        }
    }

    /// The pointer to all recipients.
    pub(super) fn all(self) -> String {
        match self {
            Self::List(key) => format!("#/{key}"),
            Self::One => "#/to".to_owned(),
        }
    }

    /// The pointer to the recipient at `position`, counted from 0.
    pub(super) fn one(self, position: usize) -> String {
        match self {
            Self::List(key) => format!("#/{key}/{position}"),
            Self::One => self.all(),
        }
    }
}

/// Reads `body`: the submission, or at most 20 mistakes. The backend is returned if its name is valid, even
/// if something else is wrong.
pub(super) fn read(body: Value, now: Timestamp) -> (Option<BackendName>, Result<Submission, Vec<Invalid>>) {
    let Value::Object(mut body) = body else {
        return (None, Err(vec![Invalid::at("#", "must be an object")]));
    };
    let mut errors = Vec::new();
    for key in body.keys().filter(|key| !KEYS.contains(&key.as_str())).take(MAX_LISTED) {
        let pointer = format!("#/{}", escape(key));
        errors.push(Invalid::at(pointer, format!("unknown key; known: {}", KEYS.join(", "))));
    }
    let backend = match body.remove("backend") {
        None => wrong(&mut errors, "#/backend", "is missing"),
        Some(Value::String(name)) => {
            name.parse().map_err(|rule| errors.push(Invalid::at("#/backend", format!("{rule}")))).ok()
        }
        Some(_) => wrong(&mut errors, "#/backend", "must be a string"),
    };
    let identities = identities(&mut body, &mut errors);
    let text = text(body.remove("text"), &mut errors);
    let context = context(body.remove("context"), &mut errors);
    let priority = priority(body.get("priority"), &mut errors);
    let expires_at = expires_at(body.remove("expires_at"), now, &mut errors);
    let submission = match (identities, text, context, priority, expires_at) {
        (Some(identities), Some(text), Some(context), Some(priority), Some(expires_at))
            if errors.is_empty() =>
        {
            Ok(Submission {
                destination: backend.as_ref().map(|name: &BackendName| name.as_str().to_owned()),
                identities,
                left_out: Vec::new(),
                text,
                context,
                priority,
                expires_at,
                claim: None,
                callback: None,
            })
        }
        _ => {
            errors.truncate(MAX_LISTED);
            Err(errors)
        }
    };
    (backend, submission)
}

/// Escapes a key as a part of a JSON pointer in a URI fragment (RFC 6901, section 6).
fn escape(key: &str) -> String {
    let key: String = key.chars().take(100).collect();
    let key = key.replace('~', "~0").replace('/', "~1");
    percent_encoding::utf8_percent_encode(&key, FRAGMENT).to_string()
}

const FRAGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'%').add(b'#');

fn wrong<T>(errors: &mut Vec<Invalid>, pointer: &str, detail: impl Into<String>) -> Option<T> {
    errors.push(Invalid::at(pointer, detail));
    None
}

fn identities(body: &mut Map<String, Value>, errors: &mut Vec<Invalid>) -> Option<Vec<Identity>> {
    let (key, list) = match (body.remove("identities"), body.remove("to")) {
        (Some(_), Some(_)) => return wrong(errors, "#/to", "give either identities or to, not both"),
        (None, None) => return wrong(errors, "#/identities", "is missing"),
        (Some(Value::Array(list)), None) => ("identities", list),
        (Some(_), None) => return wrong(errors, "#/identities", "must be a list of strings"),
        (None, Some(Value::Array(list))) => ("to", list),
        (None, Some(Value::String(one))) => {
            return match Identity::try_from(one) {
                Ok(one) => Some(vec![one]),
                Err(rule) => wrong(errors, "#/to", rule.to_string()),
            };
        }
        (None, Some(_)) => return wrong(errors, "#/to", "must be a string or a list of strings"),
    };
    if list.is_empty() {
        return wrong(errors, &format!("#/{key}"), "at least one is needed");
    }
    if list.len() > MAX_IDENTITIES {
        return wrong(errors, &format!("#/{key}"), format!("at most {MAX_IDENTITIES} are accepted"));
    }
    let before = errors.len();
    let mut identities = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        let identity = match item {
            Value::String(text) => Identity::try_from(text).map_err(|rule| rule.to_string()),
            _ => Err("must be a string".to_owned()),
        };
        match identity {
            Ok(identity) => identities.push(identity),
            Err(why) if errors.len() < MAX_LISTED => {
                errors.push(Invalid::at(format!("#/{key}/{index}"), why))
            }
            Err(_) => {}
        }
    }
    (errors.len() == before).then_some(identities)
}

fn text(text: Option<Value>, errors: &mut Vec<Invalid>) -> Option<String> {
    match text {
        None => wrong(errors, "#/text", "is missing"),
        Some(Value::String(text)) if text.contains('\0') => {
            wrong(errors, "#/text", "null characters are not allowed")
        }
        Some(Value::String(text)) if text.chars().count() > MAX_TEXT_CHARS => {
            wrong(errors, "#/text", format!("at most {MAX_TEXT_CHARS} characters are accepted"))
        }
        Some(Value::String(text)) => Some(text),
        Some(_) => wrong(errors, "#/text", "must be a string"),
    }
}

fn context(context: Option<Value>, errors: &mut Vec<Invalid>) -> Option<Context> {
    match context {
        None | Some(Value::Null) => Some(Context::new()),
        Some(Value::Object(context)) if context.contains_key(CONTEXT_KEY) => {
            wrong(errors, &format!("#/context/{CONTEXT_KEY}"), "is reserved for Postern")
        }
        Some(Value::Object(context)) => {
            if !context_fits(&context) {
                return wrong(errors, "#/context", format!("at most {MAX_CONTEXT_BYTES} bytes are accepted"));
            }
            Some(context)
        }
        Some(_) => wrong(errors, "#/context", "must be an object"),
    }
}

fn priority(priority: Option<&Value>, errors: &mut Vec<Invalid>) -> Option<Priority> {
    match priority.map(Value::as_str) {
        None | Some(Some("normal")) => Some(Priority::Normal),
        Some(Some("bulk")) => Some(Priority::Bulk),
        Some(_) => wrong(errors, "#/priority", "must be \"normal\" or \"bulk\""),
    }
}

/// Reads the expiry. The outer `None` means a mistake, the inner one no expiry.
fn expires_at(at: Option<Value>, now: Timestamp, errors: &mut Vec<Invalid>) -> Option<Option<Timestamp>> {
    let at = match at {
        None | Some(Value::Null) => return Some(None),
        Some(Value::String(text)) => text.parse::<Timestamp>().ok(),
        Some(_) => None,
    };
    match at {
        Some(at) if at > now => Some(Some(at)),
        Some(_) => wrong(errors, "#/expires_at", "is in the past"),
        None => wrong(errors, "#/expires_at", "must be a time such as \"2026-11-22T17:00:00Z\" (RFC 3339)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-11-22T17:00:00Z".parse().unwrap()
    }

    fn pointers(body: Value) -> Vec<String> {
        let errors = read(body, now()).1.unwrap_err();
        errors.into_iter().filter_map(|error| error.pointer).collect()
    }

    #[test]
    fn a_whole_message_is_read() {
        let (backend, submission) = read(
            json!({"backend": "demo", "to": "1", "text": "", "context": {"a": 1}, "priority": "bulk",
                   "expires_at": "2026-11-22T17:00:01Z"}),
            now(),
        );
        let submission = submission.unwrap();
        assert_eq!(backend.unwrap().as_str(), "demo");
        assert_eq!((submission.identities.len(), submission.priority), (1, Priority::Bulk));
        assert_eq!(submission.context["a"], 1);
        assert!(submission.expires_at.is_some());
        let least = read(
            json!({"backend": "demo", "identities": ["1", "1"], "text": "x", "context": null, "expires_at": null}),
            now(),
        );
        assert_eq!(least.1.unwrap().identities.len(), 2, "doubles are kept");
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        for (body, expected) in [
            (json!([]), vec!["#"]),
            (json!({}), vec!["#/backend", "#/identities", "#/text"]),
            (
                json!({"backend": 1, "to": 1, "text": 1, "context": 1, "priority": 1, "expires_at": 1, "a/b~c d": 1}),
                vec![
                    "#/a~1b~0c%20d",
                    "#/backend",
                    "#/to",
                    "#/text",
                    "#/context",
                    "#/priority",
                    "#/expires_at",
                ],
            ),
            (
                json!({"backend": "No", "identities": [], "text": "\u{0}"}),
                vec!["#/backend", "#/identities", "#/text"],
            ),
            (json!({"backend": "d", "identities": ["1"], "to": "1", "text": "x"}), vec!["#/to"]),
            (json!({"backend": "d", "identities": "1", "text": "x"}), vec!["#/identities"]),
            (
                json!({"backend": "d", "identities": ["1", " ", 5], "text": "x"}),
                vec!["#/identities/1", "#/identities/2"],
            ),
            (json!({"backend": "d", "to": "a\nb", "text": "x"}), vec!["#/to"]),
            (json!({"backend": "d", "to": vec!["1"; MAX_IDENTITIES + 1], "text": "x"}), vec!["#/to"]),
            (json!({"backend": "d", "to": "1", "text": "x".repeat(MAX_TEXT_CHARS + 1)}), vec!["#/text"]),
            (
                json!({"backend": "d", "to": "1", "text": "x", "context": {"a": "x".repeat(MAX_CONTEXT_BYTES)}}),
                vec!["#/context"],
            ),
            (json!({"backend": "d", "to": "1", "text": "x", "priority": "high"}), vec!["#/priority"]),
            (json!({"backend": "d", "to": "1", "text": "x", "priority": null}), vec!["#/priority"]),
            (
                json!({"backend": "d", "to": "1", "text": "x", "expires_at": "2026-11-22T17:00:00Z"}),
                vec!["#/expires_at"],
            ),
            (
                json!({"backend": "d", "to": "1", "text": "x", "expires_at": "2026-11-22"}),
                vec!["#/expires_at"],
            ),
        ] {
            assert_eq!(pointers(body.clone()), expected, "{body}");
        }
        let many = pointers(json!({"backend": "d", "to": vec![""; 5_000], "text": "x"}));
        assert_eq!(many.len(), MAX_LISTED);
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(text in "\\PC{0,30}", number in any::<i64>()) {
            for value in [json!(text), json!(number), json!([text]), json!({text.clone(): number}), Value::Null] {
                for key in KEYS {
                    let _ = read(json!({key: value, text.clone(): value}), now());
                }
                let _ = read(value, now());
            }
        }
    }
}
