//! Codecs: how a provider says in which bytes a text is written.

mod charset;
mod kannel;
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

/// A text as its parameters hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The text in bytes.
    pub text: Vec<u8>,
    /// The codec's number for how the bytes are written; or what the settings say.
    pub coding: u64,
    /// What the bytes are; `None` where the provider is to take its default.
    pub charset: Option<String>,
}

impl Codec {
    /// The text that `raw` is, with the `charset` and `coding` that came beside it. Bytes that are
    /// none in the charset become U+FFFD.
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
            Self::Kannel => kannel::decode(raw, charset, coding),
            Self::Smpp => Ok(smpp::decode(raw, coding, settings)),
        }
    }

    /// `text` for a provider: GSM-7 where that is enough, else UCS-2, unless `settings` says otherwise.
    pub fn encode(self, text: &str, settings: &Settings) -> Encoded {
        match self {
            Self::Kannel => kannel::encode(text, settings),
            Self::Smpp => smpp::encode(text),
        }
    }

    /// The names of the settings that it looks at.
    pub fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Kannel => kannel::SETTINGS,
            Self::Smpp => smpp::SETTINGS,
        }
    }

    /// What is wrong with the [`settings`](Self::settings) that it looks at: a key of them, and why.
    pub fn problems(self, settings: &Settings) -> Vec<(String, String)> {
        match self {
            Self::Kannel => kannel::problems(settings),
            Self::Smpp => smpp::problems(settings),
        }
    }
}
