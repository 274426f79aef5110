//! Signed tokens in a header: JSON Web Tokens under HMAC-SHA256 (RFC 7515, RFC 7519).

use super::{
    presented::{Presented, RequestFingerprint},
    signature::holds_mac,
};
use crate::refusal_reason::RefusalReason;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::Hmac;
use postern_config::backend::auth::{jwt::JwtAuth, signed_text::ClaimText};
use postern_shared::value::Secret;
use serde_json::{Map, Value};
use sha2::Sha256;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// The most seconds for which a token is accepted, as far as its repetitions are concerned: 100 years, longer
/// than any process runs. Its `exp` may be any number, and not every number fits into a [`Duration`].
const MAX_ACCEPTED: f64 = 3_155_760_000.0;

/// The check of a token in a header, prepared from the configuration. Prints no secret.
#[derive(Debug)]
pub(crate) struct Jwt {
    header: String,
    prefix: String,
    keys: Vec<Secret>,
    tolerance: Duration,
    claims: Vec<(String, ClaimText)>,
    /// The beginning of `url` in the claims.
    public_url: Option<String>,
}

impl Jwt {
    pub(super) fn new(auth: &JwtAuth, keys: Vec<Secret>, public_url: Option<&str>) -> Self {
        Self {
            header: auth.header.0.clone(),
            prefix: auth.prefix().to_owned(),
            keys,
            tolerance: auth.tolerance.0,
            claims: auth.claims.iter().map(|(name, text)| (name.clone(), text.clone())).collect(),
            public_url: public_url.map(str::to_owned),
        }
    }

    /// Checks that `request` has a token that one of the keys has signed, that the token's times are right,
    /// and that its claims match the request.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(super) fn verify(&self, request: &Presented<'_>) -> Result<RequestFingerprint, RefusalReason> {
        let token = request.header(&self.header).ok_or(RefusalReason::Unsigned)?;
        let token = std::str::from_utf8(token).map_err(|_| RefusalReason::Signature)?.trim();
        let (prefix, token) = token.split_at_checked(self.prefix.len()).ok_or(RefusalReason::Unsigned)?;
        if !prefix.eq_ignore_ascii_case(&self.prefix) {
            return Err(RefusalReason::Unsigned);
        }
        let token = token.trim();
        let claims = self.signed_claims(token).ok_or(RefusalReason::Signature)?;
        let accepted_for = self.check_times(&claims, request.now)?;
        self.check_claims(&claims, request)?;
        Ok(request.fingerprint(token.as_bytes(), accepted_for))
    }

    /// The claims of a token that one of the keys has signed. We choose the algorithm, not the token. A token
    /// with critical extensions is refused, since we understand none (RFC 7515, section 4.1.11).
    fn signed_claims(&self, token: &str) -> Option<Map<String, Value>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let given = [BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?];
        let right =
            |key: &Secret| holds_mac::<Hmac<Sha256>>(&given, key.expose().as_bytes(), &[signed.as_bytes()]);
        if !self.keys.iter().any(right) {
            return None;
        }
        let read = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let head = read(head)?;
        if head.get("alg").is_none_or(|alg| alg != "HS256") || head.contains_key("crit") {
            return None;
        }
        read(claims)
    }

    /// Checks the token's times. Returns how much longer they will be right.
    fn check_times(&self, claims: &Map<String, Value>, now: Duration) -> Result<Duration, RefusalReason> {
        let time = |name| match claims.get(name) {
            None => Ok(None),
            Some(time) => time.as_f64().map(Some).ok_or(RefusalReason::Claim),
        };
        let (exp, nbf, iat) = (time("exp")?, time("nbf")?, time("iat")?);
        let (now, tolerance) = (now.as_secs_f64(), self.tolerance.as_secs_f64());
        let last = exp.or(iat).ok_or(RefusalReason::Claim)?;
        let begun = [nbf, iat].into_iter().flatten().all(|first| now + tolerance >= first);
        // It is an error if the time is over.
        let accepted_for = Duration::try_from_secs_f64((last + tolerance - now).min(MAX_ACCEPTED));
        accepted_for.ok().filter(|_| begun).ok_or(RefusalReason::Stale)
    }

    fn check_claims(
        &self,
        claims: &Map<String, Value>,
        request: &Presented<'_>,
    ) -> Result<(), RefusalReason> {
        let no_body = request.body.is_empty();
        let about_body = self.claims.iter().any(|(_, text)| text.0.covers_body());
        let about_address = self.claims.iter().any(|(_, text)| text.0.covers_address());
        if no_body && about_body && !about_address {
            return Err(RefusalReason::Unsigned);
        }
        for (name, text) in &self.claims {
            let given = match claims.get(name) {
                Some(Value::String(text)) => text.as_bytes(),
                None | Some(Value::Null) if no_body && text.0.covers_body() => continue,
                _ => return Err(RefusalReason::Claim),
            };
            let wanted = request.texts(&text.0, b"", self.public_url.as_deref())?;
            if !wanted.iter().any(|wanted| bool::from(wanted.as_slice().ct_eq(given))) {
                return Err(RefusalReason::Claim);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
