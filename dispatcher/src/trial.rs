//! Shows what a backend would send, and what an answer would mean, with the functions that send but without
//! a request.

use crate::{
    connectors::http::{ClientTls, Http},
    outcome::Outcome,
    outgoing::{answer::ProviderAnswer, redact::Redactor},
};
use postern_config::{
    KeyProblem,
    backend::{BackendConfig, send_auth::SendAuth},
};
use postern_shared::{error::Failure, message::Outbound, text::policy::TextPolicy};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// A trial of a backend that sends over HTTP.
#[derive(Debug)]
pub struct SendTrial {
    http: Http,
    text: TextPolicy,
    recipients_per_request: usize,
    /// The scheme of an `Authorization` that is made only with a real request: an access token or a
    /// signature.
    later: Option<&'static str>,
    /// Knows the secrets among the settings.
    redactor: Redactor,
}

/// A request that would be made. Secrets are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedRequest {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// The headers that the backend sets, in order of their names.
    pub headers: Vec<(String, String)>,
    /// The body; empty if there is none.
    pub body: String,
}

impl SendTrial {
    /// A trial of `backend`. `None` if it does not send over HTTP.
    ///
    /// # Errors
    /// Every key below the backend's that is wrong.
    pub fn new(backend: &BackendConfig) -> Result<Option<Self>, Vec<KeyProblem>> {
        let definition = &backend.definition;
        let Some(table) = definition.connector.http() else { return Ok(None) };
        let later = match &table.auth {
            Some(SendAuth::Oauth2(_)) => Some("Bearer"),
            Some(SendAuth::AwsSigv4(_)) => Some("AWS4-HMAC-SHA256"),
            Some(SendAuth::Basic { .. } | SendAuth::Bearer(_)) | None => None,
        };
        let mut secrets = Vec::new();
        for (name, value) in definition.settings.expose() {
            if definition.is_secret_setting(name) {
                texts(value, &mut secrets);
            }
        }
        Ok(Some(Self {
            http: Http::new(backend, &ClientTls::default())?,
            text: definition.text.clone(),
            recipients_per_request: definition.connector.calls().recipients_per_request(),
            later,
            redactor: Redactor::hiding(&secrets),
        }))
    }

    /// The requests that would be made for `message`: for each part of its text, one for every group of
    /// recipients that fits into a request.
    ///
    /// # Errors
    /// Why one of them would not be made.
    pub fn requests(&self, message: &Outbound) -> Result<Vec<TriedRequest>, Failure> {
        let prepared = self.text.prepare(&message.text, 0);
        let prepared = prepared.map_err(|why| Failure::permanent("text_too_long", why.to_string()))?;
        let mut requests = Vec::new();
        for part in 0..prepared.len() {
            let text = prepared.part(part);
            for identities in message.identities.chunks(self.recipients_per_request) {
                let request = self.http.request(message.id, &text, identities, &message.context)?;
                let hidden = |text: &str| self.redactor.hidden(text);
                let header = |(name, value): (&HeaderName, &HeaderValue)| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    // Hidden as a whole: a password may be too short for the redactor.
                    let scheme = value.split_once(' ').filter(|_| name == AUTHORIZATION);
                    let value =
                        scheme.map_or_else(|| hidden(&value), |(scheme, _)| format!("{scheme} [REDACTED]"));
                    (name.to_string(), value)
                };
                let mut headers: Vec<_> = request.headers().iter().map(header).collect();
                headers.extend(
                    self.later.map(|scheme| (AUTHORIZATION.to_string(), format!("{scheme} [REDACTED]"))),
                );
                headers.sort();
                let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
                requests.push(TriedRequest {
                    method: request.method().to_string(),
                    url: hidden(request.url().as_str()),
                    headers,
                    body: hidden(&String::from_utf8_lossy(body)),
                });
            }
        }
        Ok(requests)
    }

    /// The outcome that an answer with `status`, `headers` and `body` would have.
    pub fn outcome(&self, status: u16, headers: &[(String, String)], body: &[u8]) -> Outcome {
        let headers = headers.iter().filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
        });
        let body = String::from_utf8_lossy(body).into_owned();
        let headers = headers.collect::<HeaderMap>();
        self.http.outcome_of(&ProviderAnswer { status, headers, body: body.into(), complete: true })
    }
}

/// Adds every text in `value` to `found`.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(table) => table.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}
