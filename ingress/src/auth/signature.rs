//! Signatures in a header: an HMAC, and Ed25519.

use super::presented::{Presented, RequestFingerprint};
use crate::refusal_reason::RefusalReason;
use hmac::{
    Hmac, Mac,
    digest::{KeyInit, crypto_common::InvalidLength},
};
use postern_config::backend::auth::{
    signature::{Algorithm, SignatureEncoding, SignatureShape, SignedTime},
    signed_text::SignedText,
};
use postern_shared::value::Secret;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The most Ed25519 signatures of one request that are checked: each check reads the whole signed text.
const MAX_ED25519: usize = 8;

/// The check of a signature in a header, prepared from the configuration. Prints no secret.
#[derive(Debug)]
pub(crate) struct Signature {
    header: String,
    prefix: String,
    encoding: SignatureEncoding,
    /// The signed text. `None`: the body, after the time and a full stop if a time is signed.
    text: Option<SignedText>,
    timestamp: Option<SignedTime>,
    keys: Keys,
    /// The beginning of `url` in the signed text.
    public_url: Option<String>,
}

/// The keys with which a signature is checked. One of them must match.
#[derive(Debug)]
pub(crate) enum Keys {
    /// Secrets for an HMAC.
    Hmac(Algorithm, Vec<Secret>),
    /// Public keys.
    Ed25519(Vec<[u8; 32]>),
}

impl Signature {
    pub(super) fn new(shape: &SignatureShape<'_>, keys: Keys, public_url: Option<&str>) -> Self {
        Self {
            header: shape.header.0.clone(),
            prefix: shape.prefix.to_owned(),
            encoding: shape.encoding,
            text: shape.signed.cloned(),
            timestamp: shape.timestamp.cloned(),
            keys,
            public_url: public_url.map(str::to_owned),
        }
    }

    /// Whether a time is signed, too.
    pub(super) fn is_timed(&self) -> bool {
        self.timestamp.is_some()
    }

    /// Checks that `request` is signed; returns its fingerprint if a time is signed. A request without a body
    /// is refused unless its URL is signed: a signature of nothing would be valid for all requests without a
    /// body.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(super) fn verify(
        &self,
        request: &Presented<'_>,
    ) -> Result<Option<RequestFingerprint>, RefusalReason> {
        let covers_address = self.text.as_ref().is_some_and(SignedText::covers_address);
        if !request.headers.contains_key(self.header.as_str()) || request.body.is_empty() && !covers_address {
            return Err(RefusalReason::Unsigned);
        }
        let time = self.time(request)?;
        let timed = time.zip(self.timestamp.as_ref());
        let accepted_for = timed.map(|(time, signed)| request.fresh(time, signed.tolerance.0)).transpose()?;
        let given = self.given(request);
        let signed = match (&self.text, time) {
            (None, None) => self.keys.hold(&given, &[request.body]),
            (None, Some(time)) => self.keys.hold(&given, &[time, b".", request.body]),
            (Some(text), _) => {
                let texts = request.texts(text, time.unwrap_or_default(), self.public_url.as_deref())?;
                texts.iter().any(|text| self.keys.hold(&given, &[text]))
            }
        };
        if !signed {
            return Err(RefusalReason::Signature);
        }
        Ok(time.zip(accepted_for).map(|(time, accepted_for)| request.fingerprint(time, accepted_for)))
    }

    /// The time as written in its header; `None` if none is signed.
    fn time<'r>(&self, request: &Presented<'r>) -> Result<Option<&'r [u8]>, RefusalReason> {
        let Some(signed) = &self.timestamp else { return Ok(None) };
        let value = request.header(&signed.header.0).ok_or(RefusalReason::Unsigned)?;
        let time = if signed.prefix.is_empty() {
            Some(value)
        } else {
            parts(value).find_map(|part| part.strip_prefix(signed.prefix.as_bytes()))
        };
        time.map(Some).ok_or(RefusalReason::Unsigned)
    }

    /// The signatures that `request` contains.
    fn given(&self, request: &Presented<'_>) -> Vec<Vec<u8>> {
        let values = request.headers.get_all(self.header.as_str());
        values
            .flat_map(|value| parts(value.as_bytes()))
            .filter_map(|part| part.strip_prefix(self.prefix.as_bytes()))
            .filter_map(|text| self.encoding.decode(text))
            .collect()
    }
}

/// The parts of a header's value, separated by commas.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

impl Keys {
    /// Whether one of `given` is a signature of the joined `parts` by one of the keys.
    fn hold(&self, given: &[Vec<u8>], parts: &[&[u8]]) -> bool {
        match self {
            Self::Hmac(algorithm, keys) => {
                let right = match algorithm {
                    Algorithm::Sha256 => holds_mac::<Hmac<Sha256>>,
                    Algorithm::Sha1 => holds_mac::<Hmac<Sha1>>,
                    Algorithm::Sha512 => holds_mac::<Hmac<Sha512>>,
                };
                keys.iter().any(|key| right(given, key.expose().as_bytes(), parts))
            }
            Self::Ed25519(keys) => {
                let text = parts.concat();
                let keys = keys.iter().map(|key| UnparsedPublicKey::new(&ED25519, key));
                let mut keys = keys.flat_map(|key| given.iter().take(MAX_ED25519).map(move |it| (key, it)));
                keys.any(|(key, given)| key.verify(&text, given).is_ok())
            }
        }
    }
}

/// Whether one of `given` is the whole MAC of `parts`, compared in constant time. The parts are read once,
/// and not for each signature: a header has room for thousands.
pub(super) fn holds_mac<M: Mac + KeyInit + Clone>(given: &[Vec<u8>], key: &[u8], parts: &[&[u8]]) -> bool {
    let mac: Result<M, InvalidLength> = <M as Mac>::new_from_slice(key);
    mac.is_ok_and(|mac| {
        let mac = parts.iter().fold(mac, |mac, part| mac.chain_update(part));
        given.iter().any(|given| mac.clone().verify_slice(given).is_ok())
    })
}

#[cfg(test)]
mod tests;
