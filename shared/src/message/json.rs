//! Messages from and to JSON, with errors that quote nothing.

use super::Malformed;
use serde::{Serialize, de::DeserializeOwned};

/// Reads `body`; the error names the field and the place, and never quotes what stood there.
pub(super) fn read_json<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, Malformed> {
    // Following the path costs more than reading, and is for those that are wrong only.
    serde_json::from_slice(body).or_else(|_| read_again(kind, body))
}

fn read_again<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, Malformed> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        let field = if path == "." { String::new() } else { format!("{path}: ") };
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
