//! What a client sends to Vumi or Vumi Go: a user message as JSON.
//!
//! | key | what becomes of it |
//! | --- | --- |
//! | `to_addr` | the recipient, or a list of them |
//! | `content` | the text; empty if absent or null |
//! | `in_reply_to` | `context.external_id`, which a backend of type vumi sends as `in_reply_to` |
//! | `session_event` | the context; null, `new`, `resume` or `close` |
//! | `from_addr` | the context, as `from_addr` and as `from` |
//! | `message_id`, else `metadata.rapidsms_msg_id` | the client's own id of the message: see [`own_id`] |
//! | `endpoint`, `metadata`, `helper_metadata`, `group` | the context |
//! | any other | ignored |
//!
//! Postern keeps no messages, so a reply to one needs a `to_addr`, too.

use crate::accept::{MESSAGE_LIMITS, context_fits};
use postern_shared::{
    message::{Context, Identity, MAX_IDENTITIES, MAX_TEXT_CHARS},
    read::{
        restore_numbers, value_within, with_exact_numbers_among, with_valid_escapes, without_byte_order_mark,
    },
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The events of a session.
const SESSION_EVENTS: [&str; 3] = ["new", "resume", "close"];

/// A message as Vumi accepts it.
#[derive(Debug, PartialEq)]
pub(super) struct UserMessage {
    pub(super) identities: Vec<Identity>,
    pub(super) text: String,
    pub(super) context: Context,
    /// The client's JSON, for the answer.
    pub(super) given: Map<String, Value>,
}

/// The keys whose values are texts or lists of texts.
const TEXTS: [&str; 7] =
    ["to_addr", "content", "in_reply_to", "from_addr", "endpoint", "group", "session_event"];

/// What is wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongMessage {
    /// The wrong keys, in alphabetical order; empty if the body is not a JSON object within the limits.
    pub(super) keys: Vec<&'static str>,
    /// Vumi Go's words.
    pub(super) words: String,
}

/// Reads a body.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn read(body: &[u8]) -> Result<UserMessage, WrongMessage> {
    let body = String::from_utf8_lossy(without_byte_order_mark(body));
    let body = with_valid_escapes(&body);
    let exact = with_exact_numbers_among(&body, MESSAGE_LIMITS.values);
    let Ok(Value::Object(mut given)) = value_within(exact.as_bytes(), MESSAGE_LIMITS) else {
        return Err(WrongMessage { keys: Vec::new(), words: "Invalid Message".to_owned() });
    };
    if let Cow::Owned(_) = exact {
        restore_numbers(&body, &mut given, &TEXTS);
    }
    let mut wrong = Vec::new();
    let identities = identities(&given).or_else(|| {
        wrong.push("to_addr");
        None
    });
    let text = text(&given).or_else(|| {
        wrong.push("content");
        None
    });
    let text_or_null = |name: &str| given.get(name).is_none_or(|value| value.is_null() || value.is_string());
    wrong.extend(
        ["in_reply_to", "from_addr", "endpoint", "group"].into_iter().filter(|name| !text_or_null(name)),
    );
    let event = given.get("session_event").filter(|event| !event.is_null());
    if event.is_some_and(|event| !event.as_str().is_some_and(|event| SESSION_EVENTS.contains(&event))) {
        wrong.push("session_event");
    }
    let table_or_null = |name: &str| given.get(name).is_none_or(|value| value.is_null() || value.is_object());
    wrong.extend(["metadata", "helper_metadata"].into_iter().filter(|name| !table_or_null(name)));
    let context = context(&given);
    if !context_fits(&context) {
        wrong.push("metadata");
    }
    match (identities, text) {
        (Some(identities), Some(text)) if wrong.is_empty() => {
            Ok(UserMessage { identities, text, context, given })
        }
        _ => {
            wrong.sort_unstable();
            Err(WrongMessage { words: reason(&wrong), keys: wrong })
        }
    }
}

/// The client's own id of a message, by which a repetition is recognized: `message_id`, as in Vumi's
/// messages, else `metadata.rapidsms_msg_id`, as RapidSMS's backend sends it.
pub(super) fn own_id(given: &Map<String, Value>) -> Option<&Value> {
    let rapidsms = || given.get("metadata")?.get("rapidsms_msg_id");
    let is_id = |value: &&Value| value.is_number() || value.as_str().is_some_and(|id| !id.is_empty());
    given.get("message_id").filter(is_id).or_else(|| rapidsms().filter(is_id))
}

/// Vumi Go's words: one mistake is one line, several are a list.
fn reason(wrong: &[&str]) -> String {
    let lines: Vec<_> =
        wrong.iter().map(|key| format!("Invalid or missing value for payload key '{key}'")).collect();
    match &lines[..] {
        [one] => one.clone(),
        many => format!("Errors:\n* {}", many.join("\n* ")),
    }
}

fn identities(given: &Map<String, Value>) -> Option<Vec<Identity>> {
    let identity = |value: &Value| value.as_str()?.parse::<Identity>().ok();
    match given.get("to_addr")? {
        Value::Array(list) if (1..=MAX_IDENTITIES).contains(&list.len()) => {
            list.iter().map(identity).collect()
        }
        one => identity(one).map(|one| vec![one]),
    }
}

fn text(given: &Map<String, Value>) -> Option<String> {
    match given.get("content") {
        None | Some(Value::Null) => Some(String::new()),
        Some(Value::String(text)) if !text.contains('\0') && text.chars().count() <= MAX_TEXT_CHARS => {
            Some(text.clone())
        }
        Some(_) => None,
    }
}

fn context(given: &Map<String, Value>) -> Context {
    let mut context = Context::new();
    for (theirs, ours) in [
        ("in_reply_to", "external_id"),
        ("session_event", "session_event"),
        ("from_addr", "from_addr"),
        ("from_addr", "from"),
        ("endpoint", "endpoint"),
        ("group", "group"),
        ("metadata", "metadata"),
        ("helper_metadata", "helper_metadata"),
    ] {
        let there = |value: &&Value| !value.is_null() && value.as_str() != Some("");
        if let Some(value) = given.get(theirs).filter(there) {
            context.insert(ours.to_owned(), value.clone());
        }
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_shapes_are_read() {
        let one = read(br#"{"to_addr":"+1555","content":"hi","extra":[1]}"#).unwrap();
        assert_eq!((one.identities.len(), one.text.as_str()), (1, "hi"));
        assert!(one.context.is_empty());
        let many = json!({
            "content": "hi", "to_addr": ["+1555", "+1666"], "session_event": "resume",
            "metadata": {"rapidsms_msg_id": "7"}, "helper_metadata": {"go": {}}, "in_reply_to": "V1",
            "endpoint": "e", "from_addr": "1000", "group": null,
        });
        let many = read(many.to_string().as_bytes()).unwrap();
        assert_eq!(many.identities.len(), 2);
        let wanted = json!({
            "external_id": "V1", "session_event": "resume", "from_addr": "1000", "from": "1000",
            "endpoint": "e", "metadata": {"rapidsms_msg_id": "7"}, "helper_metadata": {"go": {}},
        });
        assert_eq!(Value::Object(many.context), wanted);
        let sloppy = read("\u{feff}{\"to_addr\":\"1\",\"content\":\"hi \\ud83d\"}".as_bytes()).unwrap();
        assert_eq!(sloppy.text, "hi \u{fffd}");
        let silent =
            read(br#"{"to_addr":"1","content":null,"session_event":null,"in_reply_to":""}"#).unwrap();
        assert_eq!((silent.text.as_str(), silent.context.len()), ("", 0));
    }

    #[test]
    fn the_clients_own_id_is_vumis_or_rapidsmss() {
        for (given, id) in [
            (json!({}), None),
            (json!({"message_id": null, "metadata": {}}), None),
            (json!({"message_id": "", "metadata": {"rapidsms_msg_id": ""}}), None),
            (json!({"message_id": "m1", "metadata": {"rapidsms_msg_id": "r1"}}), Some(json!("m1"))),
            (json!({"message_id": [], "metadata": {"rapidsms_msg_id": 7}}), Some(json!(7))),
        ] {
            assert_eq!(own_id(given.as_object().unwrap()), id.as_ref(), "{given}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_vumi_go_says_it() {
        let one = "Invalid or missing value for payload key ";
        for (body, says) in [
            ("", "Invalid Message".to_owned()),
            ("[]", "Invalid Message".to_owned()),
            ("\"x\"", "Invalid Message".to_owned()),
            (
                &format!("{{\"to_addr\":\"1\",\"x\":[{}0]}}", "0,".repeat(50_000)),
                "Invalid Message".to_owned(),
            ),
            ("{}", format!("{one}'to_addr'")),
            (r#"{"to_addr":7,"content":"x"}"#, format!("{one}'to_addr'")),
            (r#"{"to_addr":4831666765594842123456,"content":"x"}"#, format!("{one}'to_addr'")),
            (r#"{"to_addr":"1","content":1e400}"#, format!("{one}'content'")),
            (r#"{"to_addr":[],"content":"x"}"#, format!("{one}'to_addr'")),
            (r#"{"to_addr":["1",2],"content":"x"}"#, format!("{one}'to_addr'")),
            (r#"{"to_addr":"1","content":7}"#, format!("{one}'content'")),
            (r#"{"to_addr":"1","content":"x","session_event":"pause"}"#, format!("{one}'session_event'")),
            (r#"{"to_addr":"1","content":"x","metadata":[]}"#, format!("{one}'metadata'")),
            (r#"{"to_addr":"1","content":"x","in_reply_to":7}"#, format!("{one}'in_reply_to'")),
            (r#"{"content":7}"#, format!("Errors:\n* {one}'content'\n* {one}'to_addr'")),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err().words, says, "{body}");
        }
    }
}
