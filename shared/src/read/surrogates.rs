//! JSON whose texts contain half of a character.

use std::borrow::Cow;

/// The escape in place of a character that cannot be read.
const REPLACEMENT: &str = "\\ufffd";

/// `json` with U+FFFD in place of each escaped surrogate that has no partner. If a phone or a network
/// cuts a text in the middle of an emoji, some providers write half of it, which no text can hold (RFC
/// 8259, 8.2).
pub fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
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
    fn half_a_character_is_replaced_and_a_whole_one_stays() {
        for (json, expected) in [
            (r#""hi \ud83d""#, json!("hi \u{fffd}")),
            (r#""\uDE00 hi""#, json!("\u{fffd} hi")),
            (r#""\ud83d\ud83d\ude00""#, json!("\u{fffd}😀")),
            (r#""\ud83dx\ude00""#, json!("\u{fffd}x\u{fffd}")),
            (r#""\ud83d\n""#, json!("\u{fffd}\n")),
            (r#""\\ud83d""#, json!("\\ud83d")),
            (r#"{"\ud83d":1,"é":"\u00e9"}"#, json!({"\u{fffd}": 1, "é": "é"})),
        ] {
            let mended = without_lone_surrogates(json);
            assert_eq!(serde_json::from_str::<Value>(&mended).unwrap(), expected, "{json} {mended}");
        }
    }

    proptest! {
        #[test]
        fn what_is_json_stays_the_same_and_nothing_panics(text in "(\\\\|u|d83d|de00|DC00|\"|é|x){0,24}") {
            let mended = without_lone_surrogates(&text);
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert_eq!(&*mended, &*text);
            }
        }
    }
}
