//! The secrets that webhooks are signed with, as the Standard Webhooks specification writes them.

use super::{
    base64::from_base64,
    secret::{Secret, one_or_several},
};
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// The secrets that sign a webhook's requests: in TOML one secret, or a list.
#[derive(Debug, Clone, Default)]
pub struct SigningKeys(pub Vec<SigningKey>);

impl<'de> Deserialize<'de> for SigningKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_or_several(deserializer).map(Self)
    }
}

/// A symmetric secret of the Standard Webhooks specification. It prints as `[REDACTED]`.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

impl SigningKey {
    /// What a secret must be, for errors.
    pub const RULE: &'static str = "a secret must be whsec_ and 24 to 64 random bytes in Base64, as printed \
                                by echo \"whsec_$(openssl rand -base64 32)\"";

    /// The bytes of the secret, for signing.
    #[expect(clippy::disallowed_methods, reason = "as Secret::expose, for bytes")]
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// `text` breaks the rule, which the error states.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = text.strip_prefix("whsec_").and_then(from_base64);
        let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len())).ok_or(Self::RULE)?;
        Ok(Self(bytes.into()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl<'de> Deserialize<'de> for SigningKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Secret::deserialize(deserializer)?.expose()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_signing_key_is_the_specifications_and_prints_as_none() {
        let (short, long) = (format!("whsec_{}", "A".repeat(32)), format!("whsec_{}", "A".repeat(84)));
        for (text, length) in [
            (short.as_str(), 24),
            ("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 32),
            (long.as_str(), 63),
        ] {
            let key: SigningKey = serde_json::from_value(json!(text)).unwrap();
            assert_eq!(key.expose().len(), length);
            assert_eq!(format!("{key:?}"), "[REDACTED]");
        }
        let (too_short, too_long) =
            (format!("whsec_{}", "A".repeat(31)), format!("whsec_{}", "A".repeat(88)));
        for wrong in
            [too_short.as_str(), &too_long, &"A".repeat(32), "whsec_!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            let why = serde_json::from_value::<SigningKey>(json!(wrong)).unwrap_err().to_string();
            assert!(why.contains("whsec_ and 24 to 64") && !why.contains("AAAA"), "{why}");
        }
    }

    #[test]
    fn there_may_be_one_or_several() {
        let one = format!("whsec_{}", "A".repeat(32));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{one}\n")).unwrap();
        for (secret, number) in
            [(json!(one), 1), (json!({"file": file.path()}), 1), (json!([one, {"file": file.path()}]), 2)]
        {
            assert_eq!(serde_json::from_value::<SigningKeys>(secret).unwrap().0.len(), number);
        }
    }
}
