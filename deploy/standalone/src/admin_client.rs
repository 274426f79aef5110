//! A running gateway, through its admin port.

use crate::admin_target::{AdminTarget, TOKEN};
use anyhow::{Context, anyhow};
use postern_service::program::Exit;
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect::Policy};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A gateway's admin port.
pub(crate) struct AdminClient {
    client: Client,
    url: Url,
    /// A port on a loopback address may ask for none.
    token: Option<String>,
}

impl AdminClient {
    /// The one at `url`, with the token of `target`.
    ///
    /// # Errors
    /// [`Exit::Config`] for a URL or a token that cannot be used.
    pub(crate) fn new(url: &str, target: &AdminTarget) -> Result<Self, Exit> {
        let wrong = |why: String| Exit::Config(format!("--admin: {why}"));
        let url: Url = url.parse().map_err(|error| wrong(format!("{error}; allowed is http://HOST:PORT")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("allowed is http://HOST:PORT or https://HOST:PORT".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!(
                "must not contain a user name or password: set {TOKEN} or use --token-file"
            )));
        }
        let token = target.token()?;
        // Where another part of the program was first, that one stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No time-out: going through many messages takes as long as it takes.
        #[expect(
            clippy::disallowed_methods,
            reason = "follows no redirect and no proxy; the operator's own gateway"
        )]
        let client = Client::builder().redirect(Policy::none()).no_proxy().build();
        Ok(Self { client: client.context("cannot create the HTTP client")?, url, token })
    }

    /// The address of what lies at `segments` below `/v1`.
    ///
    /// # Errors
    /// [`Exit::Config`]: the URL has no path.
    pub(crate) fn path(&self, segments: &[&str]) -> Result<Url, Exit> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Exit::Config("--admin: allowed is http://HOST:PORT".to_owned()))?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        Ok(url)
    }

    /// A request for what is at `url`.
    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// A request that orders something at `url`.
    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// Sends `request`, and reads the answer.
    ///
    /// # Errors
    /// [`Exit::Failed`]: no answer, or one that says why not.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Exit> {
        let (status, body) = self.send(request).await?;
        self.read(status, &body)
    }

    /// Sends `request`.
    ///
    /// # Errors
    /// [`Exit::Failed`]: there is no answer.
    #[expect(
        clippy::disallowed_methods,
        reason = "the operator's own gateway, and all of its answer is wanted"
    )]
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Exit> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("the admin port at {} does not answer", self.url))?;
        let status = answer.status();
        Ok((status, answer.bytes().await.map_err(reqwest::Error::without_url)?.to_vec()))
    }

    /// What an answer holds.
    ///
    /// # Errors
    /// [`Exit::Failed`]: it refuses the request, or is no admin port's.
    pub(crate) fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, Exit> {
        if status.is_success() {
            let read = serde_json::from_slice(body);
            return Ok(
                read.with_context(|| format!("{} does not answer like an admin port of Postern", self.url))?
            );
        }
        let why = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                format!("it requires its admin.token: set {TOKEN} or use --token-file")
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                "it refused the token: use the gateway's admin.token".to_owned()
            }
            _ => {
                let problem: Value = serde_json::from_slice(body).unwrap_or_default();
                problem["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned)
            }
        };
        Err(self.refused(&why))
    }

    /// The end of a command that this port does not carry out.
    pub(crate) fn refused(&self, why: &str) -> Exit {
        Exit::Failed(anyhow!("the admin port at {}: {why}", self.url))
    }
}
