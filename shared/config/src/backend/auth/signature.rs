//! A signature in a header: an HMAC, or Ed25519.

use super::{signed_text::SignedText, tolerance::Tolerance};
use postern_shared::value::{HeaderName, Secrets, Settings, from_base64};
use serde::Deserialize;

/// An HMAC (RFC 2104) in a header, over the body as it came or over what a template makes of the request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacAuth {
    /// The header that holds the HMAC, or several with commas between them.
    pub header: HeaderName,
    /// The key, as its UTF-8 bytes.
    pub secret: Secrets,
    /// The hash.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How the header's bytes are written.
    #[serde(default)]
    pub encoding: SignatureEncoding,
    /// The text before each signature in the header, such as `sha256=`. Signatures with another prefix are
    /// ignored.
    #[serde(default)]
    pub prefix: String,
    /// What is signed. `None`: the body, or, with a `timestamp`, that, a full stop and the body.
    pub signed: Option<SignedText>,
    /// The time that is signed. `None`: a request can be used again at any time.
    pub timestamp: Option<SignedTime>,
}

/// An Ed25519 signature (RFC 8032) in a header, as Telnyx and Discord make it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ed25519Auth {
    /// The header that holds the signature, or several with commas between them.
    pub header: HeaderName,
    /// The provider's public key: 32 bytes in Base64 or as 64 hexadecimal digits.
    pub key: Secrets,
    /// How the header's bytes are written.
    #[serde(default = "base64")]
    pub encoding: SignatureEncoding,
    /// The text before each signature in the header. Signatures with another prefix are ignored.
    #[serde(default)]
    pub prefix: String,
    /// What is signed. `None`: the body, or, with a `timestamp`, that, a full stop and the body.
    pub signed: Option<SignedText>,
    /// The time that is signed. `None`: a request can be used again at any time.
    pub timestamp: Option<SignedTime>,
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1.
    Sha1,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureEncoding {
    /// Hexadecimal digits of either case.
    #[default]
    Hex,
    /// Base64 (RFC 4648, section 4); `=` at the end may be absent.
    Base64,
}

fn base64() -> SignatureEncoding {
    SignatureEncoding::Base64
}

impl SignatureEncoding {
    /// The bytes that `text` stands for. `None` if it is not in this encoding.
    pub fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => from_base64(text),
            Self::Hex => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let pairs = text.chunks(2).map(|pair| match pair {
                    [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
                    _ => None,
                });
                pairs.collect()
            }
        }
    }
}

/// A time that is signed with the body, so that a request cannot be used again later.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTime {
    /// The header that holds the time: seconds or milliseconds since 1970.
    pub header: HeaderName,
    /// The text before the time in the header, such as `t=`. The header may have other parts, with commas
    /// between them.
    #[serde(default)]
    pub prefix: String,
    /// How far the time may be from ours.
    #[serde(default)]
    pub tolerance: Tolerance,
}

/// The settings that all kinds of signature in a header share.
#[derive(Debug, Clone, Copy)]
pub struct SignatureShape<'c> {
    /// The header that holds the signature.
    pub header: &'c HeaderName,
    /// The text before the signature.
    pub prefix: &'c str,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// The template of what is signed. `None`: the default.
    pub signed: Option<&'c SignedText>,
    /// The time that is signed.
    pub timestamp: Option<&'c SignedTime>,
}

impl HmacAuth {
    /// The settings that it shares with other signatures.
    pub fn shape(&self) -> SignatureShape<'_> {
        let Self { header, prefix, encoding, signed, timestamp, .. } = self;
        let (signed, timestamp) = (signed.as_ref(), timestamp.as_ref());
        SignatureShape { header, prefix, encoding: *encoding, signed, timestamp }
    }
}

impl Ed25519Auth {
    /// The settings that it shares with other signatures.
    pub fn shape(&self) -> SignatureShape<'_> {
        let Self { header, prefix, encoding, signed, timestamp, .. } = self;
        let (signed, timestamp) = (signed.as_ref(), timestamp.as_ref());
        SignatureShape { header, prefix, encoding: *encoding, signed, timestamp }
    }

    /// The public keys. `None` if a setting is missing, or a value is not a key.
    pub fn keys(&self, settings: &Settings) -> Option<Vec<[u8; 32]>> {
        let written = self.key.resolved(settings)?;
        written.iter().map(|key| public_key(key.expose())).collect()
    }

    /// Whether the settings are there, but a value is not a key.
    pub(super) fn has_wrong_key(&self, settings: &Settings) -> bool {
        self.key.resolved(settings).is_some() && self.keys(settings).is_none()
    }
}

/// The rule for a public key, for errors.
pub(super) const KEY_RULE: &str = "must be the provider's public key for Ed25519: 32 bytes in Base64 (44 characters) or as \
                        64 hexadecimal digits, without header lines";

/// The 32 bytes of a public key.
fn public_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim().as_bytes();
    let encoding = if text.len() == 64 { SignatureEncoding::Hex } else { SignatureEncoding::Base64 };
    encoding.decode(text)?.try_into().ok()
}

impl SignatureShape<'_> {
    /// The mistakes that the types do not rule out: a key below the signature's table, and what is wrong.
    pub(super) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut wrong = Vec::new();
        let mut check = |key, is_wrong: bool, why| {
            if is_wrong {
                wrong.push((key, why));
            }
        };
        let comma = "contains a comma, which separates signatures: remove it";
        check("prefix", self.prefix.contains(','), comma);
        let time_comma = self.timestamp.is_some_and(|time| time.prefix.contains(','));
        check("timestamp.prefix", time_comma, "contains a comma, which separates the parts of the header");
        let Some(signed) = self.signed else { return wrong };
        let nothing = "covers neither the body nor the address, so anyone who has seen one request could \
                       forge others: add {{ body }}";
        check("signed", !signed.covers_body() && !signed.covers_address(), nothing);
        let no_time = "uses timestamp, but nothing says where it is: set timestamp = { header = \"NAME\" }";
        check("signed", signed.names("timestamp") && self.timestamp.is_none(), no_time);
        let not_signed = "is not signed, so anyone could change it: add {{ timestamp }} to signed, or remove \
                          timestamp";
        check("timestamp", self.timestamp.is_some() && !signed.names("timestamp"), not_signed);
        wrong
    }

    /// Whether the signature covers the address but not the body, so that the body could be replaced.
    pub(super) fn leaves_body_out(&self) -> bool {
        self.signed.is_some_and(|signed| signed.covers_address() && !signed.covers_body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_32_bytes_in_base64_or_in_hexadecimal_digits() {
        let hex = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let base64 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let key = public_key(hex).unwrap();
        assert_eq!(key[..2], [0xd7, 0x5a]);
        for same in [base64, &base64[..43], &format!(" {base64}\n"), &hex.to_uppercase()] {
            assert_eq!(public_key(same), Some(key), "{same}");
        }
        for wrong in ["", &hex[2..], "11qYAYKxCrfVS", "-----BEGIN PUBLIC KEY-----", &hex.replace('d', "x")] {
            assert_eq!(public_key(wrong), None, "{wrong}");
        }
    }
}
