//! The octets of a text in the GSM 7-bit default alphabet, one for each septet, as SMPP carries them
//! (TS 23.038, 6.2.1; SMPP 3.4, 5.2.19).

use super::{DEFAULT_ALPHABET, EXTENSION};
use std::iter;

/// The escape before a septet of the extension table.
const ESCAPE: u8 = 0x1b;

/// Encodes `text` in octets of seven bits. `None` if the alphabet lacks one of its characters.
pub fn encode(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    for character in text.chars() {
        if character == '\u{1b}' {
            return None;
        }
        match DEFAULT_ALPHABET.chars().position(|known| known == character) {
            Some(at) => octets.push(u8::try_from(at).ok()?),
            None => {
                let (code, _) = EXTENSION.iter().find(|(_, extended)| *extended == character)?;
                octets.extend([ESCAPE, *code]);
            }
        }
    }
    Some(octets)
}

/// Decodes `octets`. An octet of eight bits, which the alphabet does not have, becomes U+FFFD. An escape
/// before a septet that the extension table does not have is left out, as phones do.
pub fn decode(octets: &[u8]) -> String {
    let mut octets = octets.iter().copied().peekable();
    iter::from_fn(|| {
        let octet = octets.next()?;
        if octet != ESCAPE {
            return Some(DEFAULT_ALPHABET.chars().nth(octet.into()).or(Some('\u{fffd}')));
        }
        let extended = octets.peek().and_then(|next| EXTENSION.iter().find(|(code, _)| code == next));
        Some(extended.map(|(_, character)| {
            octets.next();
            *character
        }))
    })
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_those_of_the_standard() {
        for (text, octets) in [
            ("", &b""[..]),
            ("hello", b"hello"),
            ("@$_é", b"\x00\x02\x11\x05"),
            ("a€[", b"a\x1b\x65\x1b\x3c"),
            ("Ωà\n", b"\x15\x7f\n"),
        ] {
            assert_eq!(encode(text).as_deref(), Some(octets), "{text}");
            assert_eq!(decode(octets), text);
        }
        for lacking in ["П", "a😀", "\u{1b}"] {
            assert_eq!(encode(lacking), None, "{lacking}");
        }
    }

    #[test]
    fn what_is_none_of_the_alphabet_is_seen() {
        assert_eq!(decode(b"a\x80\xff"), "a\u{fffd}\u{fffd}");
        // An escape before a septet without an extension, and at the end.
        assert_eq!(decode(b"\x1ba\x1b"), "a");
        assert_eq!(decode(b"\x1b\x1b\x65"), "€");
    }

    #[test]
    fn the_whole_alphabet_comes_back() {
        let all: String = DEFAULT_ALPHABET.chars().filter(|c| *c != '\u{1b}').collect();
        assert_eq!(decode(&encode(&all).unwrap()), all);
        let all: String = EXTENSION.iter().map(|(_, extended)| *extended).collect();
        assert_eq!(decode(&encode(&all).unwrap()), all);
    }
}
