//! Twilio's signature: over the URL as it calls it, and the parameters.

use super::signature::holds_mac;
use crate::forms::Request;
use actix_web::http::header::{HeaderMap, HeaderValue};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::Hmac;
use percent_encoding::percent_decode;
use postern_shared::value::Secret;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use subtle::ConstantTimeEq;
use url::Url;

/// Twilio's "Validating requests": base64(HMAC(auth token, URL + each name and value, sorted)), with
/// SHA-1 unless a header says SHA-256. A body that has no parameters is signed by its SHA-256 in the
/// query, `bodySHA256`; one that is not signed at all, or cannot be read (`parsed`: `None`), is
/// refused.
pub(super) fn signed(
    token: &Secret,
    url: &str,
    (given, headers): (Option<&HeaderValue>, &HeaderMap),
    body: &[u8],
    parsed: Option<&Request<'_>>,
) -> bool {
    let Some(parsed) = parsed else { return false };
    let Some(given) = given.and_then(|given| BASE64_STANDARD.decode(given.as_bytes()).ok()) else {
        return false;
    };
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
    // Twilio signs some URLs with their port and some without. What came in the target as it is was encoded
    // by the listener; the sender signed what it sent.
    let raw = as_sent(url).filter(|raw| raw != url);
    spellings(url).iter().chain(raw.as_deref().map(spellings).iter().flatten()).any(|url| {
        let pairs = parameters
            .iter()
            .flat_map(|(name, values)| values.iter().flat_map(|value| [name.as_bytes(), value]));
        let parts: Vec<&[u8]> = std::iter::once(url.as_bytes()).chain(pairs).collect();
        right(&given, token.expose().as_bytes(), &parts)
    })
}

/// `key=…,algorithm=HMAC_SHA256`: with what a request is signed where it is not with the account's
/// token, but with a shared key; the secret then is that key's.
fn algorithm(headers: &HeaderMap) -> Option<&str> {
    let Some(settings) = headers.get("x-twilio-webhooks-signature-settings") else {
        return Some("HMAC_SHA1");
    };
    let mut parts = settings.to_str().ok()?.split(',').filter_map(|part| part.split_once('='));
    let (_, name) = parts.find(|(name, _)| name.trim() == "algorithm").unwrap_or(("", "HMAC_SHA1"));
    Some(name.trim())
}

/// `url` as a client sends it that does not encode texts: without the escapes that the listener writes for
/// characters which actix-http refuses. `None` if that is no UTF-8.
fn as_sent(url: &str) -> Option<String> {
    let mut raw = Vec::with_capacity(url.len());
    let mut rest = url.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = rest.get(..3).map(|escape| percent_decode(escape).collect::<Vec<_>>());
        match escaped.as_deref() {
            Some([byte @ (b' ' | b'"' | b'<' | b'>' | b'`' | 0x80..)]) if *first == b'%' => {
                raw.push(*byte);
                rest = &rest[3..];
            }
            _ => {
                raw.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(raw).ok()
}

/// `url` as it is, and with its port put in or left out.
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_owned()];
    if let Ok(parsed) = Url::parse(url)
        && let Some((scheme, rest)) = url.split_once("://")
    {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.strip_suffix(&parsed.port().map_or(String::new(), |port| format!(":{port}")));
        let host = host.unwrap_or(authority);
        let port = parsed.port_or_known_default().unwrap_or_default();
        all.push(format!("{scheme}://{host}{path}"));
        all.push(format!("{scheme}://{host}:{port}{path}"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_listener_encodes_is_known_as_it_was_sent() {
        for (url, raw) in [
            ("https://h/x?text=caf%C3%A9%20a", Some("https://h/x?text=café a")),
            ("https://h/x?text=%22%3C%3e%60", Some("https://h/x?text=\"<>`")),
            ("https://h/x?text=%26%23%2B%25%0A%", Some("https://h/x?text=%26%23%2B%25%0A%")),
            ("https://h/x?text=é%C", Some("https://h/x?text=é%C")),
            ("https://h/x?text=%E9", None),
        ] {
            assert_eq!(as_sent(url).as_deref(), raw, "{url}");
        }
    }
}
