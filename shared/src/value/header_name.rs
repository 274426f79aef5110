//! Names of HTTP headers, as a configuration writes them.

use serde::{Deserialize, Deserializer, de};

/// A header's name (RFC 9110, 5.1), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(pub String);

impl<'de> Deserialize<'de> for HeaderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if !name.is_empty() && name.bytes().all(token) {
            Ok(Self(name.to_ascii_lowercase()))
        } else {
            Err(de::Error::custom("is not a header name: only letters, digits and - are allowed"))
        }
    }
}
