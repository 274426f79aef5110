//! How a provider's request is authenticated: `receive.auth`.

use super::{
    signature::{self, Signed},
    twilio,
};
use crate::auth::RefusalReason;
use crate::forms::Request;
use actix_web::{
    HttpRequest,
    http::header::{AUTHORIZATION, HeaderMap},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use postern_config::backend::{
    BackendConfig,
    auth::{ReceiveAuth, TokenAuth},
};
use postern_shared::value::{Secret, SecretDigest, Settings, SigningKey};
use std::time::Duration;
use url::form_urlencoded;

/// How a backend's requests are authenticated. Prints no secret.
#[derive(Debug)]
pub(crate) enum RequestAuth {
    /// They are not.
    None,
    /// By one of these, each the digest of `username:password`.
    Basic(Vec<SecretDigest>),
    /// By a token that has one of these digests.
    Token(CredentialSource, Vec<SecretDigest>),
    /// By a signature of the body.
    Signed(Signed),
    /// By Twilio's signature of the URL, which begins with `public_url`, and the parameters.
    Twilio { tokens: Vec<Secret>, header: String, public_url: String },
    /// A secret is missing from the configuration: every request is refused.
    Impossible,
}

/// Where the token stands in a request.
#[derive(Debug)]
pub(crate) enum CredentialSource {
    /// In this header, after this prefix.
    Header(String, String),
    /// In this parameter of the query.
    Query(String),
    /// At the end of the path, before `/status`.
    Path,
}

impl RequestAuth {
    pub(crate) fn new(backend: &BackendConfig, public_url: Option<&str>) -> Self {
        let settings = &backend.definition.settings;
        Self::ready(&backend.definition.receive.auth, settings, public_url).unwrap_or(Self::Impossible)
    }

    /// `None` where a secret is missing.
    fn ready(auth: &ReceiveAuth, settings: &Settings, public_url: Option<&str>) -> Option<Self> {
        let digest = |secret: &Secret| SecretDigest::of(secret.expose().as_bytes());
        Some(match auth {
            ReceiveAuth::None => Self::None,
            ReceiveAuth::Basic { username, password } => {
                let name = username.resolved(settings)?;
                let pair = |password: Secret| {
                    digest(&Secret::from(format!("{}:{}", name.expose(), password.expose())))
                };
                Self::Basic(password.resolved(settings)?.into_iter().map(pair).collect())
            }
            ReceiveAuth::Token(token) => {
                let secrets = token.secret.resolved(settings)?;
                Self::Token(source(token)?, secrets.iter().map(digest).collect())
            }
            ReceiveAuth::Hmac(hmac) => {
                Self::Signed(Signed::Hmac(hmac.clone(), hmac.secret.resolved(settings)?))
            }
            ReceiveAuth::StandardWebhooks { secret, tolerance } => {
                let keys = secret.resolved(settings)?;
                let keys = keys.iter().map(|key| SigningKey::parse(key.expose()).ok());
                Self::Signed(Signed::StandardWebhooks(keys.collect::<Option<_>>()?, tolerance.0))
            }
            ReceiveAuth::Twilio { token, header } => Self::Twilio {
                tokens: token.resolved(settings)?,
                header: header.0.clone(),
                public_url: public_url?.to_owned(),
            },
        })
    }

    /// Why a request may be refused.
    pub(crate) fn refusals(&self) -> &'static [RefusalReason] {
        match self {
            Self::None => &[],
            Self::Basic(_) => &[RefusalReason::Password],
            Self::Token(..) => &[RefusalReason::Token],
            Self::Signed(_) => &[RefusalReason::Signature, RefusalReason::Stale],
            Self::Twilio { .. } | Self::Impossible => &[RefusalReason::Signature],
        }
    }

    /// Whether a request must be authenticated.
    pub(crate) fn is_required(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether it takes the body to authenticate a request.
    pub(crate) fn is_by_body(&self) -> bool {
        matches!(self, Self::Signed(_) | Self::Twilio { .. })
    }

    /// Whether the token stands in the path.
    pub(crate) fn in_path(&self) -> bool {
        matches!(self, Self::Token(CredentialSource::Path, _))
    }

    /// Checks what the request's head must show, before the body is read.
    ///
    /// # Errors
    /// Why the request is refused.
    pub(crate) fn check_head(&self, request: &HttpRequest) -> Result<(), RefusalReason> {
        match self {
            Self::None | Self::Signed(_) | Self::Twilio { .. } => Ok(()),
            Self::Impossible => Err(RefusalReason::Signature),
            Self::Basic(pairs) => {
                let given = basic(request.headers());
                let known = given.is_some_and(|given| pairs.iter().any(|pair| pair.matches(&given)));
                if known { Ok(()) } else { Err(RefusalReason::Password) }
            }
            Self::Token(source, secrets) => {
                let known = shown(source, request).iter().any(|given| {
                    // Each is compared: the time says nothing of which of them it was.
                    secrets.iter().filter(|secret| secret.matches(given)).count() > 0
                });
                if known { Ok(()) } else { Err(RefusalReason::Token) }
            }
        }
    }

    /// Checks the body's signature, before anything reads the body. `now` is the time since 1970.
    ///
    /// # Errors
    /// Why the request is refused.
    pub(crate) fn check_body(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Duration,
    ) -> Result<(), RefusalReason> {
        match self {
            Self::Signed(signed) => signature::verify(signed, headers, body, now),
            _ => Ok(()),
        }
    }

    /// Checks the signature of the parameters. `parsed` is `None` if they cannot be read.
    ///
    /// # Errors
    /// Why the request is refused.
    pub(crate) fn check_parameters(
        &self,
        request: &HttpRequest,
        body: &[u8],
        parsed: Option<&Request<'_>>,
    ) -> Result<(), RefusalReason> {
        let Self::Twilio { tokens, header, public_url } = self else { return Ok(()) };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{public_url}{path}");
        let given = request.headers().get(header);
        let signed = |token| twilio::signed(token, &url, (given, request.headers()), body, parsed);
        if tokens.iter().any(signed) { Ok(()) } else { Err(RefusalReason::Signature) }
    }
}

fn source(token: &TokenAuth) -> Option<CredentialSource> {
    match (&token.header, &token.query, token.path) {
        (Some(header), None, false) => Some(CredentialSource::Header(header.0.clone(), token.prefix.clone())),
        (None, Some(query), false) => Some(CredentialSource::Query(query.clone())),
        (None, None, true) => Some(CredentialSource::Path),
        _ => None,
    }
}

/// What a request shows as its token.
fn shown(source: &CredentialSource, request: &HttpRequest) -> Vec<Vec<u8>> {
    match source {
        CredentialSource::Header(name, prefix) => {
            let values = request.headers().get_all(name.as_str());
            let values = values.filter_map(|value| value.as_bytes().strip_prefix(prefix.as_bytes()));
            values.map(|token| token.trim_ascii().to_vec()).collect()
        }
        CredentialSource::Query(name) => form_urlencoded::parse(request.query_string().as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_bytes().to_vec())
            .collect(),
        CredentialSource::Path => {
            request.match_info().get("token").map(|it| it.as_bytes().to_vec()).into_iter().collect()
        }
    }
}

/// `username:password` of RFC 7617.
fn basic(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, given) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(6)?;
    let given = BASE64_STANDARD.decode(given.trim_ascii()).ok()?;
    scheme.eq_ignore_ascii_case(b"basic ").then_some(given)
}
