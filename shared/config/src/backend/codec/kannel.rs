//! Kannel's codec: the parameters `charset` and `coding` (0 GSM-7, 1 octets, 2 UCS-2) come with the text.
//! Without a charset, a text of coding 2 is UTF-16BE, any other UTF-8 (Kannel's user guide, 6.5).

use super::{Decoded, Encoded, charset::GatewayCharset};
use postern_shared::{text::Alphabet, value::Settings};

/// The settings that [`encode`] reads.
pub(super) const SETTINGS: &[&str] = &["charset", "coding"];

/// Decodes `raw` by the parameters `charset` and `coding`.
///
/// # Errors
/// The charset is unknown.
pub fn decode(raw: &[u8], charset: Option<&str>, coding: Option<&[u8]>) -> Result<Decoded, String> {
    let charset = charset.map(str::trim).filter(|charset| !charset.is_empty());
    let default = if coding.map(<[u8]>::trim_ascii) == Some(b"2") { "UTF-16BE" } else { "UTF-8" };
    let charset = GatewayCharset::named(charset.unwrap_or(default));
    let charset = charset.ok_or("unknown charset; allowed: the labels of the WHATWG Encoding Standard")?;
    Ok(charset.decode(raw))
}

/// Encodes `text` as GSM-7 if that suffices, else as UCS-2, unless `settings` has a `coding` or a `charset`. With
/// an empty `charset` none is sent, for a Kannel without iconv. If the charset cannot hold the text, the default
/// is used; so is it for coding 0, in which Kannel would send a question mark for each character that GSM-7
/// lacks.
pub(super) fn encode(text: &str, settings: &Settings) -> Encoded {
    let settings = settings.expose();
    let automatic = if Alphabet::of(text) == Alphabet::Gsm7 { 0 } else { 2 };
    let coding = settings.get("coding").and_then(serde_json::Value::as_u64).filter(|coding| *coding != 0);
    let coding = coding.unwrap_or(automatic);
    let default = if coding == 2 { "UTF-16BE" } else { "UTF-8" };
    let wanted = settings.get("charset").and_then(serde_json::Value::as_str);
    let in_charset = |name: &str| GatewayCharset::named(name).and_then(|charset| charset.encode(text));
    let chosen = wanted.filter(|name| !name.is_empty());
    let (name, bytes) = match chosen.and_then(|name| Some((name, in_charset(name)?))) {
        Some(chosen) => chosen,
        None => (default, in_charset(default).unwrap_or_default()),
    };
    let charset = (wanted != Some("")).then(|| name.to_owned());
    Encoded { text: bytes, coding, charset }
}

/// What is wrong with the settings that [`encode`] reads: a key of them, and why.
pub(super) fn problems(settings: &Settings) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let settings = settings.expose();
    let known = |name: &str| name.is_empty() || GatewayCharset::named(name).is_some();
    if settings.get("charset").is_some_and(|charset| !charset.as_str().is_some_and(known)) {
        let why =
            "unknown charset; use a name such as \"UTF-8\", \"UTF-16BE\", \"ISO-8859-1\", or \"\" for none";
        wrong.push(("charset".to_owned(), why.to_owned()));
    }
    if settings.get("coding").is_some_and(|coding| coding.as_u64().is_none_or(|coding| coding > 2)) {
        wrong.push(("coding".to_owned(), "must be 0 (GSM-7), 1 (octets) or 2 (UCS-2)".to_owned()));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_read_as_charset_and_coding_say() {
        for (raw, charset, coding, text) in [
            (&b"caf\xc3\xa9"[..], Some("UTF-8"), Some("0"), "café"),
            (b"caf\xc3\xa9", None, None, "café"),
            (b"caf\xc3\xa9", Some(""), Some("0"), "café"),
            (b"caf\xe9 \x80", Some("windows-1252"), None, "café €"),
            (b"caf\xe9\x85", Some("ISO-8859-1"), None, "café\u{85}"),
            (b"\x04\x1f\x04\x40", None, Some("2"), "Пр"),
            (b"\x04\x1f\x04\x40", Some("utf-16"), None, "Пр"),
            (b"\xff\xfe\x1f\x04", Some("utf-16"), None, "П"),
            (b"\x1f\x04", Some("UTF-16LE"), Some("2"), "П"),
            (b"\xd8\x3d\xde\x00", Some("UTF-16BE"), Some("2"), "😀"),
            (b"caf\xe9", Some("UTF-8"), None, "caf\u{fffd}"),
            (b"caf\xe9\x80", Some("8-BIT"), Some("1"), "café\u{80}"),
        ] {
            assert_eq!(
                decode(raw, charset, coding.map(str::as_bytes)).unwrap().text,
                text,
                "{charset:?} {coding:?}"
            );
        }
        assert!(decode(b"x", Some("martian"), None).unwrap_err().contains("charset"));
    }

    #[test]
    fn bytes_that_are_invalid_in_the_charset_are_not_the_same_as_an_encoded_replacement_character() {
        for (raw, charset, is_exact) in [
            (&b"\xef\xbf\xbd"[..], "UTF-8", true),
            (b"\xff\xfd", "UTF-16BE", true),
            (b"caf\xe9", "ISO-8859-1", true),
            (b"cafe", "ascii", true),
            (b"caf\xe9", "UTF-8", false),
            (b"\xd8\x3d", "UTF-16BE", false),
            (b"\x04", "UTF-16LE", false),
            (b"caf\xe9", "ascii", false),
            (b"\x81", "windows-1253", true),
            (b"\xaa", "windows-1253", false),
        ] {
            assert_eq!(decode(raw, Some(charset), None).unwrap().is_exact, is_exact, "{raw:?} {charset}");
        }
    }

    #[test]
    fn a_text_is_written_as_it_needs_and_as_the_settings_say() {
        for (text, settings, bytes, coding, charset) in [
            ("é{", json!({}), "é{".as_bytes(), 0, Some("UTF-8")),
            ("П", json!({}), b"\x04\x1f", 2, Some("UTF-16BE")),
            ("😀", json!({"charset": ""}), b"\xd8\x3d\xde\x00", 2, None),
            ("é", json!({"charset": ""}), "é".as_bytes(), 0, None),
            ("é", json!({"charset": "ISO-8859-1"}), b"\xe9", 0, Some("ISO-8859-1")),
            ("П", json!({"charset": "ascii", "coding": 2}), b"\x04\x1f", 2, Some("UTF-16BE")),
            ("П", json!({"charset": "UTF-8"}), "П".as_bytes(), 2, Some("UTF-8")),
            ("a", json!({"coding": 2}), b"\0a", 2, Some("UTF-16BE")),
            ("a", json!({"coding": 0}), b"a", 0, Some("UTF-8")),
            ("П", json!({"coding": 0, "charset": "UTF-8"}), "П".as_bytes(), 2, Some("UTF-8")),
            ("П", json!({"coding": 0, "charset": ""}), b"\x04\x1f", 2, None),
            ("€", json!({"charset": "windows-1252"}), b"\x80", 0, Some("windows-1252")),
        ] {
            let settings: Settings = serde_json::from_value(settings).unwrap();
            let wanted = Encoded { text: bytes.to_vec(), coding, charset: charset.map(str::to_owned) };
            assert_eq!(encode(text, &settings), wanted, "{text}");
            assert_eq!(problems(&settings), []);
        }
    }
}
