//! A client of a running gateway's admin port.

use crate::admin_target::{AdminTarget, TOKEN};
use anyhow::{Context, anyhow};
use postern_service::program::Exit;
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect::Policy};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A client of a gateway's admin port.
pub(crate) struct AdminClient {
    client: Client,
    url: Url,
    /// `None`: none is sent. A port on a loopback address may need none.
    token: Option<String>,
}

impl AdminClient {
    /// A client of the admin port at `url`, with the token of `target`.
    ///
    /// # Errors
    /// [`Exit::Config`] for a URL or a token that cannot be used.
    pub(crate) fn new(url: &str, target: &AdminTarget) -> Result<Self, Exit> {
        let wrong = |why: String| Exit::Config(format!("--admin: {why}"));
        let url: Url = url.parse().map_err(|error| wrong(format!("{error}; allowed: http://HOST:PORT")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("allowed: http://HOST:PORT or https://HOST:PORT".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!(
                "must not contain a user name or password: set {TOKEN} or use --token-file"
            )));
        }
        let token = target.token()?;
        // Fails if another part of the program has installed a provider, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No timeout: a command on many messages may take long.
        #[expect(
            clippy::disallowed_methods,
            reason = "follows no redirect and no proxy; the operator's own gateway"
        )]
        let client = Client::builder().redirect(Policy::none()).no_proxy().build();
        Ok(Self { client: client.context("cannot create the HTTP client")?, url, token })
    }

    /// The URL of the resource at `segments` below `/v1`.
    ///
    /// # Errors
    /// [`Exit::Config`]: the URL cannot have a path.
    pub(crate) fn path(&self, segments: &[&str]) -> Result<Url, Exit> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Exit::Config("--admin: allowed: http://HOST:PORT".to_owned()))?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        Ok(url)
    }

    /// A GET request for `url`.
    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// A POST request to `url`.
    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// Sends `request`, and reads the answer.
    ///
    /// # Errors
    /// What [`send`](Self::send) and [`read`](Self::read) return.
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
        let answer = answer.with_context(|| {
            let url = &self.url;
            format!(
                "the admin port at {url} does not answer: start the gateway, or name its port with --admin"
            )
        })?;
        let status = answer.status();
        Ok((status, answer.bytes().await.map_err(reqwest::Error::without_url)?.to_vec()))
    }

    /// Reads the JSON of an answer.
    ///
    /// # Errors
    /// [`Exit::Config`]: the gateway finds a mistake in the request. [`Exit::Failed`]: it refuses the request for
    /// another reason, or the answer is not an admin port's.
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
                let detail = problem["detail"].as_str().map(str::to_owned);
                // Refusals come before any handler, as one line of plain text.
                let line = || str::from_utf8(body).ok().map(str::trim).filter(|line| !line.is_empty());
                detail.or_else(|| line().map(str::to_owned)).unwrap_or_else(|| status.to_string())
            }
        };
        let why = format!("the admin port at {}: {why}", self.url);
        // As if this program had found the mistake itself.
        Err(match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Exit::Config(why),
            _ => Exit::Failed(anyhow!(why)),
        })
    }
}
