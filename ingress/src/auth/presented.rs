//! The parts of a request that a signature may cover.

use super::called_url::called_urls;
use crate::refusal_reason::RefusalReason;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use postern_config::backend::auth::signed_text::{SignedRequest, SignedText};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, time::Duration};
use url::form_urlencoded;

/// A larger number is a time in milliseconds: in seconds, this one is in the year 5138.
const MAX_SECONDS: u64 = 100_000_000_000;

/// A request whose signature is to be checked.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'r> {
    /// The request's headers.
    pub(crate) headers: &'r HeaderMap,
    /// The request's path and query.
    pub(crate) target: &'r str,
    /// The request's body; empty if it has none.
    pub(crate) body: &'r [u8],
    /// The current time, since 1970.
    pub(crate) now: Duration,
}

/// The SHA-256 that identifies a signed request: an exact repetition has the same one. Only a request with a
/// signed time has one, since it cannot be repeated later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestFingerprint {
    pub(crate) digest: [u8; 32],
    /// How much longer the signed time is accepted.
    pub(crate) accepted_for: Duration,
}

impl<'r> Presented<'r> {
    /// The value of the header `name`, if it is there exactly once.
    pub(super) fn header(&self, name: &str) -> Option<&'r [u8]> {
        let mut values = self.headers.get_all(name);
        let value = values.next()?.as_bytes();
        values.next().is_none().then_some(value)
    }

    /// Checks that `time`, as written in a header, is within `tolerance` of now. Returns how much longer it
    /// will be.
    pub(super) fn fresh(&self, time: &[u8], tolerance: Duration) -> Result<Duration, RefusalReason> {
        let text = std::str::from_utf8(time).map_err(|_| RefusalReason::Signature)?;
        let number: u64 = text.parse().map_err(|_| RefusalReason::Signature)?;
        let time =
            if number > MAX_SECONDS { Duration::from_millis(number) } else { Duration::from_secs(number) };
        if time.abs_diff(self.now) > tolerance {
            return Err(RefusalReason::Stale);
        }
        Ok(time.saturating_add(tolerance).saturating_sub(self.now))
    }

    /// The fingerprint of the request and `proof`. `proof` contains the time, so that no later request has
    /// the same one. The time is still accepted for `accepted_for`.
    pub(super) fn fingerprint(&self, proof: &[u8], accepted_for: Duration) -> RequestFingerprint {
        let mut digest = Sha256::new();
        for part in [self.target.as_bytes(), proof, self.body] {
            // The length says where a part ends.
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        RequestFingerprint { digest: digest.finalize().into(), accepted_for }
    }

    /// The texts that `text` may stand for: one for each spelling of the URL that the provider called, if
    /// `text` uses it.
    ///
    /// # Errors
    /// `text` uses the body's parameters, but the body is no urlencoded form and is not signed itself; or the
    /// template failed.
    pub(super) fn texts(
        &self,
        text: &SignedText,
        timestamp: &[u8],
        public_url: Option<&str>,
    ) -> Result<Vec<Vec<u8>>, RefusalReason> {
        let parameters =
            if text.names("parameters") { self.parameters(text.names("body"))? } else { Vec::new() };
        let query = if text.names("query") { self.query() } else { Vec::new() };
        let headers = if text.names("headers") { self.all_headers() } else { Vec::new() };
        let urls = if text.names("url") {
            called_urls(&format!("{}{}", public_url.unwrap_or_default(), self.target))
        } else {
            vec![String::new()]
        };
        let request = SignedRequest {
            body: self.body,
            timestamp,
            query: &query,
            headers: &headers,
            parameters: &parameters,
            url: "",
        };
        let made = urls.iter().map(|url| text.bytes(&SignedRequest { url, ..request }));
        made.collect::<Result<_, _>>().map_err(|_| RefusalReason::Signature)
    }

    fn all_headers(&self) -> Vec<(&'r str, &'r [u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// The names and values of the form, sorted and joined without separators. Any other body has none, and
    /// is refused unless it is signed itself (`has_body`): its signature would be valid for any other body.
    fn parameters(&self, has_body: bool) -> Result<Vec<u8>, RefusalReason> {
        let declared = self.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is_form = essence.is_empty() || essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        if !is_form {
            return if has_body || self.body.is_empty() {
                Ok(Vec::new())
            } else {
                Err(RefusalReason::Unsigned)
            };
        }
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(self.body).collect();
        pairs.sort();
        Ok(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect::<String>().into_bytes())
    }
}
