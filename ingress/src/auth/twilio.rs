//! Twilio's signature of the URL as it calls it, and of the parameters.

use super::{called_url::called_urls, signature::holds_mac};
use crate::forms::Request;
use actix_web::http::header::HeaderMap;
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::Hmac;
use postern_shared::value::Secret;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use subtle::ConstantTimeEq;

/// The header that holds the signature.
pub(super) const HEADER: &str = "x-twilio-signature";

/// Whether a request is signed with `token`, by Twilio's "Validating requests": base64(HMAC(auth token, URL +
/// each name and value, sorted)), with SHA-1 unless a header says SHA-256. A body without parameters is
/// signed by its SHA-256 in the query, `bodySHA256`; a body that is not signed at all, or cannot be read
/// (`parsed`: `None`), is refused.
pub(super) fn signed(
    token: &Secret,
    url: &str,
    headers: &HeaderMap,
    body: &[u8],
    parsed: Option<&Request<'_>>,
) -> bool {
    let Some(parsed) = parsed else { return false };
    let given = headers.get(HEADER).map(|value| value.as_bytes());
    let Some(given) = given.and_then(|given| BASE64_STANDARD.decode(given).ok()) else { return false };
    let digest = url::form_urlencoded::parse(url.split_once('?').map_or("", |(_, query)| query).as_bytes())
        .find_map(|(name, value)| (name == "bodySHA256").then(|| value.to_ascii_lowercase()));
    let mut parameters: BTreeMap<&str, BTreeSet<&[u8]>> = BTreeMap::new();
    if let Some(digest) = &digest {
        let own: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        if !bool::from(own.as_bytes().ct_eq(digest.as_bytes())) {
            return false;
        }
    } else if parsed.json.is_some() {
        return false;
    } else if !body.is_empty() {
        for parameter in &parsed.parameters {
            parameters.entry(&parameter.name).or_default().insert(&parameter.raw);
        }
    }
    let right = match algorithm(headers) {
        Some("HMAC_SHA1") => holds_mac::<Hmac<Sha1>>,
        Some("HMAC_SHA256") => holds_mac::<Hmac<Sha256>>,
        _ => return false,
    };
    let given = [given];
    called_urls(url).iter().any(|url| {
        let pairs = parameters
            .iter()
            .flat_map(|(name, values)| values.iter().flat_map(|value| [name.as_bytes(), value]));
        let parts: Vec<&[u8]> = std::iter::once(url.as_bytes()).chain(pairs).collect();
        right(&given, token.expose().as_bytes(), &parts)
    })
}

/// The algorithm of the signature. If a request is signed with a shared key instead of the account's token, a
/// header names it (`key=…,algorithm=HMAC_SHA256`); `token` is then that key.
fn algorithm(headers: &HeaderMap) -> Option<&str> {
    let Some(settings) = headers.get("x-twilio-webhooks-signature-settings") else {
        return Some("HMAC_SHA1");
    };
    let mut parts = settings.to_str().ok()?.split(',').filter_map(|part| part.split_once('='));
    let (_, name) = parts.find(|(name, _)| name.trim() == "algorithm").unwrap_or(("", "HMAC_SHA1"));
    Some(name.trim())
}
