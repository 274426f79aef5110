//! Signatures of the Standard Webhooks specification, version v1: HMAC-SHA256.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use postern_shared::value::SigningKey;
use sha2::Sha256;

/// The value of `webhook-signature` for the body of the delivery `id` at `timestamp` (seconds since
/// 1970): one signature for each of `keys`, so that a receiver who knows any of them can check it.
pub(crate) fn signature(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp}.");
    let sign = |key: &SigningKey| {
        // HMAC takes keys of any length (RFC 2104, 3).
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
        mac.update(head.as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    keys.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_shared::value::SigningKeys;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// The vector that the reference libraries of Standard Webhooks are tested with.
    const PUBLISHED: (&str, &str) =
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    /// A vector with the bytes 0 to 31 as the key, computed by Python's hmac.
    const COUNTING: (&str, &str) = (
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "v1,O4Gjv1HqPqsMrjmczoggs/sWA8gZD0VyHG+fLh4+ktI=",
    );

    fn signed(secrets: &[&str]) -> String {
        let keys: SigningKeys = serde_json::from_value(serde_json::json!(secrets)).unwrap();
        signature(&keys.0, ID, 1_614_265_330, BODY)
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        for (secret, expected) in [PUBLISHED, COUNTING] {
            assert_eq!(signed(&[secret]), expected);
        }
    }

    #[test]
    fn every_secret_signs() {
        let both = format!("{} {}", COUNTING.1, PUBLISHED.1);
        assert_eq!(signed(&[COUNTING.0, PUBLISHED.0]), both);
        assert_eq!(signed(&[]), "");
    }

    #[test]
    fn another_id_time_or_body_is_another_signature() {
        let keys: SigningKeys = serde_json::from_value(serde_json::json!(PUBLISHED.0)).unwrap();
        for (id, at, body) in
            [("msg", 1_614_265_330, BODY), (ID, 1_614_265_331, BODY), (ID, 1_614_265_330, b"{}".as_slice())]
        {
            assert_ne!(signature(&keys.0, id, at, body), PUBLISHED.1);
        }
    }
}
