//! What a provider's request must prove: `[backends.NAME.receive]`, `auth`.

pub mod jwt;
pub mod signature;
pub mod signed_text;
pub mod tolerance;

use super::http::Method;
use jwt::JwtAuth;
use postern_shared::value::{HeaderName, Secret, Secrets, Settings, SigningKey};
use serde::Deserialize;
use signature::{Ed25519Auth, HmacAuth, KEY_RULE, SignatureShape};
use tolerance::Tolerance;

/// How a provider proves that a request (a message or a delivery report) is its own. Any other request is
/// answered 403, or 401 if a password is asked for.
///
/// A secret may be a setting: `"{{ settings.auth_token }}"`. If there are several secrets, any one of them is
/// accepted, so that one can replace another.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReceiveAuth {
    /// There is no proof: every request is accepted.
    #[default]
    None,
    /// RFC 7617.
    Basic {
        /// The user name, which must not contain a colon.
        username: Secret,
        /// The password.
        password: Secrets,
    },
    /// A shared secret in the request, such as Telegram's `X-Telegram-Bot-Api-Secret-Token`.
    Token(TokenAuth),
    /// An HMAC in a header, such as WhatsApp's `X-Hub-Signature-256`. A request without a body, such as a GET, is
    /// refused unless the address is signed.
    Hmac(HmacAuth),
    /// An Ed25519 signature in a header, such as Telnyx's; otherwise like `Hmac`.
    Ed25519(Ed25519Auth),
    /// A signed token in a header, such as Vonage's.
    Jwt(JwtAuth),
    /// The Standard Webhooks specification: HMAC-SHA256 of id, time and body.
    StandardWebhooks {
        /// The signing key, `whsec_…`.
        secret: Secrets,
        /// How far the request's time may be from ours.
        #[serde(default)]
        tolerance: Tolerance,
    },
    /// `X-Twilio-Signature`: HMAC-SHA1 over the URL as the provider calls it and the parameters.
    Twilio {
        /// The account's auth token.
        token: Secrets,
    },
}

/// Where a request carries a shared secret. Exactly one of `header`, `query`, `body` and `path` must be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAuth {
    /// The name of the header that holds it.
    pub header: Option<HeaderName>,
    /// The query parameter that holds it.
    pub query: Option<String>,
    /// The parameter of the body that holds it, or a JSON pointer into the body.
    pub body: Option<String>,
    /// Whether the path holds it: `/backends/NAME/TOKEN` and `/backends/NAME/TOKEN/status`.
    #[serde(default)]
    pub path: bool,
    /// The text before it in the header, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// The secret. If the path holds it, `{{ status_url }}` carries the first of several.
    pub secret: Secrets,
}

impl ReceiveAuth {
    /// Every secret in this table, as the configuration writes it.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { username, password } => std::iter::once(username).chain(&password.0).collect(),
            Self::Token(TokenAuth { secret, .. })
            | Self::Hmac(HmacAuth { secret, .. })
            | Self::Ed25519(Ed25519Auth { key: secret, .. })
            | Self::Jwt(JwtAuth { secret, .. })
            | Self::StandardWebhooks { secret, .. }
            | Self::Twilio { token: secret } => secret.0.iter().collect(),
        }
    }

    /// The token in the path of the addresses that the provider calls. `None` if the path holds no token.
    pub fn path_token(&self, settings: &Settings) -> Option<Secret> {
        match self {
            Self::Token(token) if token.path => token.secret.resolved(settings)?.into_iter().next(),
            _ => None,
        }
    }

    /// Whether `ingress.public_url` is needed to check a request.
    pub fn needs_url(&self) -> bool {
        match self {
            Self::Twilio { .. } => true,
            Self::Jwt(jwt) => jwt.needs_url(),
            _ => self.shape().and_then(|shape| shape.signed).is_some_and(|signed| signed.names("url")),
        }
    }

    fn shape(&self) -> Option<SignatureShape<'_>> {
        match self {
            Self::Hmac(hmac) => Some(hmac.shape()),
            Self::Ed25519(ed25519) => Some(ed25519.shape()),
            _ => None,
        }
    }

    /// The name of the variant's table in the configuration.
    fn table(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic { .. } => "basic",
            Self::Token(_) => "token",
            Self::Hmac(_) => "hmac",
            Self::Ed25519(_) => "ed25519",
            Self::Jwt(_) => "jwt",
            Self::StandardWebhooks { .. } => "standard_webhooks",
            Self::Twilio { .. } => "twilio",
        }
    }

    /// The mistakes that the types do not rule out: a key below `receive`, and what is wrong.
    pub fn problems(&self, settings: &Settings) -> Vec<(String, String)> {
        let mut wrong: Vec<(String, String)> = Vec::new();
        let table = self.table();
        let mut check = |key: &str, is_wrong: bool, why: &str| {
            if is_wrong {
                let key = if key.is_empty() { String::new() } else { format!(".{key}") };
                wrong.push((format!("auth.{table}{key}"), why.to_owned()));
            }
        };
        match self {
            Self::None | Self::Twilio { .. } => {}
            Self::Basic { username, .. } => {
                let colon = username.resolved(settings).is_some_and(|name| name.expose().contains(':'));
                check("username", colon, "must have no colon (RFC 7617)");
            }
            Self::Token(token) => {
                for (key, why) in token.problems(settings) {
                    check(key, true, why);
                }
            }
            Self::Hmac(_) => {}
            Self::Ed25519(ed25519) => check("key", ed25519.has_wrong_key(settings), KEY_RULE),
            Self::Jwt(jwt) => {
                for (key, why) in jwt.problems() {
                    check(&key, true, why);
                }
            }
            Self::StandardWebhooks { secret, .. } => {
                let all = secret.resolved(settings).unwrap_or_default();
                let key = all.iter().find_map(|secret| SigningKey::parse(secret.expose()).err());
                check("secret", key.is_some(), key.unwrap_or_default());
            }
        }
        for (key, why) in self.shape().iter().flat_map(SignatureShape::problems) {
            check(key, true, why);
        }
        wrong
    }

    /// What is probably a mistake: a key below `receive`, and why. `methods` are those that the backend takes.
    pub fn doubts(&self, methods: &[Method]) -> Option<(String, &'static str)> {
        let has_bodies = methods.iter().any(|method| *method != Method::Get);
        let lacks = has_bodies && self.shape().is_some_and(|shape| shape.leaves_body_out());
        let why = "covers the address but not the body, so anyone who has seen one request can send another \
                   body with its signature: add {{ body }}, if the provider signs the body";
        lacks.then(|| (format!("auth.{}.signed", self.table()), why))
    }
}

impl TokenAuth {
    /// The mistakes that the types do not rule out: a key below `token`, and what is wrong.
    fn problems(&self, settings: &Settings) -> Vec<(&'static str, &'static str)> {
        let mut wrong = Vec::new();
        let mut check = |key, is_wrong: bool, why| {
            if is_wrong {
                wrong.push((key, why));
            }
        };
        let places = [self.header.is_some(), self.query.is_some(), self.body.is_some(), self.path];
        let one = places.into_iter().filter(|place| *place).count() == 1;
        let why = "must say where the token is, in one place: header = \"NAME\", query = \"NAME\", body = \
                   \"NAME\" or path = true";
        check("", !one, why);
        check("query", self.query.as_deref() == Some(""), "must name a parameter");
        check("body", self.body.as_deref() == Some(""), "must name a parameter, or be a JSON pointer");
        let prefix = !self.prefix.is_empty() && self.header.is_none();
        check("prefix", prefix, "applies only to a token in a header");
        let fits = |secret: Secret| {
            let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            let text = secret.expose();
            text.bytes().all(unreserved) && !matches!(text, "." | ".." | "status")
        };
        let all = self.secret.resolved(settings).unwrap_or_default();
        let why = "in a path, a token may contain only letters, digits and - . _ ~, and must not be \
                   \"status\"";
        check("secret", self.path && !all.into_iter().all(fits), why);
        wrong
    }
}
