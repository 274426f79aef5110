//! A running gateway, through `/v1/dead` of its admin port.

use super::{
    arguments::{TOKEN, Target},
    operator,
};
use anyhow::{Context, anyhow};
use postern_service::{
    admin::dead::{BY, Order},
    dead::{DeadQueue, Done, Filter, Listing, Summary},
    program::Exit,
};
use reqwest::{Client, RequestBuilder, StatusCode, Url, header::HeaderValue, redirect::Policy};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A gateway's admin port.
pub(super) struct Remote {
    client: Client,
    url: Url,
    token: String,
    /// Who asks.
    by: String,
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
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!("must hold no user and password: set {TOKEN}, or --token-file")));
        }
        let token = match (&target.token_file, &target.token) {
            (Some(path), _) => std::fs::read_to_string(path)
                .map_err(|error| Exit::Config(format!("--token-file: {}: {error}", path.display())))?
                .trim()
                .to_owned(),
            (None, Some(token)) => token.clone(),
            (None, None) => {
                let why = "the gateway asks for its admin.token: set {TOKEN}, or --token-file";
                return Err(Exit::Config(why.replace("{TOKEN}", TOKEN)));
            }
        };
        // Where another part of the program was first, that one stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No time-out: going through many messages takes as long as it takes.
        #[expect(clippy::disallowed_methods, reason = "follows neither; the operator's own gateway")]
        let client = Client::builder().redirect(Policy::none()).no_proxy().build();
        let by = operator::name(target.user.as_deref());
        Ok(Self { client: client.context("cannot make requests")?, url, token, by })
    }

    fn path(&self, more: &[&str]) -> Result<Url, Exit> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Exit::Config("--admin: allowed is http://HOST:PORT".to_owned()))?
            .pop_if_empty()
            .extend(["v1", "dead"])
            .extend(more);
        Ok(url)
    }

    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing<Summary>, Exit> {
        let mut url = self.path(&[])?;
        if let Value::Object(conditions) = serde_json::to_value(filter)? {
            let mut query = url.query_pairs_mut();
            for (name, value) in conditions {
                let values = match value {
                    Value::Array(values) => values,
                    one => vec![one],
                };
                for value in values {
                    query
                        .append_pair(&name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                }
            }
        }
        self.ask(self.client.get(url)).await
    }

    pub(super) async fn show(&self, id: &str, queue: DeadQueue) -> Result<Listing<Value>, Exit> {
        let mut url = self.path(&[id])?;
        if queue == DeadQueue::Unrouted {
            url.set_query(Some("queue=unrouted"));
        }
        let request = self.client.get(url);
        match self.send(request).await? {
            (StatusCode::NOT_FOUND, _) => Ok(Listing::default()),
            (status, body) => self.read(status, &body),
        }
    }

    pub(super) async fn order(&self, what: &str, filter: &Filter, dry_run: bool) -> Result<Done, Exit> {
        let order = Order { filter: filter.clone(), dry_run, all: true };
        let request = self.client.post(self.path(&[what])?).json(&order);
        // A name that no header can hold is left out: the gateway logs the address in any case.
        let request = match HeaderValue::from_str(&self.by) {
            Ok(by) => request.header(BY, by),
            Err(_) => request,
        };
        self.ask(request).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Exit> {
        let (status, body) = self.send(request).await?;
        self.read(status, &body)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the operator's own gateway, and all of its answer is wanted"
    )]
    async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Exit> {
        let answer = request.bearer_auth(&self.token).send().await.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("the admin port at {} does not answer", self.url))?;
        let status = answer.status();
        Ok((status, answer.bytes().await.map_err(reqwest::Error::without_url)?.to_vec()))
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, Exit> {
        if status.is_success() {
            let read = serde_json::from_slice(body);
            return Ok(read.with_context(|| format!("{} does not answer as an admin port", self.url))?);
        }
        let why = match status {
            StatusCode::UNAUTHORIZED => "it refuses the token: is it its admin.token?".to_owned(),
            StatusCode::NOT_FOUND => "it serves no /v1/dead: is its admin.token set?".to_owned(),
            _ => {
                let problem: Value = serde_json::from_slice(body).unwrap_or_default();
                problem["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned)
            }
        };
        Err(Exit::Failed(anyhow!("the admin port at {}: {why}", self.url)))
    }
}
