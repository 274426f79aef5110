//! A running gateway, through its admin port.

use super::target::{TOKEN, Target};
use anyhow::{Context, anyhow};
use postern_service::{admin::orders::Plain, program::Exit};
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect::Policy};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A gateway's admin port.
pub(super) struct Remote {
    client: Client,
    url: Url,
    /// A port on a loopback address may ask for none.
    token: Option<String>,
}

impl Remote {
    /// The one at `url`.
    ///
    /// # Errors
    /// [`Exit::Config`] for a URL or a token that cannot be used.
    pub(super) fn new(url: &str, target: &Target) -> Result<Self, Exit> {
        let wrong = |why: String| Exit::Config(format!("--admin: {why}"));
        let url: Url = url.parse().map_err(|error| wrong(format!("{error}; allowed is http://HOST:PORT")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("allowed is http://HOST:PORT or https://HOST:PORT".to_owned()));
        }
        let token = match (&target.token_file, &target.token) {
            (Some(path), _) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|error| Exit::Config(format!("--token-file: {}: {error}", path.display())))?;
                Some(token.trim().to_owned())
            }
            (None, token) => token.clone(),
        };
        // Where another part of the program was first, that one stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No time-out: going through many messages takes as long as it takes.
        #[expect(clippy::disallowed_methods, reason = "follows neither; the operator's own gateway")]
        let client = Client::builder().redirect(Policy::none()).no_proxy().build();
        Ok(Self { client: client.context("cannot make requests")?, url, token })
    }

    fn path(&self, segments: &[&str]) -> Result<Url, Exit> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Exit::Config("--admin: allowed is http://HOST:PORT".to_owned()))?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        Ok(url)
    }

    /// Gives an order that says nothing but who gives it.
    pub(super) async fn order<T: DeserializeOwned>(&self, segments: &[&str], by: &str) -> Result<T, Exit> {
        self.post(segments, &Plain { by: Some(by.to_owned()) }).await
    }

    /// Asks for what is there.
    pub(super) async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, Exit> {
        self.ask(self.client.get(self.path(segments)?)).await
    }

    /// Gives an order.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        order: &impl Serialize,
    ) -> Result<T, Exit> {
        self.ask(self.client.post(self.path(segments)?).json(order)).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the operator's own gateway, and all of its answer is wanted"
    )]
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Exit> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("the admin port at {} does not answer", self.url))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(reqwest::Error::without_url)?;
        if status.is_success() {
            let read = serde_json::from_slice(&body);
            return Ok(read.with_context(|| format!("{} does not answer as an admin port", self.url))?);
        }
        let why = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                format!("it asks for its admin.token: set {TOKEN}, or --token-file")
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => "it refuses the token: is it its admin.token?".to_owned(),
            _ => {
                let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
                problem["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned)
            }
        };
        Err(Exit::Failed(anyhow!("the admin port at {}: {why}", self.url)))
    }
}
