//! Access tokens by OAuth 2.0 (RFC 6749): fetched when one is needed, shared by all requests of a backend
//! until shortly before they end.

use super::{
    answer::{MAX_BODY, ProviderAnswer},
    classify::Classifier,
    redact::{Redactor, credentials},
};
use jiff::Timestamp;
use postern_config::{
    KeyProblem,
    backend::send_auth::{ClientAuth, Grant, OAuth2, SendAuth},
};
use postern_shared::{
    error::{Failure, FailureClass},
    message::BackendName,
    value::{Secret, Settings},
};
use reqwest::{
    Client, Method, Request, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, time::timeout_at};
use url::form_urlencoded;

/// How long a token is used if its answer does not say: RFC 6749, 5.1, only recommends that it does.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The longest time for which a token is used, even if its answer says more.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// A token is no longer used this long before its end, or in the last quarter of its life if that is shorter: a
/// request takes its time to arrive.
const SLACK: Duration = Duration::from_secs(60);

/// Where the access tokens of one backend come from, and the token that it has.
#[derive(Debug)]
pub(crate) struct TokenSource {
    backend: BackendName,
    url: Url,
    headers: HeaderMap,
    body: String,
    timeout: Duration,
    classifier: Classifier,
    /// Held while a token is fetched: other requests wait for that one instead of fetching another.
    state: Mutex<TokenState>,
}

/// A token, and the header in which requests show it.
#[derive(Debug)]
pub(crate) struct AccessToken {
    /// The `Authorization` header.
    pub(crate) header: HeaderValue,
    /// The token itself.
    pub(crate) text: Secret,
}

#[derive(Debug, Default)]
struct TokenState {
    held: Option<HeldToken>,
    /// The last fetch, if it failed: requests that waited for it do not repeat it.
    failed: Option<(Instant, Failure)>,
}

#[derive(Debug)]
struct HeldToken {
    token: Arc<AccessToken>,
    until: Instant,
}

impl TokenSource {
    /// The source of the tokens of `backend` that `auth` describes, whose secrets are resolved. `None` if
    /// `auth` needs no token.
    ///
    /// # Errors
    /// The key below the backend's that is wrong, and why.
    pub(crate) fn new(
        backend: &BackendName,
        auth: Option<&SendAuth>,
        settings: &Settings,
        timeout: Duration,
    ) -> Result<Option<Self>, KeyProblem> {
        let Some(SendAuth::Oauth2(table)) = auth else { return Ok(None) };
        let wrong = |key: &str, why: &str| (format!("send.auth.oauth2.{key}"), why.to_owned());
        let url = Url::parse(&table.token_url.render(settings)).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| wrong("token_url", "the result of the template is not an http URL"))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        if let Some(header) = client_header(table) {
            headers.insert(AUTHORIZATION, header);
        }
        let secrets = auth.iter().flat_map(|auth| auth.secrets()).map(|(_, secret)| secret);
        let shown = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let redactor = Redactor::hiding(&credentials(secrets, shown));
        Ok(Some(Self {
            backend: backend.clone(),
            url,
            headers,
            body: body(table, settings),
            timeout,
            classifier: Classifier::by_status(redactor),
            state: Mutex::default(),
        }))
    }

    /// The token for a request, fetched with `client` if there is no valid one. `rejected` is a token that
    /// the provider has just refused.
    ///
    /// # Errors
    /// There is no token at present, and the failure says why. Nothing was sent.
    pub(crate) async fn token(
        &self,
        client: &Client,
        rejected: Option<&Arc<AccessToken>>,
    ) -> Result<Arc<AccessToken>, Failure> {
        let asked = Instant::now();
        let deadline = asked + self.timeout;
        let late = |_| Failure::transient("token_timeout", "the token endpoint did not answer in time");
        let mut state = timeout_at(deadline.into(), self.state.lock()).await.map_err(late)?;
        let is_good = |held: &&HeldToken| {
            held.until > Instant::now() && !rejected.is_some_and(|other| Arc::ptr_eq(other, &held.token))
        };
        if let Some(held) = state.held.as_ref().filter(is_good) {
            return Ok(Arc::clone(&held.token));
        }
        if let Some((at, failure)) = &state.failed
            && *at >= asked
        {
            return Err(failure.clone());
        }
        state.held = None;
        match self.fetch(client, deadline).await {
            Ok(held) => {
                let token = Arc::clone(&held.token);
                *state = TokenState { held: Some(held), failed: None };
                Ok(token)
            }
            Err(failure) => {
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn fetch(&self, client: &Client, deadline: Instant) -> Result<HeldToken, Failure> {
        let begun = Instant::now();
        let fetched = self.ask(client, deadline - begun).await.and_then(|answer| held(&answer, begun));
        let backend = self.backend.as_str();
        match &fetched {
            Ok(held) => {
                let valid_seconds = held.until.duration_since(begun).as_secs();
                tracing::info!(backend, valid_seconds, "access token fetched");
            }
            Err(Failure { class, code, unreached, .. }) => {
                let host = unreached.as_ref().and_then(|unreached| unreached.host.as_deref());
                let reason = unreached.as_ref().map(|unreached| unreached.reason);
                let (class, code) = (class.as_str(), &**code);
                tracing::warn!(
                    backend,
                    class,
                    code,
                    host,
                    reason,
                    "access token not fetched, so the request was not made"
                );
            }
        }
        fetched
    }

    /// Requests a token, and returns what the token endpoint answers within `time`.
    ///
    /// # Errors
    /// The endpoint did not answer, or refused.
    async fn ask(&self, client: &Client, time: Duration) -> Result<ProviderAnswer, Failure> {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.timeout_mut() = Some(time);
        request.headers_mut().clone_from(&self.headers);
        *request.body_mut() = Some(self.body.clone().into());
        let answer = match client.execute(request).await {
            Ok(response) => ProviderAnswer::read(response, MAX_BODY).await,
            Err(error) => return Err(of_endpoint(self.classifier.no_answer(&error))),
        };
        match self.classifier.classify(&answer, Timestamp::now()) {
            Ok(_) => Ok(answer),
            Err(failure) => Err(of_endpoint(failure)),
        }
    }
}

/// The meaning of a `failure` of the token endpoint for the message, of which nothing was sent.
fn of_endpoint(failure: Failure) -> Failure {
    let Failure { class, code, detail, .. } = &failure;
    let told = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    match class {
        FailureClass::Transient | FailureClass::Throttled => {
            let (code, detail) = (format!("token_{code}"), format!("the token endpoint{told}"));
            Failure { code: code.into(), detail, ..failure }
        }
        // The token endpoint may have got its request, but the message was not sent.
        FailureClass::Unknown => {
            let (code, detail) = (format!("token_{code}"), format!("the token endpoint{told}"));
            Failure { class: FailureClass::Transient, code: code.into(), detail, ..failure }
        }
        // RFC 6749, 5.2: a refusal means that the configuration is wrong.
        FailureClass::Permanent | FailureClass::Config => {
            let detail = format!("the token endpoint refused send.auth.oauth2 ({code}){told}");
            Failure { class: FailureClass::Config, code: "token_refused".into(), detail, ..failure }
        }
    }
}

/// The token in `answer` to a request that began at `begun`.
fn held(answer: &ProviderAnswer, begun: Instant) -> Result<HeldToken, Failure> {
    let why = "the token endpoint answered without an access_token";
    let none = || Failure::config("token_missing", why);
    let answer: Value = serde_json::from_str(answer.body.text()).map_err(|_| none())?;
    let text = answer.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    let text = text.ok_or_else(none)?;
    let mut header = HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| none())?;
    header.set_sensitive(true);
    let seconds = answer.get("expires_in").and_then(|said| match said {
        Value::Number(seconds) => seconds.as_f64(),
        Value::String(seconds) => seconds.trim().parse().ok(),
        _ => None,
    });
    let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let lifetime = lifetime.unwrap_or(ASSUMED_LIFETIME).min(LONGEST_LIFETIME);
    let until = begun + (lifetime - SLACK.min(lifetime / 4));
    Ok(HeldToken { token: Arc::new(AccessToken { header, text: text.to_owned().into() }), until })
}

/// The `Authorization` header of a request for a token. RFC 6749, 2.3.1, wants both parts form-encoded.
fn client_header(table: &OAuth2) -> Option<HeaderValue> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let id = table.client_id.as_ref().filter(|_| table.client_auth == ClientAuth::Basic)?;
    let encoded =
        |secret: &Secret| -> String { form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect() };
    let pair = format!("{}:{}", encoded(id), table.client_secret.as_ref().map(encoded).unwrap_or_default());
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The body of a request for a token.
fn body(table: &OAuth2, settings: &Settings) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", table.grant.as_str());
    let mut secret = |name: &str, secret: Option<&Secret>| {
        if let Some(secret) = secret {
            form.append_pair(name, secret.expose());
        }
    };
    if table.client_auth == ClientAuth::Form {
        secret("client_id", table.client_id.as_ref());
        secret("client_secret", table.client_secret.as_ref());
    }
    if table.grant == Grant::Password {
        secret("username", table.username.as_ref());
        secret("password", table.password.as_ref());
    }
    if let Some(scope) = table.scope.as_ref().and_then(|scope| scope.render(settings)) {
        form.append_pair("scope", &scope);
    }
    for (name, value) in &table.form {
        if let Some(value) = value.render(settings) {
            form.append_pair(name, &value);
        }
    }
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::{Config, ProviderRegistry};
    use reqwest::header::HeaderMap;

    fn answer(body: &str) -> ProviderAnswer {
        ProviderAnswer { status: 200, headers: HeaderMap::new(), body: body.into(), complete: true }
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        let begun = Instant::now();
        for (body, seconds) in [
            (r#"{"access_token":"t","expires_in":3600}"#, 3540),
            (r#"{"access_token":"t","expires_in":"3600"}"#, 3540),
            (r#"{"access_token":"t","expires_in":40}"#, 30),
            (r#"{"access_token":"t","expires_in":-1}"#, 240),
            (r#"{"access_token":"t","expires_in":1e300}"#, 240),
            (r#"{"access_token":"t","expires_in":7776000}"#, 24 * 3600 - 60),
            (r#"{"access_token":"t"}"#, 240),
        ] {
            let held = held(&answer(body), begun).unwrap();
            assert_eq!(held.until - begun, Duration::from_secs(seconds), "{body}");
            assert_eq!(held.token.header, "Bearer t");
            assert!(!format!("{held:?}").contains("Bearer"), "it prints");
        }
        for body in
            ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, r#"{"access_token":"\n"}"#]
        {
            let failure = held(&answer(body), begun).unwrap_err();
            assert_eq!((failure.class, &*failure.code), (FailureClass::Config, "token_missing"), "{body}");
        }
    }

    #[test]
    fn a_request_for_a_token_says_what_the_table_says() {
        for (table, header, body) in [
            (
                "client_id = \"{{ settings.id }}\"\nclient_secret = \"s+/\"",
                Some("Basic aSU0MGQ6cyUyQiUyRg=="),
                "grant_type=client_credentials",
            ),
            (
                "client_id = \"i\"\nclient_secret = \"s\"\nclient_auth = \"form\"\nscope = \"a b\"\nform = { audience = \"{{ settings.id }}\", absent = \"{{ settings.no or '' }}\" }",
                None,
                "grant_type=client_credentials&client_id=i&client_secret=s&scope=a+b&audience=i%40d",
            ),
            (
                "grant = \"password\"\nusername = \"u\"\npassword = \"p&\"",
                None,
                "grant_type=password&username=u&password=p%26",
            ),
        ] {
            let text = format!(
                "[backends.x]\ntype = \"http\"\n[backends.x.settings]\nid = \"i@d\"\n[backends.x.send]\n\
                 url = \"http://h/\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n\
                 [backends.x.send.auth.oauth2]\ntoken_url = \"http://h/token\"\n{table}\n"
            );
            let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
            let backend = config.backends.values().next().unwrap();
            let settings = &backend.definition.settings;
            let auth = backend.definition.connector.http().unwrap().auth.as_ref().unwrap().resolved(settings);
            let source = TokenSource::new(&backend.name, auth.as_ref(), settings, Duration::from_secs(1));
            let source = source.unwrap().unwrap();
            let shown = source.headers.get(AUTHORIZATION).map(|header| header.to_str().unwrap());
            assert_eq!((shown, source.body.as_str()), (header, body));
        }
    }
}
