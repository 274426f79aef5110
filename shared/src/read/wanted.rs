//! What serde expected, in our own words: serde names Rust's types, which mean nothing to the author of
//! the value.

use crate::suggest::nearest;

/// What the value must be, if serde `expected` this.
pub(super) fn of(expected: &str) -> String {
    match expected {
        "" => "has the wrong type".to_owned(),
        "a boolean" => "must be true or false".to_owned(),
        "a string" | "str" | "a borrowed string" | "a string key" | "string" => "must be a string".to_owned(),
        "a character" => "must be a single character".to_owned(),
        "a sequence" => "must be a list".to_owned(),
        "a map" | "map" => "must be a table".to_owned(),
        "u8" => whole(u8::MIN, u8::MAX),
        "u16" => whole(u16::MIN, u16::MAX),
        "u32" => whole(u32::MIN, u32::MAX),
        "i8" => whole(i8::MIN, i8::MAX),
        "i16" => whole(i16::MIN, i16::MAX),
        "i32" => whole(i32::MIN, i32::MAX),
        // Nobody needs to know how large a number can be here.
        "u64" | "u128" | "usize" => "must be a whole number, 0 or more".to_owned(),
        "i64" | "i128" | "isize" => "must be a whole number".to_owned(),
        "f32" | "f64" => "must be a number".to_owned(),
        "unit" | "null" => "must be empty".to_owned(),
        // serde's derived code expects this of an enum, which is a text or a table of one key.
        "string or map" => "must be a string, or a table of one key".to_owned(),
        "map with a single key" => "must be a table of one key".to_owned(),
        "variant identifier" | "unit variant" => "must be a string".to_owned(),
        what if of_rust(what, &["struct", "internally tagged enum", "adjacently tagged enum"]) => {
            "must be a table".to_owned()
        }
        what if of_rust(what, &["tuple", "an array", "a tuple"]) => "must be a list".to_owned(),
        what if of_rust(what, &["enum", "unit struct", "newtype", "unit variant"]) => {
            "has the wrong type".to_owned()
        }
        what => format!("must be {what}"),
    }
}

fn whole<N: std::fmt::Display>(least: N, most: N) -> String {
    format!("must be a whole number from {least} to {most}")
}

/// Whether `what` is one of `words`, or begins with it and a space.
fn of_rust(what: &str, words: &[&str]) -> bool {
    let is =
        |word: &&str| what.strip_prefix(*word).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    words.iter().any(is)
}

/// The error about a key that is not `expected`; serde's `text` names the key.
pub(super) fn key(text: &str, expected: &str) -> String {
    if expected.contains("there are no fields") {
        return "unknown key; no key is allowed here".to_owned();
    }
    let allowed = expected.trim_start_matches("one of ").replace('`', "");
    format!("unknown key; allowed here: {allowed}{}", hint_of(text, expected, ""))
}

/// The error about a text that is none of the `expected`. serde's `text` quotes it, the error does not.
pub(super) fn choice(text: &str, expected: &str) -> String {
    let allowed = expected.trim_start_matches("one of ").replace('`', "\"");
    format!("unknown value; allowed: {allowed}{}", hint_of(text, expected, "\""))
}

/// The hint for the word that `text` quotes first; `expected` quotes the known words.
fn hint_of(text: &str, expected: &str, quote: &str) -> String {
    let word = text.split('`').nth(1).unwrap_or_default();
    let meant = nearest(word, expected.split('`').skip(1).step_by(2));
    meant.map_or_else(String::new, |meant| format!("; did you mean {quote}{meant}{quote}?"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[expect(dead_code, reason = "what serde says of them is all that is wanted")]
    enum Wanted {
        Bearer(String),
        Basic { user: String },
        None,
    }

    fn said<'de, T: Deserialize<'de> + std::fmt::Debug>(value: &'de Value) -> String {
        crate::read::Wrong::of(&T::deserialize(value).unwrap_err().to_string()).to_string()
    }

    #[test]
    fn no_type_of_rusts_is_named() {
        let (text, number, list, table) = (json!("x"), json!(7), json!([1]), json!({"a": 1, "b": 2}));
        for (said, says) in [
            (said::<u8>(&json!(256)), "must be a whole number from 0 to 255"),
            (said::<u16>(&json!(-1)), "must be a whole number from 0 to 65535"),
            (said::<u32>(&text), "must be a whole number from 0 to 4294967295"),
            (said::<i32>(&json!(1.5)), "must be a whole number from -2147483648 to 2147483647"),
            (said::<u64>(&text), "must be a whole number, 0 or more"),
            (said::<usize>(&json!(-1)), "must be a whole number, 0 or more"),
            (said::<i64>(&table), "must be a whole number"),
            (said::<f64>(&text), "must be a number"),
            (said::<bool>(&number), "must be true or false"),
            (said::<String>(&list), "must be a string"),
            (said::<char>(&json!("xy")), "must be a single character"),
            (said::<Vec<u8>>(&text), "must be a list"),
            (said::<(u8, u8)>(&text), "must be a list"),
            (said::<BTreeMap<String, u8>>(&text), "must be a table"),
            (said::<Wanted>(&number), "must be a string, or a table of one key"),
            (said::<Wanted>(&table), "must be a table of one key"),
            (said::<Wanted>(&json!("bearer")), "has the wrong type"),
            (
                said::<Wanted>(&json!("bearr")),
                "unknown value; allowed: \"bearer\", \"basic\", \"none\"; did you mean \"bearer\"?",
            ),
        ] {
            assert_eq!(said, says);
        }
    }
}
