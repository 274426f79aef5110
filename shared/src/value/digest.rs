//! Secrets that are only compared: what is kept of them is their hash.

use super::Secret;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// What a key or a token is recognised by: its SHA-256. In TOML it is the secret itself, as any
/// other is written. It prints as `[REDACTED]`.
///
/// The hash has no salt: a random key, as `postern key` makes them, cannot be guessed from it, a
/// word can.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Of these bytes.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether `given` is the secret, in a time that depends on the length of `given` alone.
    pub fn matches(&self, given: &[u8]) -> bool {
        Self::of(given).0.ct_eq(&self.0).into()
    }

    /// 64 hexadecimal digits, for `key_sha256`.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl<'de> Deserialize<'de> for SecretDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(Secret::deserialize(deserializer)?.expose().as_bytes()))
    }
}

/// Reads a [`SecretDigest`] as [`SecretDigest::hex`] writes it.
///
/// # Errors
/// It is something else.
pub fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretDigest>, D::Error> {
    let wrong = || de::Error::custom("must be the 64 hexadecimal digits that `postern key` prints");
    let text = String::deserialize(deserializer).map_err(|_| wrong())?;
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(Some(SecretDigest(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_whole_secret_matches_and_nothing_prints() {
        let digest: SecretDigest = serde_json::from_value(json!("hush")).unwrap();
        assert!(digest.matches(b"hush"));
        for wrong in ["hus", "hushh", "Hush", "", &digest.hex()] {
            assert!(!digest.matches(wrong.as_bytes()), "{wrong}");
        }
        // printf hush | sha256sum
        assert_eq!(digest.hex(), "dc8331bcb2283e89d275a1c2fe66f7bf5ac3163ec1967f149dd7e27906365f0c");
        assert_eq!(format!("{digest:?}"), "[REDACTED]");
    }

    #[test]
    fn the_hash_alone_is_the_same_secret() {
        let digest = SecretDigest::of(b"hush");
        let read = |text: String| from_hex(json!(text)).map(Option::unwrap);
        assert_eq!(read(digest.hex()).unwrap(), digest);
        assert_eq!(read(digest.hex().to_uppercase()).unwrap(), digest);
        for wrong in
            ["", "hush", &digest.hex()[1..], &format!("{}00", digest.hex()), &"g".repeat(64), &"é".repeat(32)]
        {
            let why = read(wrong.to_owned()).unwrap_err().to_string();
            assert!(why.contains("postern key") && !why.contains("hush"), "{why}");
        }
    }
}
