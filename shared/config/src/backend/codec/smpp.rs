//! SMPP's codec: the parameter `coding` is the data coding of the text's octets (SMPP 3.4, 5.2.19; GSM's groups of
//! data coding schemes, TS 23.038, 4).

use super::{Encoded, charset::GatewayCharset};
use postern_shared::{text::gsm, value::Settings};

/// The settings that [`decode`] reads.
pub(super) const SETTINGS: &[&str] = &[DEFAULT_ALPHABET];

/// The setting with the charset of incoming texts of coding 0. That is the provider's default alphabet, which
/// SMPP does not define. Default: GSM 7-bit, one septet in each octet.
const DEFAULT_ALPHABET: &str = "default_alphabet";

/// UCS-2, in practice UTF-16BE.
const UCS2: u64 = 8;

/// Decodes `raw`. If the charset is unknown, or the data has none, each octet becomes one character, so that none
/// is lost.
pub(super) fn decode(raw: &[u8], coding: Option<&[u8]>, settings: &Settings) -> String {
    let coding = coding.and_then(number).unwrap_or_default();
    let named = |name: &str| GatewayCharset::named(name).map(|charset| charset.decode(raw).text);
    let default = || {
        let wanted = settings.expose().get(DEFAULT_ALPHABET).and_then(serde_json::Value::as_str);
        wanted.filter(|name| !is_gsm(name)).and_then(named).unwrap_or_else(|| gsm::decode(raw))
    };
    let octets = || raw.iter().copied().map(char::from).collect();
    match coding {
        0 => default(),
        1 => named("ascii").unwrap_or_default(),
        6 => named("iso-8859-5").unwrap_or_default(),
        7 => named("iso-8859-8").unwrap_or_default(),
        8 => named("utf-16be").unwrap_or_default(),
        10 => named("iso-2022-jp").unwrap_or_default(),
        14 => named("euc-kr").unwrap_or_default(),
        // General data coding with a message class: bits 3 and 2 are the alphabet.
        0x10..=0x3f => match coding >> 2 & 3 {
            0 => default(),
            2 => named("utf-16be").unwrap_or_default(),
            _ => octets(),
        },
        // Data coding with a message class: bit 2 says octets.
        0xf0..=0xff if coding & 4 == 0 => default(),
        // Latin 1, octets, and reserved codings.
        _ => octets(),
    }
}

/// Encodes `text` as GSM 7-bit if that suffices, else as UCS-2.
pub(super) fn encode(text: &str) -> Encoded {
    let (text, coding) = match gsm::encode(text) {
        Some(octets) => (octets, 0),
        None => (text.encode_utf16().flat_map(u16::to_be_bytes).collect(), UCS2),
    };
    Encoded { text, coding, charset: None }
}

/// What is wrong with the settings that [`decode`] reads: a key of them, and why.
pub(super) fn problems(settings: &Settings) -> Vec<(String, String)> {
    let known = |name: &str| is_gsm(name) || GatewayCharset::named(name).is_some();
    let given = settings.expose().get(DEFAULT_ALPHABET);
    if given.is_none_or(|name| name.as_str().is_some_and(known)) {
        return Vec::new();
    }
    let why = "unknown charset; use \"GSM\", or a name such as \"ISO-8859-1\", \"ascii\", \"UTF-8\"";
    vec![(DEFAULT_ALPHABET.to_owned(), why.to_owned())]
}

/// The data coding, written in decimal digits or, as Jasmin sends it, as a single octet.
fn number(coding: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(coding).ok().and_then(|digits| digits.trim().parse().ok());
    digits.or(match coding {
        [octet] => Some(*octet),
        _ => None,
    })
}

fn is_gsm(name: &str) -> bool {
    name.eq_ignore_ascii_case("gsm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn octets_are_read_as_their_data_coding_says() {
        let plain = Settings::default();
        for (raw, coding, text) in [
            (&b"caf\x05 \x1b\x65"[..], Some(&b"0"[..]), "café €"),
            (b"caf\x05", None, "café"),
            (b"caf\x05", Some(b""), "café"),
            (b"a\xe9", Some(b"1"), "a\u{fffd}"),
            (b"caf\xe9\x80", Some(b"3"), "café\u{80}"),
            (b"\x00\xff", Some(b"4"), "\0ÿ"),
            (b"\xbf\xe0", Some(b"6"), "Пр"),
            (b"\x04\x1f\xd8\x3d\xde\x00", Some(b"8"), "П😀"),
            (b"@", Some(b"16"), "¡"),
            (b"\x04\x1f", Some(b"24"), "П"),
            (b"@", Some(b"240"), "¡"),
            (b"\xe9", Some(b"245"), "é"),
            (b"\xe9", Some(b"99"), "é"),
            (b"\x04\x1f", Some(b"\x08"), "П"),
            (b"caf\x05", Some(b"\0"), "café"),
            (b"\xe9", Some(b"\xf5"), "é"),
        ] {
            assert_eq!(decode(raw, coding, &plain), text, "{coding:?}");
        }
    }

    #[test]
    fn the_default_alphabet_may_be_another() {
        for (alphabet, text) in [("ISO-8859-1", "é@"), ("gsm", "\u{fffd}¡"), ("GSM", "\u{fffd}¡")] {
            let settings = serde_json::from_value(json!({"default_alphabet": alphabet})).unwrap();
            assert_eq!(decode(b"\xe9@", Some(b"0"), &settings), text, "{alphabet}");
            assert_eq!(problems(&settings), []);
        }
        for wrong in [json!("martian"), json!(7)] {
            let settings = serde_json::from_value(json!({"default_alphabet": wrong})).unwrap();
            assert_eq!(problems(&settings)[0].0, "default_alphabet");
        }
    }

    #[test]
    fn a_text_is_written_as_it_needs() {
        for (text, octets, coding) in
            [("é€", &b"\x05\x1b\x65"[..], 0), ("П😀", b"\x04\x1f\xd8\x3d\xde\x00", 8)]
        {
            assert_eq!(encode(text), Encoded { text: octets.to_vec(), coding, charset: None }, "{text}");
        }
    }
}
