//! Messages from and to JSON, with errors that quote nothing.

use super::Malformed;
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::{Path, Segment};

/// The names of the messages' own fields. Any other name in a body is its sender's: in `context`
/// and `fields`, and wherever it does not belong.
const OWN: [&str; 28] = [
    "id",
    "backend",
    "identity",
    "text",
    "fields",
    "external_id",
    "received_at",
    "identities",
    "context",
    "priority",
    "created_at",
    "expires_at",
    "attempt",
    "postponed",
    "parts_sent",
    "message_id",
    "at",
    "recipients",
    "state",
    "external_ids",
    "segments",
    "reason",
    "class",
    "code",
    "detail",
    "callback",
    "event",
    "reply",
];

/// Reads `body`; the error names the field and the place, and never quotes what stood there.
pub(super) fn read_json<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, Malformed> {
    // Following the path costs more than reading, and is for those that are wrong only.
    serde_json::from_slice(body).or_else(|_| read_again(kind, body))
}

fn read_again<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, Malformed> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = own(e.path());
        let field = if path.is_empty() { path } else { format!("{path}: ") };
        let (line, column) = (e.inner().line(), e.inner().column());
        let what = match e.inner().classify() {
            serde_json::error::Category::Data => data_error(&e.inner().to_string()),
            serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
            _ => "not valid JSON".to_owned(),
        };
        format!("{field}{what} (line {line}, column {column})")
    });
    let read = read.and_then(|value| match json.end() {
        Ok(()) => Ok(value),
        Err(_) => Err("not valid JSON: something follows the object".to_owned()),
    });
    read.map_err(|why| Malformed { kind, why })
}

/// `path` up to the first name that is not one of ours.
fn own(path: &Path) -> String {
    let mut own = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => own.push_str(&format!("[{index}]")),
            Segment::Map { key } if OWN.contains(&key.as_str()) => {
                own.push_str(if own.is_empty() { "" } else { "." });
                own.push_str(key);
            }
            Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    own
}

/// serde's texts quote the value (`invalid type: string "…", expected u32`): keep what is ours.
fn data_error(text: &str) -> String {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    if text.starts_with("invalid type")
        || text.starts_with("invalid value")
        || text.starts_with("invalid length")
    {
        match text.rsplit_once(", expected ") {
            Some((_, expected)) => format!("expected {expected}"),
            None => "wrong type".to_owned(),
        }
    } else if text.starts_with("unknown variant") {
        match text.rsplit_once(", expected ") {
            Some((_, expected)) => format!("expected {expected}"),
            None => "not an allowed value".to_owned(),
        }
    } else if text.starts_with("UUID parsing failed") {
        "expected a UUID".to_owned()
    } else if text.starts_with("missing field")
        || text.starts_with("a")
        || text.starts_with("duplicate field")
    {
        text.to_owned()
    } else {
        "not a valid value".to_owned()
    }
}

/// These types hold nothing that JSON cannot: string keys, finite numbers.
pub(super) fn write_json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{CallbackEvent, Inbound, Outbound, Report};
    use serde_json::{Value, json};

    const NUMBER: &str = "+15551234567";

    #[test]
    fn the_place_of_a_mistake_is_named_in_our_words_only() {
        let with = |more: &str| format!(r#"{{"backend":"demo","identities":["1"],"text":"x",{more}}}"#);
        for (body, says) in [
            (with(&format!(r#""context":{{"{NUMBER}":}}"#)), "context: not valid JSON (line 1, column"),
            (with(&format!(r#""context":{{"text":{{"{NUMBER}":[1,]}}}}"#)), "context.text: not valid"),
            (with(&format!(r#""{NUMBER}":[1,]"#)), "message: not valid JSON"),
            (with(&format!(r#""{NUMBER}":{{"text":"#)), "message: not valid JSON"),
            (with(r#""attempt":"one""#), "attempt: expected u32"),
            (with(&format!(r#""priority":"{NUMBER}""#)), "priority: expected"),
            (
                format!(r#"{{"backend":"demo","identities":["1",{{"{NUMBER}":7}}],"text":"x"}}"#),
                "identities[1]: ",
            ),
            (format!(r#"{{"{NUMBER}":{{}},"backend":7}}"#), "backend: "),
        ] {
            let why = Outbound::from_json(body.as_bytes()).unwrap_err().to_string();
            assert!(why.contains(says) && !why.contains("555"), "{body}: {why}");
        }
        let report = format!(r#"{{"recipients":[{{"state":"sent","reason":{{"class":"{NUMBER}"}}}}]}}"#);
        let why = Report::from_json(report.as_bytes()).unwrap_err().to_string();
        assert!(why.contains("recipients[0].reason.class: expected"), "{why}");
        assert!(!why.contains("555"), "{why}");
    }

    #[test]
    fn every_field_of_a_message_is_one_of_ours() {
        let (id, at) = ("0199b2a4-7c00-7000-8000-000000000000", "2026-11-22T17:00:00Z");
        let reason = json!({"class": "permanent", "code": "http_400", "detail": "d"});
        let recipient = json!({
            "identity": "1", "state": "sent", "external_id": "e", "external_ids": ["e"], "segments": 1,
            "reason": reason
        });
        let inbound = json!({
            "id": id, "backend": "b", "identity": "1", "text": "x", "fields": {}, "external_id": "e",
            "received_at": at
        });
        let outbound = json!({
            "id": id, "backend": "b", "identities": ["1"], "text": "x", "context": {}, "priority": "bulk",
            "created_at": at, "expires_at": at, "attempt": 1, "postponed": 1, "parts_sent": 1
        });
        let report =
            json!({"message_id": id, "backend": "b", "attempt": 1, "at": at, "recipients": [recipient]});
        let notice = json!({
            "message_id": id, "backend": "b", "callback": "c", "event": 8, "identity": "1",
            "external_id": "e", "reply": "r", "at": at
        });
        let written = [
            Inbound::from_json(inbound.to_string().as_bytes()).unwrap().to_json(),
            Outbound::from_json(outbound.to_string().as_bytes()).unwrap().to_json(),
            Report::from_json(report.to_string().as_bytes()).unwrap().to_json(),
            CallbackEvent::from_json(notice.to_string().as_bytes()).unwrap().to_json(),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for message in written {
            keys(&serde_json::from_slice(&message).unwrap(), &mut seen);
        }
        assert_eq!(seen, OWN.map(str::to_owned).into());
    }

    fn keys(value: &Value, seen: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(key, value)| {
                seen.insert(key.clone());
                keys(value, seen);
            }),
            Value::Array(items) => items.iter().for_each(|item| keys(item, seen)),
            _ => {}
        }
    }
}
