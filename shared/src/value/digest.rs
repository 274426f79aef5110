//! Secrets that are only compared: only their hashes are kept.
//!
//! There is no salt and no stretching: a key made by `postern key` is 256 random bits, which nobody can
//! guess, and a request costs one hash.

use super::Secret;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// The SHA-256 by which a key or a token is recognized. In TOML it is written as the secret itself, like
/// any other secret. It prints as `[REDACTED]`.
///
/// The hash has no salt: it reveals no random key, as `postern key` makes them, but a word can be
/// guessed from it.
#[derive(Clone, Copy)]
pub struct SecretDigest {
    hash: [u8; 32],
    /// See [`is_short`](Self::is_short).
    short: bool,
}

/// Texts that a shell hashes if a variable is not set. No caller can present them as a key.
const NOTHING: [&[u8]; 3] = [b"", b"\n", b"\r\n"];

impl SecretDigest {
    /// The digest of `secret`.
    pub fn of(secret: &[u8]) -> Self {
        Self { hash: Sha256::digest(secret).into(), short: false }
    }

    /// Whether the configuration contained the secret itself, with fewer than 16 characters, so that it
    /// could be guessed.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Whether `given` is the secret, in a time that depends on the length of `given` alone.
    pub fn matches(&self, given: &[u8]) -> bool {
        Self::of(given).hash.ct_eq(&self.hash).into()
    }

    /// The hash in 64 hexadecimal digits, for `key_sha256`.
    pub fn hex(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether it is the same secret.
impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl<'de> Deserialize<'de> for SecretDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = Secret::deserialize(deserializer)?;
        Ok(Self { short: secret.is_short(), ..Self::of(secret.expose().as_bytes()) })
    }
}

/// Reads a [`SecretDigest`] as [`SecretDigest::hex`] writes it.
///
/// # Errors
/// The text is something else, or the hash of an empty text.
pub fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretDigest>, D::Error> {
    let wrong = || de::Error::custom("must be the 64 hexadecimal digits that `postern key` prints");
    let text = String::deserialize(deserializer).map_err(|_| wrong())?;
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    let digest = SecretDigest { hash, short: false };
    if NOTHING.iter().any(|nothing| digest.matches(nothing)) {
        let why = "is the hash of an empty string, for example of an unset shell variable: hash the key";
        return Err(de::Error::custom(why));
    }
    Ok(Some(digest))
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
        for nothing in ["", "\n", "\r\n"] {
            let why = read(SecretDigest::of(nothing.as_bytes()).hex()).unwrap_err().to_string();
            assert!(why.contains("is the hash of an empty string"), "{nothing:?}: {why}");
        }
    }

    #[test]
    fn one_that_could_be_guessed_is_short() {
        for (secret, short) in [("hush", true), ("123456789012345", true), ("1234567890123456", false)] {
            let digest: SecretDigest = serde_json::from_value(json!(secret)).unwrap();
            assert_eq!(digest.is_short(), short, "{secret}");
            assert!(!from_hex(json!(digest.hex())).unwrap().unwrap().is_short(), "nobody knows");
        }
    }
}
