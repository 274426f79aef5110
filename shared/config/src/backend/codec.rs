//! Codecs: how a provider says in which bytes a text is written.

use encoding_rs::Encoding;
use postern_shared::{text::Alphabet, value::Settings};
use serde::Deserialize;

/// A codec by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Kannel's: beside the text stand `charset` and `coding` (0 GSM-7, 1 octets, 2 UCS-2). Without
    /// a charset, a text of coding 2 is UTF-16BE, any other UTF-8 (Kannel's user guide, 6.5).
    Kannel,
}

/// A text as its parameters hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The text in bytes.
    pub text: Vec<u8>,
    /// 0 GSM-7, 2 UCS-2; or what the settings say.
    pub coding: u64,
    /// What the bytes are; `None` where the provider is to take its default.
    pub charset: Option<String>,
}

impl Codec {
    /// The settings that [`encode`](Self::encode) reads, whatever the codec.
    pub(crate) const SETTINGS: [&str; 2] = ["charset", "coding"];

    /// The text that `raw` is, with the `charset` and `coding` that came beside it. Bytes that are
    /// none in the charset become U+FFFD.
    ///
    /// # Errors
    /// The charset is unknown.
    pub fn decode(self, raw: &[u8], charset: Option<&str>, coding: Option<&str>) -> Result<String, String> {
        let Self::Kannel = self;
        let charset = charset.map(str::trim).filter(|charset| !charset.is_empty());
        let default = if coding.map(str::trim) == Some("2") { "UTF-16BE" } else { "UTF-8" };
        let charset = KannelCharset::named(charset.unwrap_or(default));
        let charset = charset.ok_or("unknown charset; known are the labels of WHATWG's encoding standard")?;
        Ok(charset.decode(raw))
    }

    /// `text` for a provider: GSM-7 where that is enough, else UCS-2, unless `settings` has a
    /// `coding` or a `charset`. An empty `charset` sends none, for a Kannel without iconv. A charset
    /// that cannot hold the text gives way to the default, and so does the coding 0, in which Kannel
    /// would send a question mark for each character that GSM-7 lacks.
    pub fn encode(self, text: &str, settings: &Settings) -> Encoded {
        let Self::Kannel = self;
        let settings = settings.expose();
        let automatic = if Alphabet::of(text) == Alphabet::Gsm7 { 0 } else { 2 };
        let coding = settings.get("coding").and_then(serde_json::Value::as_u64).filter(|coding| *coding != 0);
        let coding = coding.unwrap_or(automatic);
        let default = if coding == 2 { "UTF-16BE" } else { "UTF-8" };
        let wanted = settings.get("charset").and_then(serde_json::Value::as_str);
        let in_charset = |name: &str| KannelCharset::named(name).and_then(|charset| charset.encode(text));
        let chosen = wanted.filter(|name| !name.is_empty());
        let (name, bytes) = match chosen.and_then(|name| Some((name, in_charset(name)?))) {
            Some(chosen) => chosen,
            None => (default, in_charset(default).unwrap_or_default()),
        };
        let charset = (wanted != Some("")).then(|| name.to_owned());
        Encoded { text: bytes, coding, charset }
    }

    /// What is wrong with the settings that [`encode`](Self::encode) reads: a key of them, and why.
    pub fn problems(self, settings: &Settings) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let settings = settings.expose();
        let known = |name: &str| name.is_empty() || KannelCharset::named(name).is_some();
        if settings.get("charset").is_some_and(|charset| !charset.as_str().is_some_and(known)) {
            let why =
                "unknown charset; a name such as \"UTF-8\", \"UTF-16BE\", \"ISO-8859-1\", or \"\" for none";
            wrong.push(("charset".to_owned(), why.to_owned()));
        }
        if settings.get("coding").is_some_and(|coding| coding.as_u64().is_none_or(|coding| coding > 2)) {
            wrong.push(("coding".to_owned(), "must be 0 (GSM-7), 1 (octets) or 2 (UCS-2)".to_owned()));
        }
        wrong
    }
}

/// A charset as SMS gateways name it, which is not always as browsers do.
enum KannelCharset {
    /// RFC 2781: without a byte order mark, and without a word on the order, big-endian. WHATWG's
    /// label `utf-16` means little-endian.
    Utf16 {
        little: bool,
    },
    /// Each byte its code point. WHATWG's label `iso-8859-1` means windows-1252.
    Latin1,
    Ascii,
    Whatwg(&'static Encoding),
}

impl KannelCharset {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf-16be" | "utf-16" | "utf16" | "ucs-2" | "ucs-2be" | "iso-10646-ucs-2" => {
                Self::Utf16 { little: false }
            }
            "utf-16le" | "ucs-2le" => Self::Utf16 { little: true },
            // Kannel says 8-BIT of data, which have no charset: thus no byte of them is lost.
            "iso-8859-1" | "iso8859-1" | "latin1" | "latin-1" | "8-bit" => Self::Latin1,
            "ascii" | "us-ascii" => Self::Ascii,
            // What Kannel calls its own texts of coding 0, which it keeps in UTF-8.
            "gsm" | "7-bit" => Self::Whatwg(encoding_rs::UTF_8),
            label => Self::Whatwg(Encoding::for_label_no_replacement(label.as_bytes())?),
        })
    }

    fn decode(&self, raw: &[u8]) -> String {
        match self {
            Self::Utf16 { little } => {
                let encoding = if *little { encoding_rs::UTF_16LE } else { encoding_rs::UTF_16BE };
                // A byte order mark knows better.
                let marked = Encoding::for_bom(raw).filter(|(found, _)| *found != encoding_rs::UTF_8);
                let (encoding, mark) = marked.unwrap_or((encoding, 0));
                encoding.decode_without_bom_handling(&raw[mark..]).0.into_owned()
            }
            Self::Latin1 => raw.iter().map(|byte| char::from(*byte)).collect(),
            Self::Ascii => {
                raw.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }).collect()
            }
            Self::Whatwg(encoding) => encoding.decode_with_bom_removal(raw).0.into_owned(),
        }
    }

    /// `None` where the charset lacks a character of `text`.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Utf16 { little: false } => Some(text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            Self::Utf16 { little: true } => Some(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            Self::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
            Self::Ascii => text.is_ascii().then(|| text.as_bytes().to_vec()),
            Self::Whatwg(encoding) => {
                let (bytes, _, lacking) = encoding.encode(text);
                (!lacking).then(|| bytes.into_owned())
            }
        }
    }
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
            assert_eq!(Codec::Kannel.decode(raw, charset, coding).unwrap(), text, "{charset:?} {coding:?}");
        }
        assert!(Codec::Kannel.decode(b"x", Some("martian"), None).unwrap_err().contains("charset"));
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
            assert_eq!(Codec::Kannel.encode(text, &settings), wanted, "{text}");
            assert_eq!(Codec::Kannel.problems(&settings), []);
        }
    }
}
