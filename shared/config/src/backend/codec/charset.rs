//! Charsets by the names that SMS gateways use.

use super::Decoded;
use encoding_rs::Encoding;

/// A charset by the name that SMS gateways use. Browsers sometimes use the same name for another charset.
pub(super) enum GatewayCharset {
    /// UTF-16 (RFC 2781). It is big-endian if neither a byte order mark nor the name says otherwise; WHATWG's
    /// label `utf-16` means little-endian.
    Utf16 {
        little: bool,
    },
    /// Each byte is its code point. WHATWG's label `iso-8859-1` means windows-1252.
    Latin1,
    Ascii,
    Whatwg(&'static Encoding),
}

impl GatewayCharset {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf-16be" | "utf-16" | "utf16" | "ucs-2" | "ucs-2be" | "iso-10646-ucs-2" => {
                Self::Utf16 { little: false }
            }
            "utf-16le" | "ucs-2le" => Self::Utf16 { little: true },
            // Kannel calls binary data 8-BIT. It has no charset, and Latin 1 loses no byte.
            "iso-8859-1" | "iso8859-1" | "latin1" | "latin-1" | "8-bit" => Self::Latin1,
            "ascii" | "us-ascii" => Self::Ascii,
            // Kannel's names for its own texts of coding 0, which it keeps in UTF-8.
            "gsm" | "7-bit" => Self::Whatwg(encoding_rs::UTF_8),
            label => Self::Whatwg(Encoding::for_label_no_replacement(label.as_bytes())?),
        })
    }

    pub(super) fn decode(&self, raw: &[u8]) -> Decoded {
        let (text, is_exact) = match self {
            Self::Utf16 { little } => {
                let encoding = if *little { encoding_rs::UTF_16LE } else { encoding_rs::UTF_16BE };
                // A byte order mark takes precedence over the charset.
                let marked = Encoding::for_bom(raw).filter(|(found, _)| *found != encoding_rs::UTF_8);
                let (encoding, mark) = marked.unwrap_or((encoding, 0));
                let (text, is_replaced) = encoding.decode_without_bom_handling(&raw[mark..]);
                (text.into_owned(), !is_replaced)
            }
            Self::Latin1 => (raw.iter().map(|byte| char::from(*byte)).collect(), true),
            Self::Ascii => {
                let character = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '\u{fffd}' };
                (raw.iter().map(character).collect(), raw.is_ascii())
            }
            Self::Whatwg(encoding) => {
                let (text, is_replaced) = encoding.decode_with_bom_removal(raw);
                (text.into_owned(), !is_replaced)
            }
        };
        Decoded { text, is_exact }
    }

    /// Encodes `text`. `None` if the charset lacks one of its characters.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u8>> {
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
