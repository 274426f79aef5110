//! JSON whose texts contain what JSON can only escape, or cannot hold.

use std::{borrow::Cow, fmt::Write as _};

/// The escape in place of a character that cannot be read.
const REPLACEMENT: &str = "\\ufffd";

/// `json` with valid escapes in its texts, so that what a person wrote can be read.
///
/// - A control character, such as a line break that the sender did not escape, is escaped (RFC 8259, 7).
/// - An escaped surrogate without its partner becomes U+FFFD. If a phone or a network cuts a text in the middle
///   of an emoji, some providers write half of it, which no text can hold (RFC 8259, 8.2).
///
/// What is JSON and has no lone surrogate stays the same.
pub fn with_valid_escapes(json: &str) -> Cow<'_, str> {
    match with_escaped_controls(json) {
        Cow::Borrowed(json) => without_lone_surrogates(json),
        Cow::Owned(json) => Cow::Owned(without_lone_surrogates(&json).into_owned()),
    }
}

/// `json` with its control characters escaped inside of texts. Those between values are blanks, or wrong.
fn with_escaped_controls(json: &str) -> Cow<'_, str> {
    // Without a branch for each byte, the compiler compares many at once.
    if !json.bytes().fold(false, |found, byte| found | (byte < b' ')) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    let (mut in_text, mut is_escaped) = (false, false);
    for character in json.chars() {
        match character {
            '\0'..='\u{1f}' if in_text => {
                // A backslash before it escapes nothing, and is read as a backslash.
                let backslash = if is_escaped { "\\" } else { "" };
                let _ = write!(escaped, "{backslash}\\u{:04x}", u32::from(character));
            }
            _ => escaped.push(character),
        }
        if character == '"' && !is_escaped {
            in_text = !in_text;
        }
        is_escaped = in_text && character == '\\' && !is_escaped;
    }
    Cow::Owned(escaped)
}

fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    if !json.contains("\\ud") && !json.contains("\\uD") {
        return Cow::Borrowed(json);
    }
    let (mut mended, mut rest) = (String::with_capacity(json.len()), json);
    while let Some(at) = rest.find('\\') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match (escaped_unit(rest), rest.get(6..).and_then(escaped_unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.push_str(REPLACEMENT);
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => 6,
            // An escape of one character, or no valid escape.
            (None, _) => rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end),
        };
        mended.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    mended.push_str(rest);
    Cow::Owned(mended)
}

/// The UTF-16 unit that `text` begins with, as JSON escapes it.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn a_line_break_is_escaped_half_a_character_is_replaced_and_the_rest_stays() {
        for (json, expected) in [
            (r#""hi \ud83d""#, json!("hi \u{fffd}")),
            (r#""\uDE00 hi""#, json!("\u{fffd} hi")),
            (r#""\ud83d\ud83d\ude00""#, json!("\u{fffd}😀")),
            (r#""\ud83dx\ude00""#, json!("\u{fffd}x\u{fffd}")),
            (r#""\ud83d\n""#, json!("\u{fffd}\n")),
            (r#""\\ud83d""#, json!("\\ud83d")),
            (r#"{"\ud83d":1,"é":"\u00e9"}"#, json!({"\u{fffd}": 1, "é": "é"})),
            (
                "{\n\t\"a\": \"1\n2\",\r\n\t\"b\": \"3\t\u{1}\\\"\n\"\n}",
                json!({"a": "1\n2", "b": "3\t\u{1}\"\n"}),
            ),
            ("\"a\\\nb\\\\\n\"", json!("a\\\nb\\\n")),
            ("\"\\ud83d\n\"", json!("\u{fffd}\n")),
        ] {
            let mended = with_valid_escapes(json);
            assert_eq!(serde_json::from_str::<Value>(&mended).unwrap(), expected, "{json} {mended}");
        }
    }

    proptest! {
        #[test]
        fn what_is_json_stays_the_same_and_nothing_panics(text in "(\\\\|u|d83d|de00|DC00|\"|\n|é|x){0,24}") {
            let mended = with_valid_escapes(&text);
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert_eq!(&*mended, &*text);
            }
        }
    }
}
