//! The signature of the Standard Webhooks specification.

use super::{
    presented::{Presented, RequestFingerprint},
    signature::holds_mac,
};
use crate::refusal_reason::RefusalReason;
use hmac::Hmac;
use postern_shared::value::{SigningKey, from_base64};
use sha2::Sha256;
use std::time::Duration;

/// Checks that one of `keys` has signed `request`. By the specification, `webhook-signature` holds signatures
/// `v1,BASE64` of `id.timestamp.body`, separated by spaces; other versions are ignored.
///
/// # Errors
/// The reason why the request is refused.
pub(super) fn verify(
    keys: &[SigningKey],
    tolerance: Duration,
    request: &Presented<'_>,
) -> Result<RequestFingerprint, RefusalReason> {
    let part = |name| request.header(name).ok_or(RefusalReason::Unsigned);
    let (id, time, signatures) =
        (part("webhook-id")?, part("webhook-timestamp")?, part("webhook-signature")?);
    if request.body.is_empty() {
        return Err(RefusalReason::Unsigned);
    }
    let accepted_for = request.fresh(time, tolerance)?;
    let parts = [id, b".", time, b".", request.body];
    let given: Vec<Vec<u8>> = signatures
        .split(u8::is_ascii_whitespace)
        .filter_map(|signature| from_base64(signature.strip_prefix(b"v1,")?))
        .collect();
    let signed = keys.iter().any(|key| holds_mac::<Hmac<Sha256>>(&given, key.expose(), &parts));
    if !signed {
        return Err(RefusalReason::Signature);
    }
    Ok(request.fingerprint(&[id, b".", time].concat(), accepted_for))
}
