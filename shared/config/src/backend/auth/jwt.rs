//! A signed token in a header (JWT, RFC 7519), as Vonage and MessageBird send it.

use super::{signed_text::ClaimText, tolerance::Tolerance};
use indexmap::IndexMap;
use postern_shared::value::{HeaderName, Secrets};
use serde::Deserialize;

/// The claims that are times, which are checked by themselves.
const TIMES: [&str; 3] = ["exp", "nbf", "iat"];

/// A JSON Web Token in a header, signed by HMAC-SHA256 (`HS256`). It must have `exp` or `iat`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtAuth {
    /// The key, as its UTF-8 bytes.
    pub secret: Secrets,
    /// The header that holds the token. Default: `Authorization`.
    #[serde(default = "authorization")]
    pub header: HeaderName,
    /// The text before the token in the header; upper and lower case are the same. `None`: `Bearer ` in
    /// `Authorization`, nothing in any other header.
    prefix: Option<String>,
    /// How long the token is accepted after its `exp` and before its `nbf` or `iat`; without an `exp`, also how
    /// long after its `iat`.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// The values that further claims must have. A claim that depends on the body may be absent if there is no
    /// body.
    #[serde(default)]
    pub claims: IndexMap<String, ClaimText>,
}

fn authorization() -> HeaderName {
    HeaderName("authorization".to_owned())
}

impl JwtAuth {
    /// The text before the token in its header.
    pub fn prefix(&self) -> &str {
        let default = if self.header == authorization() { "Bearer " } else { "" };
        self.prefix.as_deref().unwrap_or(default)
    }

    /// Whether a claim depends on the address that the provider calls.
    pub fn needs_url(&self) -> bool {
        self.claims.values().any(|claim| claim.0.names("url"))
    }

    /// The mistakes that the types do not rule out: a key below `jwt`, and what is wrong.
    pub(super) fn problems(&self) -> Vec<(String, &'static str)> {
        let times = self.claims.keys().filter(|name| TIMES.contains(&name.as_str()));
        let why = "is a time, which is always checked: remove it, and set tolerance";
        times.map(|name| (format!("claims.{name}"), why)).collect()
    }
}
