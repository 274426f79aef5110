//! A signed token in a header (JWT, RFC 7519), as Vonage and MessageBird send it.

use super::{signed_text::ClaimText, tolerance::Tolerance};
use indexmap::IndexMap;
use postern_shared::value::{HeaderName, Secrets};
use serde::Deserialize;

/// The claims that are times.
const TIMES: [&str; 3] = ["exp", "nbf", "iat"];

/// A JSON Web Token in a header, signed by HMAC-SHA256 (`HS256`). It must have `exp` or `iat`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtAuth {
    /// The key, as its UTF-8 bytes.
    pub secret: Secrets,
    /// The header that holds it. Default: `Authorization`.
    #[serde(default = "authorization")]
    pub header: HeaderName,
    /// What stands before it, in either case. `None`: `Bearer ` in `Authorization`, nothing in any other header.
    prefix: Option<String>,
    /// How long after its `exp`, how long before its `nbf` or `iat`, and, if it has no `exp`, how long after its
    /// `iat` it is taken.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// What further claims must be. One that looks at the body may be absent if there is no body.
    #[serde(default)]
    pub claims: IndexMap<String, ClaimText>,
}

fn authorization() -> HeaderName {
    HeaderName("authorization".to_owned())
}

impl JwtAuth {
    /// What stands before the token in its header.
    pub fn prefix(&self) -> &str {
        let default = if self.header == authorization() { "Bearer " } else { "" };
        self.prefix.as_deref().unwrap_or(default)
    }

    /// Whether a claim depends on the address that the provider calls.
    pub fn needs_url(&self) -> bool {
        self.claims.values().any(|claim| claim.0.names("url"))
    }

    /// What is wrong beyond the types: a key below `jwt`, and why.
    pub(super) fn problems(&self) -> Vec<(String, &'static str)> {
        let times = self.claims.keys().filter(|name| TIMES.contains(&name.as_str()));
        let why = "is a time, which is always checked: remove it, and set tolerance";
        times.map(|name| (format!("claims.{name}"), why)).collect()
    }
}
