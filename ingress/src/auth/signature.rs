//! Signatures over a request's body: an HMAC in a header, and Standard Webhooks.
//!
//! A signature over an empty body is refused: it would be good for every GET and every query, without
//! end.

use crate::auth::RefusalReason;
use actix_web::http::header::HeaderMap;
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{
    Hmac, Mac,
    digest::{KeyInit, crypto_common::InvalidLength},
};
use postern_config::backend::auth::{Algorithm, HmacAuth, SignatureEncoding};
use postern_shared::value::{Secret, SigningKey};
use sha1::Sha1;
use sha2::Sha256;
use std::time::Duration;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// A time of more seconds than this is one of milliseconds: as seconds it lies in the year 5138.
const MAX_SECONDS: u64 = 100_000_000_000;

/// How a body is signed. Prints no secret.
#[derive(Debug)]
pub(crate) enum Signed {
    /// With one of these keys.
    Hmac(HmacAuth, Vec<Secret>),
    /// With one of these keys, and not longer ago than that.
    StandardWebhooks(Vec<SigningKey>, Duration),
}

/// Whether the headers hold a signature of this body. One that is empty is refused: a signature of
/// nothing would be good for every request without a body. `now` is the time since 1970.
pub(super) fn verify(
    signed: &Signed,
    headers: &HeaderMap,
    body: &[u8],
    now: Duration,
) -> Result<(), RefusalReason> {
    if body.is_empty() {
        return Err(RefusalReason::Signature);
    }
    match signed {
        Signed::Hmac(scheme, keys) => hmac(scheme, keys, headers, body, now),
        Signed::StandardWebhooks(keys, tolerance) => standard_webhooks(keys, *tolerance, headers, body, now),
    }
}

fn hmac(
    scheme: &HmacAuth,
    keys: &[Secret],
    headers: &HeaderMap,
    body: &[u8],
    now: Duration,
) -> Result<(), RefusalReason> {
    let (time, separator) = match &scheme.timestamp {
        None => (&b""[..], &b""[..]),
        Some(signed) => {
            let time = header(headers, &signed.header.0).ok_or(RefusalReason::Signature)?;
            fresh(time, signed.tolerance.0, now)?;
            (time, signed.separator.as_bytes())
        }
    };
    let given: Vec<Vec<u8>> = headers
        .get_all(scheme.header.0.as_str())
        .filter_map(|value| value.as_bytes().trim_ascii().strip_prefix(scheme.prefix.as_bytes()))
        .filter_map(|text| decode(text, scheme.encoding))
        .collect();
    let parts = [time, separator, body];
    let right = match scheme.algorithm {
        Algorithm::Sha256 => holds_mac::<Hmac<Sha256>>,
        Algorithm::Sha1 => holds_mac::<Hmac<Sha1>>,
    };
    let signed = keys.iter().any(|key| right(&given, key.expose().as_bytes(), &parts));
    if signed { Ok(()) } else { Err(RefusalReason::Signature) }
}

/// The specification's `webhook-signature`: signatures `v1,BASE64` with spaces between them, of
/// `id.timestamp.body`; other versions are passed over.
fn standard_webhooks(
    keys: &[SigningKey],
    tolerance: Duration,
    headers: &HeaderMap,
    body: &[u8],
    now: Duration,
) -> Result<(), RefusalReason> {
    let part = |name| header(headers, name).ok_or(RefusalReason::Signature);
    let (id, time, signatures) =
        (part("webhook-id")?, part("webhook-timestamp")?, part("webhook-signature")?);
    fresh(time, tolerance, now)?;
    let parts = [id, b".", time, b".", body];
    let given: Vec<Vec<u8>> = signatures
        .split(u8::is_ascii_whitespace)
        .filter_map(|signature| BASE64.decode(signature.strip_prefix(b"v1,")?).ok())
        .collect();
    let signed = keys.iter().any(|key| holds_mac::<Hmac<Sha256>>(&given, key.expose(), &parts));
    if signed { Ok(()) } else { Err(RefusalReason::Signature) }
}

/// The value of a header that is there once.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name);
    let value = values.next()?.as_bytes();
    values.next().is_none().then_some(value)
}

/// Whether `time`, as it stands in a header, is within `tolerance` of `now`.
fn fresh(time: &[u8], tolerance: Duration, now: Duration) -> Result<(), RefusalReason> {
    let text = std::str::from_utf8(time).map_err(|_| RefusalReason::Signature)?;
    let number: u64 = text.parse().map_err(|_| RefusalReason::Signature)?;
    let time = if number > MAX_SECONDS { Duration::from_millis(number) } else { Duration::from_secs(number) };
    if time.abs_diff(now) <= tolerance { Ok(()) } else { Err(RefusalReason::Stale) }
}

fn decode(text: &[u8], encoding: SignatureEncoding) -> Option<Vec<u8>> {
    match encoding {
        SignatureEncoding::Base64 => BASE64.decode(text).ok(),
        SignatureEncoding::Hex => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let pairs = text.chunks(2).map(|pair| match pair {
                [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
                _ => None,
            });
            pairs.collect()
        }
    }
}

/// Whether one of `given` is the whole MAC of `parts`, compared in constant time. The parts are read once,
/// however many are given: a header has room for thousands, and each would cost a reading of the body.
pub(super) fn holds_mac<M: Mac + KeyInit + Clone>(given: &[Vec<u8>], key: &[u8], parts: &[&[u8]]) -> bool {
    let mac: Result<M, InvalidLength> = <M as Mac>::new_from_slice(key);
    mac.is_ok_and(|mac| {
        let mac = parts.iter().fold(mac, |mac, part| mac.chain_update(part));
        given.iter().any(|given| mac.clone().verify_slice(given).is_ok())
    })
}

#[cfg(test)]
mod tests;
