//! JSON bodies: which requests have one, and how much of it is read.

use super::{
    errors::Errors,
    parameter::{ParameterLimits, too_much},
};
use crate::refusal_reason::RefusalReason;
use encoding_rs::{Encoding, UTF_8};
use postern_shared::read::{
    JsonLimits, NotTaken, value_within, with_exact_numbers_among, with_valid_escapes, without_byte_order_mark,
};
use serde_json::Value;
use std::borrow::Cow;

/// Whether a media type is JSON: `application/json`, the old `text/json`, or any with the suffix of RFC 6839.
pub(crate) fn is_json(essence: &str) -> bool {
    matches!(essence, "application/json" | "text/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads a JSON body within `limits`: every member of an object and every item of an array, at any depth,
/// counts as a parameter. JSON is UTF-8 (RFC 8259), regardless of what the request declares; `charset` is
/// used only for a body that is not UTF-8.
///
/// # Errors
/// What is wrong, for the client.
pub(super) fn read_json(
    body: &[u8],
    charset: Option<&'static Encoding>,
    limits: &ParameterLimits,
) -> Result<Value, Errors> {
    let ParameterLimits { max_fields, max_key, max_value } = limits;
    let text = match str::from_utf8(without_byte_order_mark(body)) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => charset.unwrap_or(UTF_8).decode_with_bom_removal(body).0,
    };
    let text = with_valid_escapes(&text);
    let text = with_exact_numbers_among(&text, *max_fields);
    let most = JsonLimits { values: *max_fields, name: *max_key, text: *max_value };
    value_within(text.as_bytes(), most).map_err(|why| match why {
        NotTaken::Invalid(error) => Errors::whole(json_error(&error)).because(RefusalReason::Json),
        NotTaken::Values => too_much(format!("at most {max_fields} parameters are accepted")),
        NotTaken::Name => too_much(format!("a parameter's name may have at most {max_key} bytes")),
        NotTaken::Text(name) if name.is_empty() => {
            too_much(format!("a value may have at most {max_value} bytes"))
        }
        NotTaken::Text(name) => too_much(format!("{name}: at most {max_value} bytes are accepted")),
    })
}

/// Where a text stops being JSON, without quoting it.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    let what = if error.to_string().starts_with("recursion limit") {
        "is nested too deeply (at most 127 levels)"
    } else if error.is_eof() {
        "is incomplete JSON"
    } else {
        "is not valid JSON"
    };
    format!("the body {what} (line {}, column {})", error.line(), error.column())
}
