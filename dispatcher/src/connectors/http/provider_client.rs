//! The HTTP client of one backend, with the access token or the signature of its requests.

use crate::outgoing::{
    access_token::TokenSource,
    answer::ProviderAnswer,
    aws_sigv4::AwsSigner,
    classify::Classifier,
    client::{ClientTls, client, client_through, proxy},
};
use jiff::Timestamp;
use postern_config::{
    KeyProblem,
    backend::{BackendConfig, send::Send as SendTable},
};
use postern_shared::error::Failure;
use reqwest::{Client, Proxy, Request, StatusCode, header::AUTHORIZATION};
use std::{sync::OnceLock, time::Duration};

/// Makes the requests of one backend.
#[derive(Debug)]
pub(super) struct ProviderClient {
    proof: Proof,
    timeout: Duration,
    /// `None` if the URLs need no TLS.
    tls: Option<ClientTls>,
    /// `None` if requests go directly to the provider.
    proxy: Option<Proxy>,
    /// Built with the first request: a backend that makes none costs nothing.
    client: OnceLock<Result<Client, String>>,
}

/// The proof that each request carries in addition to fixed credentials.
#[derive(Debug)]
enum Proof {
    /// No further proof.
    None,
    /// An access token.
    Token(Box<TokenSource>),
    /// A signature.
    Signature(Box<AwsSigner>),
}

impl ProviderClient {
    /// The client of `backend`, as `table` says, whose `auth` has its secrets resolved. `tls` is used if
    /// the table has no TLS settings.
    ///
    /// # Errors
    /// The key below the backend's that is wrong, and why.
    pub(super) fn new(
        backend: &BackendConfig,
        table: &SendTable,
        tls: Option<&ClientTls>,
    ) -> Result<Self, KeyProblem> {
        let (settings, auth, timeout) = (&backend.definition.settings, table.auth.as_ref(), table.timeout.0);
        let token = TokenSource::new(&backend.name, auth, settings, timeout)?;
        let signer = AwsSigner::new(auth, settings)?;
        let proof = match (token, signer) {
            (Some(token), _) => Proof::Token(Box::new(token)),
            (None, Some(signer)) => Proof::Signature(Box::new(signer)),
            (None, None) => Proof::None,
        };
        let url = table.proxy.as_ref().and_then(|url| url.resolved(settings));
        let proxy = url.as_ref().map(proxy).transpose().map_err(|why| ("send.proxy".to_owned(), why))?;
        let tls = match &table.tls {
            Some(own) => Some(ClientTls::of_provider(own)?),
            None => tls.cloned(),
        };
        Ok(Self { proof, timeout, tls, proxy, client: OnceLock::new() })
    }

    /// How long [`ask`](Self::ask) may take.
    pub(super) fn longest(&self) -> Duration {
        match self.proof {
            Proof::None | Proof::Signature(_) => self.timeout,
            // A token and the request, then both again.
            Proof::Token(_) => self.timeout * 4,
        }
    }

    /// Makes `request` and returns the provider's answer. If the provider refuses the access token, makes
    /// the request once more with a new token.
    ///
    /// # Errors
    /// There was no answer, or no access token. `classifier` says what a missing answer means.
    pub(super) async fn ask(
        &self,
        request: Request,
        classifier: &Classifier,
    ) -> Result<ProviderAnswer, Failure> {
        let build = || match &self.proxy {
            None => client(self.timeout, self.tls.as_ref()),
            Some(proxy) => client_through(proxy, self.timeout, self.tls.as_ref()),
        };
        let client = self.client.get_or_init(build);
        let client = client.as_ref().map_err(|why| Failure::config("client", why.clone()))?;
        match &self.proof {
            Proof::None => execute(client, request, classifier).await,
            Proof::Signature(signer) => {
                let mut request = request;
                signer.sign(&mut request, Timestamp::now());
                execute(client, request, classifier).await
            }
            Proof::Token(source) => {
                let mut rejected = None;
                loop {
                    let token = source.token(client, rejected.as_ref()).await?;
                    classifier.redactor.hide(token.text.expose());
                    // Never fails: the body is bytes.
                    let Some(mut attempt) = request.try_clone() else {
                        return Err(Failure::config("request", "the request cannot be repeated"));
                    };
                    attempt.headers_mut().insert(AUTHORIZATION, token.header.clone());
                    let answer = execute(client, attempt, classifier).await?;
                    if answer.status != StatusCode::UNAUTHORIZED || rejected.is_some() {
                        return Ok(answer);
                    }
                    rejected = Some(token);
                }
            }
        }
    }
}

async fn execute(
    client: &Client,
    request: Request,
    classifier: &Classifier,
) -> Result<ProviderAnswer, Failure> {
    match client.execute(request).await {
        Ok(response) => Ok(ProviderAnswer::read(response, classifier.most_of_answer()).await),
        Err(error) => Err(classifier.no_answer(&error)),
    }
}
