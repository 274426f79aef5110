//! How a backend's requests authenticate themselves: `[backends.NAME.send]`, `auth`.

use super::template::{Template, UrlTemplate};
use indexmap::IndexMap;
use minijinja::{Value, context, value::Serde};
use postern_shared::value::{Secret, Settings};
use serde::{Deserialize, Deserializer, de};

/// The names that the templates here may use. They make the same for every request.
const SETTINGS: [&str; 1] = ["settings"];

/// The `Authorization` header, the same in every request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// RFC 7617.
    Basic {
        /// The user name, which must not contain a colon.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// RFC 6750.
    Bearer(Secret),
}

/// How a backend's requests authenticate themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SendAuth {
    /// RFC 7617.
    Basic {
        /// The user name, which must not contain a colon.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// RFC 6750.
    Bearer(Secret),
    /// OAuth 2 (RFC 6749): an access token that the provider issues for a limited time, sent as a bearer token
    /// (RFC 6750).
    Oauth2(Box<OAuth2>),
    /// AWS Signature Version 4: each request is signed.
    AwsSigv4(Box<AwsSigV4>),
}

/// Where access tokens come from, and what is sent to get one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: SettingsUrl,
    /// The grant type.
    #[serde(default)]
    pub grant: Grant,
    /// The client's id. Required unless the grant is `password`.
    pub client_id: Option<Secret>,
    /// The client's secret. Required unless the grant is `password`.
    pub client_secret: Option<Secret>,
    /// Where the request for a token holds the client's id and secret.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The account's name, for the grant `password`.
    pub username: Option<Secret>,
    /// The account's password, for the grant `password`.
    pub password: Option<Secret>,
    /// The scope to ask for. `None`: the provider's default.
    pub scope: Option<SettingsTemplate>,
    /// Further parameters of the request, such as `audience`.
    #[serde(default)]
    pub form: IndexMap<String, SettingsTemplate>,
}

/// The grant type of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The client's own id and secret (RFC 6749, 4.4).
    #[default]
    ClientCredentials,
    /// An account's name and password (RFC 6749, 4.3).
    Password,
}

impl Grant {
    /// The value of `grant_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
        }
    }
}

/// Where a request for a token holds the client's id and secret (RFC 6749, 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// In the `Authorization` header.
    #[default]
    Basic,
    /// In the body, as `client_id` and `client_secret`.
    Form,
}

/// What requests are signed with, by AWS Signature Version 4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSigV4 {
    /// The AWS region, such as `eu-west-1`.
    pub region: SettingsTemplate,
    /// The service's name in signatures, such as `sms-voice`.
    pub service: SettingsTemplate,
    /// The id of the access key.
    pub access_key_id: Secret,
    /// The access key itself.
    pub secret_access_key: Secret,
    /// The session token, for temporary credentials.
    pub session_token: Option<Secret>,
}

/// A template over the backend's settings only.
#[derive(Debug, Clone)]
pub struct SettingsTemplate(Template);

/// The template of a URL over the backend's settings only.
#[derive(Debug, Clone)]
pub struct SettingsUrl(UrlTemplate);

impl Auth {
    /// Every secret in it.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Basic { username, password } => vec![username, password],
            Self::Bearer(token) => vec![token],
        }
    }
}

impl SendAuth {
    /// The header that all requests share. `None` if the header differs between requests.
    pub fn fixed(&self) -> Option<Auth> {
        match self {
            Self::Basic { username, password } => {
                Some(Auth::Basic { username: username.clone(), password: password.clone() })
            }
            Self::Bearer(token) => Some(Auth::Bearer(token.clone())),
            Self::Oauth2(_) | Self::AwsSigv4(_) => None,
        }
    }

    /// The table with its secrets replaced by the settings that they name. `None` if a required setting is
    /// missing: then requests are not authenticated.
    pub fn resolved(&self, settings: &Settings) -> Option<Self> {
        let option = |secret: &Option<Secret>| secret.as_ref().and_then(|secret| secret.resolved(settings));
        let needed = |secret: &Option<Secret>| match secret {
            Some(secret) => secret.resolved(settings).map(Some),
            None => Some(None),
        };
        Some(match self {
            Self::Basic { username, password } => {
                Self::Basic { username: username.resolved(settings)?, password: password.resolved(settings)? }
            }
            Self::Bearer(token) => Self::Bearer(token.resolved(settings)?),
            Self::Oauth2(table) => Self::Oauth2(Box::new(OAuth2 {
                client_id: needed(&table.client_id)?,
                client_secret: needed(&table.client_secret)?,
                username: needed(&table.username)?,
                password: needed(&table.password)?,
                ..(**table).clone()
            })),
            Self::AwsSigv4(table) => Self::AwsSigv4(Box::new(AwsSigV4 {
                access_key_id: table.access_key_id.resolved(settings)?,
                secret_access_key: table.secret_access_key.resolved(settings)?,
                session_token: option(&table.session_token),
                ..(**table).clone()
            })),
        })
    }

    /// Every secret in it, with its key below `send.auth`.
    pub fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        match self {
            Self::Basic { username, password } => {
                vec![("basic.username", username), ("basic.password", password)]
            }
            Self::Bearer(token) => vec![("bearer", token)],
            Self::Oauth2(table) => {
                let all = [
                    ("oauth2.client_id", &table.client_id),
                    ("oauth2.client_secret", &table.client_secret),
                    ("oauth2.username", &table.username),
                    ("oauth2.password", &table.password),
                ];
                all.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?))).collect()
            }
            Self::AwsSigv4(table) => {
                let session = table.session_token.iter().map(|token| ("aws_sigv4.session_token", token));
                [
                    ("aws_sigv4.access_key_id", &table.access_key_id),
                    ("aws_sigv4.secret_access_key", &table.secret_access_key),
                ]
                .into_iter()
                .chain(session)
                .collect()
            }
        }
    }

    /// The template of the token endpoint's URL, as the configuration writes it. `None` if there is no endpoint.
    pub(crate) fn token_url(&self) -> Option<&str> {
        match self {
            Self::Oauth2(table) => Some(table.token_url.0.source()),
            _ => None,
        }
    }

    /// The source of every template in it, with its key below `send`.
    pub(super) fn sources(&self) -> Vec<(String, &str)> {
        match self {
            Self::Basic { .. } | Self::Bearer(_) => Vec::new(),
            Self::Oauth2(table) => {
                let url = [("auth.oauth2.token_url".to_owned(), table.token_url.0.source())];
                let scope =
                    table.scope.iter().map(|scope| ("auth.oauth2.scope".to_owned(), scope.0.source()));
                let form = table
                    .form
                    .iter()
                    .map(|(name, value)| (format!("auth.oauth2.form.{name}"), value.0.source()));
                url.into_iter().chain(scope).chain(form).collect()
            }
            Self::AwsSigv4(table) => vec![
                ("auth.aws_sigv4.region".to_owned(), table.region.0.source()),
                ("auth.aws_sigv4.service".to_owned(), table.service.0.source()),
            ],
        }
    }

    /// The mistakes that the types do not rule out: a key below `send`, and what is wrong.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let Self::Oauth2(table) = self else { return Vec::new() };
        let mut wrong = Vec::new();
        let mut check = |key: &str, is_wrong: bool, why: &str| {
            if is_wrong {
                wrong.push((format!("auth.oauth2.{key}"), why.to_owned()));
            }
        };
        let OAuth2 { grant, client_id, client_secret, username, password, form, .. } = &**table;
        match grant {
            Grant::ClientCredentials => {
                let needed = "is missing: the token endpoint requires the client's id and secret";
                check("client_id", client_id.is_none(), needed);
                check("client_secret", client_secret.is_none(), needed);
                let unused = "has no effect: only grant = \"password\" uses it";
                check("username", username.is_some(), unused);
                check("password", password.is_some(), unused);
            }
            Grant::Password => {
                let needed = "is missing: grant = \"password\" requires an account";
                check("username", username.is_none(), needed);
                check("password", password.is_none(), needed);
                let alone = "must not be set without client_id";
                check("client_secret", client_id.is_none() && client_secret.is_some(), alone);
            }
        }
        for name in ["grant_type", "scope", "client_id", "client_secret", "username", "password"] {
            check(
                &format!("form.{name}"),
                form.contains_key(name),
                "must not be set here: use its own key in auth.oauth2",
            );
        }
        wrong
    }
}

/// The values for templates over the settings.
fn scope(settings: &Settings) -> Value {
    context! { settings => Value::from(Serde(settings.expose())) }
}

impl SettingsTemplate {
    /// The text for `settings`. `None` if it is empty, since a setting is missing.
    pub fn render(&self, settings: &Settings) -> Option<String> {
        self.0.render(&scope(settings)).ok().filter(|text| !text.is_empty())
    }
}

impl SettingsUrl {
    /// The URL for `settings`, not parsed yet.
    pub fn render(&self, settings: &Settings) -> String {
        self.0.render(&scope(settings)).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for SettingsTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Template::seeing(&source, &SETTINGS).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SettingsUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        UrlTemplate::seeing(&source, &SETTINGS).map(Self).map_err(de::Error::custom)
    }
}
