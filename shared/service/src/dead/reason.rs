//! Why a letter was dead-lettered, in short. Recipients and the text are left out: a provider may repeat
//! both in its answer.

use postern_shared::text::shortened;
use serde::Deserialize;
use std::borrow::Cow;

/// The most characters of a reason in a list.
const MOST: usize = 100;
/// What replaces a number, a name or a text.
const BLANK: &str = "…";
/// The fewest digits in a row that may be somebody's number.
const DIGITS: usize = 5;

/// The parts of a body that say what is sent to whom. Other fields, and bodies that are not messages, are
/// ignored.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    identity: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    identities: Vec<Cow<'a, str>>,
}

/// `reason` of the letter with the body `body`, shortened, and without people's numbers and texts.
pub(super) fn told(reason: &str, body: &[u8]) -> String {
    let mut told = reason.to_owned();
    if let Ok(said) = serde_json::from_slice::<Said<'_>>(body) {
        let people = said.identities.iter().chain(&said.identity);
        for hidden in said.text.iter().chain(people).filter(|hidden| hidden.chars().count() > 1) {
            if told.contains(&**hidden) {
                told = told.replace(&**hidden, BLANK);
            }
        }
    }
    shortened(&without_numbers(&told), MOST)
}

/// `text` without digits that may be somebody's number.
fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let digits = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        plain.push_str(before);
        plain.push_str(if digits < DIGITS { &from[..digits] } else { BLANK });
        rest = &from[digits..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_neither_a_number_nor_the_text() {
        let body = r#"{"identities":["ann@example.org","+15550001"],"text":"a very private text"}"#;
        for (reason, expected) in [
            ("http_400: 21211 bad number", "http_400: … bad number"),
            ("http_503: busy", "http_503: busy"),
            ("http_400: +15550001: unknown", "http_400: …: unknown"),
            ("http_400: 15550001", "http_400: …"),
            ("x: cannot send 'a very private text' to ann@example.org", "x: cannot send '…' to …"),
            ("taken 20 times", "taken 20 times"),
        ] {
            assert_eq!(told(reason, body.as_bytes()), expected);
        }
        assert_eq!(told("malformed: expected value", b"no json +1555"), "malformed: expected value");
        assert!(told(&"é".repeat(500), b"{}").chars().count() <= MOST + 1);
    }
}
