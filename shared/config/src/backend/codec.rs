//! Codecs: how a provider says how a text is encoded in bytes.

mod charset;
pub mod kannel;
mod smpp;

use postern_shared::value::Settings;
use serde::Deserialize;

/// A codec by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Kannel's: `charset` and `coding` (0 GSM-7, 1 octets, 2 UCS-2).
    Kannel,
    /// SMPP's: `coding` is a data coding (0 GSM-7, 3 Latin 1, 8 UCS-2 …).
    Smpp,
}

/// A decoded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The text, with U+FFFD for bytes that are not valid in the charset.
    pub text: String,
    /// Whether all bytes are valid in the charset. U+FFFD in the text was then encoded in them.
    pub is_exact: bool,
}

/// An encoded text and the parameters that describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The text in bytes.
    pub text: Vec<u8>,
    /// The codec's number for the encoding, or the number in the settings.
    pub coding: u64,
    /// The charset of the bytes. `None` if the provider is to use its default.
    pub charset: Option<String>,
}

impl Codec {
    /// Decodes `raw` by the `charset` and `coding` that came with it. Bytes that are not valid in the charset
    /// become U+FFFD.
    ///
    /// # Errors
    /// The charset is unknown.
    pub fn decode(
        self,
        raw: &[u8],
        charset: Option<&str>,
        coding: Option<&[u8]>,
        settings: &Settings,
    ) -> Result<String, String> {
        match self {
            Self::Kannel => kannel::decode(raw, charset, coding).map(|decoded| decoded.text),
            Self::Smpp => Ok(smpp::decode(raw, coding, settings)),
        }
    }

    /// Encodes `text` for a provider: as GSM-7 if that suffices, else as UCS-2, unless `settings` says otherwise.
    pub fn encode(self, text: &str, settings: &Settings) -> Encoded {
        match self {
            Self::Kannel => kannel::encode(text, settings),
            Self::Smpp => smpp::encode(text),
        }
    }

    /// The names of the settings that the codec uses.
    pub fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Kannel => kannel::SETTINGS,
            Self::Smpp => smpp::SETTINGS,
        }
    }

    /// What is wrong with the [`settings`](Self::settings) that the codec uses: a key of them, and why.
    pub fn problems(self, settings: &Settings) -> Vec<(String, String)> {
        match self {
            Self::Kannel => kannel::problems(settings),
            Self::Smpp => smpp::problems(settings),
        }
    }
}
