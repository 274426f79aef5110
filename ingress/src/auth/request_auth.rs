//! How a provider's request is authenticated: `receive.auth`.

use super::{
    jwt::Jwt,
    presented::{Presented, RequestFingerprint},
    signature::{Keys, Signature},
    standard_webhooks, twilio,
};
use crate::{
    forms::{Found, Request},
    refusal_reason::RefusalReason,
};
use actix_web::{
    HttpRequest,
    http::{
        Method,
        header::{AUTHORIZATION, HeaderMap},
    },
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
    /// Requests are not authenticated.
    None,
    /// By Basic authentication, with one of the digests of `username:password`.
    Basic(Vec<SecretDigest>),
    /// By a token, with one of the digests.
    Token(CredentialSource, Vec<SecretDigest>),
    /// By a signature in a header.
    Signature(Signature),
    /// By a signed token in a header.
    Jwt(Jwt),
    /// By a Standard Webhooks signature with one of the keys, whose time is within the tolerance.
    StandardWebhooks(Vec<SigningKey>, Duration),
    /// By Twilio's signature of the URL, which begins with `public_url`, and the parameters.
    Twilio { tokens: Vec<Secret>, public_url: String },
    /// A secret or the public URL is missing from the configuration: every request is refused.
    Impossible,
}

/// Where the token is in a request.
#[derive(Debug)]
pub(crate) enum CredentialSource {
    /// In this header, after this prefix.
    Header(String, String),
    /// In this parameter of the query.
    Query(String),
    /// In this parameter of the body, or at this pointer into it.
    Body(String),
    /// At the end of the path, before `/status`.
    Path,
}

impl RequestAuth {
    pub(crate) fn new(backend: &BackendConfig, public_url: Option<&str>) -> Self {
        let settings = &backend.definition.settings;
        Self::ready(&backend.definition.receive.auth, settings, public_url).unwrap_or(Self::Impossible)
    }

    /// `None` if a secret or the public URL is missing.
    fn ready(auth: &ReceiveAuth, settings: &Settings, public_url: Option<&str>) -> Option<Self> {
        if auth.needs_url() {
            public_url?;
        }
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
                let keys = Keys::Hmac(hmac.algorithm, hmac.secret.resolved(settings)?);
                Self::Signature(Signature::new(&hmac.shape(), keys, public_url))
            }
            ReceiveAuth::Ed25519(ed25519) => {
                let keys = Keys::Ed25519(ed25519.keys(settings)?);
                Self::Signature(Signature::new(&ed25519.shape(), keys, public_url))
            }
            ReceiveAuth::Jwt(jwt) => Self::Jwt(Jwt::new(jwt, jwt.secret.resolved(settings)?, public_url)),
            ReceiveAuth::StandardWebhooks { secret, tolerance } => {
                let keys = secret.resolved(settings)?;
                let keys = keys.iter().map(|key| SigningKey::parse(key.expose()).ok());
                Self::StandardWebhooks(keys.collect::<Option<_>>()?, tolerance.0)
            }
            ReceiveAuth::Twilio { token } => {
                Self::Twilio { tokens: token.resolved(settings)?, public_url: public_url?.to_owned() }
            }
        })
    }

    /// The reasons for which a request may be refused.
    pub(crate) fn refusals(&self) -> &'static [RefusalReason] {
        match self {
            Self::None => &[],
            Self::Basic(_) => &[RefusalReason::Password],
            Self::Token(..) => &[RefusalReason::Token],
            Self::Signature(signature) if !signature.is_timed() => {
                &[RefusalReason::Unsigned, RefusalReason::Signature]
            }
            Self::Signature(_) | Self::StandardWebhooks(..) => {
                &[RefusalReason::Unsigned, RefusalReason::Signature, RefusalReason::Stale]
            }
            Self::Jwt(_) => &[
                RefusalReason::Unsigned,
                RefusalReason::Signature,
                RefusalReason::Stale,
                RefusalReason::Claim,
            ],
            Self::Twilio { .. } => &[RefusalReason::Unsigned, RefusalReason::Signature],
            Self::Impossible => &[RefusalReason::Signature],
        }
    }

    /// Whether a request must be authenticated.
    pub(crate) fn is_required(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether the body is needed to authenticate a request.
    pub(crate) fn is_by_body(&self) -> bool {
        match self {
            Self::None | Self::Basic(_) | Self::Impossible => false,
            Self::Token(source, _) => matches!(source, CredentialSource::Body(_)),
            Self::Signature(_) | Self::Jwt(_) | Self::StandardWebhooks(..) | Self::Twilio { .. } => true,
        }
    }

    /// Whether the token is in the path.
    pub(crate) fn in_path(&self) -> bool {
        matches!(self, Self::Token(CredentialSource::Path, _))
    }

    /// Checks the proof in the request's head, before the body is read.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(crate) fn check_head(&self, request: &HttpRequest) -> Result<(), RefusalReason> {
        match self {
            Self::Token(CredentialSource::Body(_), _)
            | Self::None
            | Self::Signature(_)
            | Self::Jwt(_)
            | Self::StandardWebhooks(..)
            | Self::Twilio { .. } => Ok(()),
            Self::Impossible => Err(RefusalReason::Signature),
            Self::Basic(pairs) => {
                let given = basic(request.headers());
                let known = given.is_some_and(|given| pairs.iter().any(|pair| pair.matches(&given)));
                if known { Ok(()) } else { Err(RefusalReason::Password) }
            }
            Self::Token(source, secrets) => {
                let known = shown(source, request).iter().any(|given| is_among(secrets, given));
                if known { Ok(()) } else { Err(RefusalReason::Token) }
            }
        }
    }

    /// Checks the signature in a header, before the body is parsed. Returns the fingerprint by which a
    /// repetition of the request is recognized; `None` if it has none.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(crate) fn check_signature(
        &self,
        request: &Presented<'_>,
    ) -> Result<Option<RequestFingerprint>, RefusalReason> {
        match self {
            Self::Signature(signature) => signature.verify(request),
            Self::Jwt(jwt) => jwt.verify(request).map(Some),
            Self::StandardWebhooks(keys, tolerance) => {
                standard_webhooks::verify(keys, *tolerance, request).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Checks the proof in the parameters. `parsed` is `None` if they cannot be read.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(crate) fn check_parameters(
        &self,
        request: &HttpRequest,
        body: &[u8],
        parsed: Option<&Request<'_>>,
    ) -> Result<(), RefusalReason> {
        match self {
            Self::Token(CredentialSource::Body(name), secrets) => {
                let parsed = parsed.filter(|_| request.method() != Method::GET);
                let given = parsed.map(|parsed| parsed.find(name));
                let known = matches!(given, Some(Found::Text(given)) if is_among(secrets, given.as_bytes()));
                if known { Ok(()) } else { Err(RefusalReason::Token) }
            }
            Self::Twilio { tokens, public_url } => {
                if !request.headers().contains_key(twilio::HEADER) {
                    return Err(RefusalReason::Unsigned);
                }
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let url = format!("{public_url}{path}");
                let signed = |token| twilio::signed(token, &url, request.headers(), body, parsed);
                if tokens.iter().any(signed) { Ok(()) } else { Err(RefusalReason::Signature) }
            }
            _ => Ok(()),
        }
    }
}

/// Whether `given` is one of `secrets`. All are compared, so that the time does not show which one matched.
fn is_among(secrets: &[SecretDigest], given: &[u8]) -> bool {
    secrets.iter().filter(|secret| secret.matches(given)).count() > 0
}

fn source(token: &TokenAuth) -> Option<CredentialSource> {
    match (&token.header, &token.query, &token.body, token.path) {
        (Some(header), None, None, false) => {
            Some(CredentialSource::Header(header.0.clone(), token.prefix.clone()))
        }
        (None, Some(query), None, false) => Some(CredentialSource::Query(query.clone())),
        (None, None, Some(body), false) => Some(CredentialSource::Body(body.clone())),
        (None, None, None, true) => Some(CredentialSource::Path),
        _ => None,
    }
}

/// The values that a request gives as its token.
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
        // It is checked when the parameters have been read.
        CredentialSource::Body(_) => Vec::new(),
    }
}

/// The `username:password` of Basic authentication (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, given) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(6)?;
    let given = BASE64_STANDARD.decode(given.trim_ascii()).ok()?;
    scheme.eq_ignore_ascii_case(b"basic ").then_some(given)
}
