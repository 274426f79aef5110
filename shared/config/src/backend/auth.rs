//! What a provider's request must prove: `[backends.NAME.receive]`, `auth`.

use postern_shared::value::HeaderName;
use postern_shared::value::{Secret, Secrets, Settings, SigningKey, Span};
use serde::Deserialize;
use std::time::Duration;

/// The longest tolerance for the time in a signed request.
const MAX_TOLERANCE: Duration = Duration::from_secs(24 * 3600);

/// How a provider proves that a request is its own, a message as well as a delivery report. Any
/// other request is answered 403, or 401 where a password is asked for.
///
/// A secret may be a setting: `"{{ settings.auth_token }}"`. Where there are several, each of them
/// will do, so that one can take the place of another.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReceiveAuth {
    /// Not at all.
    #[default]
    None,
    /// RFC 7617.
    Basic {
        /// Without a colon.
        username: Secret,
        /// The password.
        password: Secrets,
    },
    /// A shared secret in the request, as Telegram's `X-Telegram-Bot-Api-Secret-Token`.
    Token(TokenAuth),
    /// An HMAC of the body in a header, as WhatsApp's `X-Hub-Signature-256`. What has no body, such
    /// as a GET, is refused.
    Hmac(HmacAuth),
    /// The Standard Webhooks specification: HMAC-SHA256 of id, time and body.
    StandardWebhooks {
        /// `whsec_…`
        secret: Secrets,
        /// How far the time may be from ours, either way.
        #[serde(default = "five_minutes")]
        tolerance: Span,
    },
    /// `X-Twilio-Signature`: HMAC-SHA1 over the URL as the provider calls it and the parameters.
    Twilio {
        /// The account's auth token.
        token: Secrets,
        /// The header that holds it, of providers that sign likewise.
        #[serde(default = "twilio_header")]
        header: HeaderName,
    },
}

/// Where a request carries a shared secret: in exactly one of these places.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAuth {
    /// A header.
    pub header: Option<HeaderName>,
    /// A parameter of the query.
    pub query: Option<String>,
    /// The path: `/backends/NAME/TOKEN` and `/backends/NAME/TOKEN/status`.
    #[serde(default)]
    pub path: bool,
    /// What stands before it in the header, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// The secret. In a path the first of several is the one that `{{ status_url }}` carries.
    pub secret: Secrets,
}

/// An HMAC of the body as it came (RFC 2104).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacAuth {
    /// The header that holds it.
    pub header: HeaderName,
    /// The key, as its UTF-8 bytes.
    pub secret: Secrets,
    /// The hash.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How the header's bytes are written.
    #[serde(default)]
    pub encoding: SignatureEncoding,
    /// What stands before it in the header, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// The time that is signed in front of the body; absent: the body alone is.
    pub timestamp: Option<SignedTime>,
}

/// A hash for an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1.
    Sha1,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureEncoding {
    /// Hexadecimal digits of either case.
    #[default]
    Hex,
    /// RFC 4648, section 4; `=` at the end may be absent.
    Base64,
}

/// A time that is signed with the body, so that a request cannot be used again later.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTime {
    /// The header that holds it: seconds or milliseconds since 1970.
    pub header: HeaderName,
    /// What stands between it and the body in what is signed.
    #[serde(default = "full_stop")]
    pub separator: String,
    /// How far it may be from ours, either way.
    #[serde(default = "five_minutes")]
    pub tolerance: Span,
}

fn twilio_header() -> HeaderName {
    HeaderName("x-twilio-signature".to_owned())
}

fn five_minutes() -> Span {
    Span(Duration::from_secs(300))
}

fn full_stop() -> String {
    ".".to_owned()
}

impl ReceiveAuth {
    /// Every secret in it, as it is written.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { username, password } => std::iter::once(username).chain(&password.0).collect(),
            Self::Token(TokenAuth { secret, .. })
            | Self::Hmac(HmacAuth { secret, .. })
            | Self::StandardWebhooks { secret, .. }
            | Self::Twilio { token: secret, .. } => secret.0.iter().collect(),
        }
    }

    /// The token that stands in the path of the addresses that a provider calls.
    pub fn path_token(&self, settings: &Settings) -> Option<Secret> {
        match self {
            Self::Token(token) if token.path => token.secret.resolved(settings)?.into_iter().next(),
            _ => None,
        }
    }

    /// What is wrong beyond the types: a key below `receive`, and why.
    pub fn problems(&self, settings: &Settings) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut check = |key: &str, is_wrong: bool, why: &str| {
            if is_wrong {
                wrong.push((format!("auth.{key}"), why.to_owned()));
            }
        };
        match self {
            Self::None | Self::Twilio { .. } => {}
            Self::Basic { username, .. } => {
                let colon = username.resolved(settings).is_some_and(|name| name.expose().contains(':'));
                check("basic.username", colon, "must have no colon (RFC 7617)");
            }
            Self::Token(token) => {
                let places = [token.header.is_some(), token.query.is_some(), token.path];
                let one = places.into_iter().filter(|place| *place).count() == 1;
                let why = "must say where it stands, in one place: header = \"NAME\", query = \"NAME\" or \
                           path = true";
                check("token", !one, why);
                check("token.query", token.query.as_deref() == Some(""), "must name a parameter");
                let prefix = !token.prefix.is_empty() && token.header.is_none();
                check("token.prefix", prefix, "stands before a token in a header only");
                let fits = |secret: Secret| {
                    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
                    let text = secret.expose();
                    text.bytes().all(unreserved) && !matches!(text, "." | ".." | "status")
                };
                let all = token.secret.resolved(settings).unwrap_or_default();
                let why = "in a path it has letters, digits and - . _ ~ only, and is not \"status\"";
                check("token.secret", token.path && !all.into_iter().all(fits), why);
            }
            Self::Hmac(hmac) => {
                if let Some(time) = &hmac.timestamp {
                    check("hmac.timestamp.tolerance", !tolerable(time.tolerance), TOLERANCE);
                }
            }
            Self::StandardWebhooks { secret, tolerance } => {
                check("standard_webhooks.tolerance", !tolerable(*tolerance), TOLERANCE);
                let all = secret.resolved(settings).unwrap_or_default();
                let key = all.iter().find_map(|secret| SigningKey::parse(secret.expose()).err());
                check("standard_webhooks.secret", key.is_some(), key.unwrap_or_default());
            }
        }
        wrong
    }
}

const TOLERANCE: &str = "must be longer than 0 and at most 24h";

fn tolerable(tolerance: Span) -> bool {
    !tolerance.0.is_zero() && tolerance.0 <= MAX_TOLERANCE
}
