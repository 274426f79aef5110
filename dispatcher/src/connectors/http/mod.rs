//! The connector `http`: sends as a backend's `send` table says.

mod poller;
mod provider_client;
mod request;
mod scope;

use super::connector::Backend;
pub use crate::outgoing::client::ClientTls;
use crate::{
    outcome::{Outcome, Outcomes, Polled},
    outgoing::{answer::ProviderAnswer, classify::Classifier, redact::Redactor, trace::trace_headers},
};
use async_trait::async_trait;
use jiff::Timestamp;
use poller::Poller;
use postern_config::{
    KeyProblem,
    backend::{
        BackendConfig,
        send::{Recipients, Send as SendTable},
        send_auth::SendAuth,
    },
};
use postern_service::traces::{Scope, TraceSpan};
use postern_shared::{
    error::Failure,
    message::{BackendName, Context, Identity, MessageId, Poll},
};
use provider_client::ProviderClient;
use request::Plan;
use reqwest::{Request, header::AUTHORIZATION};
use scope::{Constants, RequestScope};
use std::time::Duration;

/// The time that a call may take in addition to its requests.
const MARGIN: Duration = Duration::from_secs(5);

/// Sends over HTTP as a backend's `send` table says.
#[derive(Debug)]
pub struct Http(Way);

#[derive(Debug)]
enum Way {
    /// The backend has no `send` table.
    ReceivesOnly(BackendName),
    Sends(Box<Sender>),
}

#[derive(Debug)]
struct Sender {
    plan: Plan,
    constants: Constants,
    classifier: Classifier,
    recipients: Recipients,
    separator: String,
    /// The most identities of one request.
    recipients_per_request: usize,
    client: ProviderClient,
    poller: Option<Poller>,
}

impl Http {
    /// The connector of `backend`. Without a `send` table, it refuses every message.
    ///
    /// # Errors
    /// Every key below the backend's that is wrong, and why.
    pub fn new(backend: &BackendConfig, tls: &ClientTls) -> Result<Self, Vec<KeyProblem>> {
        match backend.definition.connector.http() {
            None => Ok(Self(Way::ReceivesOnly(backend.name.clone()))),
            Some(table) => Sender::new(backend, table, tls).map(|sender| Self(Way::Sends(Box::new(sender)))),
        }
    }
}

#[async_trait]
impl Backend for Http {
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], context: &Context) -> Outcomes {
        self.send_within(&Scope::default(), id, text, identities, context).await
    }

    async fn send_within(
        &self,
        scope: &Scope,
        id: MessageId,
        text: &str,
        identities: &[Identity],
        context: &Context,
    ) -> Outcomes {
        match &self.0 {
            Way::Sends(sender) => {
                let mut span = scope.client(sender.plan.method());
                let message = sender.constants.message(id, text, context, span.propagated());
                sender.send(&message, identities, &mut span).await
            }
            Way::ReceivesOnly(name) => Outcomes::every(Err(no_send(name))),
        }
    }

    async fn poll(&self, scope: &Scope, poll: &Poll) -> Result<Polled, Failure> {
        let Way::Sends(sender) = &self.0 else { return Err(not_polled()) };
        let Some(poller) = &sender.poller else { return Err(not_polled()) };
        poller.ask(&sender.client, poll, &sender.constants.settings, scope).await
    }

    fn recipients_per_request(&self) -> Option<usize> {
        match &self.0 {
            Way::Sends(sender) => Some(sender.recipients_per_request),
            Way::ReceivesOnly(_) => None,
        }
    }

    fn deadline(&self, _: usize) -> Duration {
        match &self.0 {
            Way::Sends(sender) => sender.client.longest() + MARGIN,
            Way::ReceivesOnly(_) => MARGIN,
        }
    }
}

impl Http {
    /// The request that would send `text` to `identities`, of which there are no more than a request may
    /// have.
    ///
    /// # Errors
    /// Why it would not be made.
    pub(crate) fn request(
        &self,
        id: MessageId,
        text: &str,
        identities: &[Identity],
        context: &Context,
    ) -> Result<Request, Failure> {
        match &self.0 {
            Way::Sends(sender) => {
                sender.request(&sender.constants.message(id, text, context, None), identities)
            }
            Way::ReceivesOnly(name) => Err(no_send(name)),
        }
    }

    /// The outcome of a request to which the provider gave `answer`.
    pub(crate) fn outcome_of(&self, answer: &ProviderAnswer) -> Outcome {
        match &self.0 {
            Way::Sends(sender) => sender.classifier.classify(answer, Timestamp::now()),
            Way::ReceivesOnly(name) => Err(no_send(name)),
        }
    }
}

fn no_send(name: &BackendName) -> Failure {
    Failure::permanent("no_send", format!("backend {name} has no send table: it only receives"))
}

#[cfg(feature = "measure")]
impl Http {
    /// Does everything that sending `message` needs except for the network: makes its one request, drops
    /// it, and classifies the answer `OK`. `None` without a `send` table.
    pub(crate) fn rehearse(
        &self,
        message: &postern_shared::message::Outbound,
        place: &Scope,
    ) -> Option<crate::outcome::Outcome> {
        let Way::Sends(sender) = &self.0 else { return None };
        let mut span = place.client(sender.plan.method());
        let trace = span.propagated();
        let scope = sender.constants.message(message.id, &message.text, &message.context, trace);
        let scope = scope.to(&message.identities, sender.recipients, &sender.separator);
        let answer = ProviderAnswer {
            status: 200,
            headers: reqwest::header::HeaderMap::new(),
            body: "OK".into(),
            complete: true,
        };
        let request = sender.plan.request(&scope);
        let outcome = request.and_then(|request| {
            span.note_server(request.url());
            sender.classifier.classify(&answer, Timestamp::now())
        });
        span.note_answer(outcome.as_ref().map(|sent| sent.http_status));
        Some(outcome)
    }
}

fn not_polled() -> Failure {
    Failure::config("no_poll", "the backend no longer has a poll table")
}

impl Sender {
    fn new(backend: &BackendConfig, table: &SendTable, tls: &ClientTls) -> Result<Self, Vec<KeyProblem>> {
        let auth = table.auth.as_ref().and_then(|auth| auth.resolved(&backend.definition.settings));
        let table = &SendTable { auth, ..table.clone() };
        let plan = Plan::new(table)?;
        let authorization = plan.fixed_header(&AUTHORIZATION);
        let redactor = Redactor::new(backend, table, authorization);
        let poller = Poller::new(backend, table)?;
        // Polls, token requests and the proxy may need TLS, too.
        let others = poller.as_ref().is_some_and(Poller::may_use_tls)
            || matches!(table.auth, Some(SendAuth::Oauth2(_)))
            || table.proxy.is_some();
        let tls = Some(tls).filter(|_| plan.may_use_tls() || others);
        let client = ProviderClient::new(backend, table, tls).map_err(|problem| vec![problem])?;
        Ok(Self {
            constants: Constants::new(backend),
            classifier: Classifier {
                success: table.success.clone(),
                external_id: table.external_id.clone(),
                failures: table.failures.clone(),
                results: table.results.clone(),
                retry_after: table.retry_after.clone(),
                recipients: backend.definition.connector.calls().recipients_per_request(),
                redactor,
            },
            recipients: table.recipients,
            separator: table.separator().to_owned(),
            recipients_per_request: backend.definition.connector.calls().recipients_per_request(),
            plan,
            client,
            poller,
        })
    }

    /// The request for `message` to `identities`.
    fn request(&self, message: &RequestScope, identities: &[Identity]) -> Result<Request, Failure> {
        self.plan.request(&message.to(identities, self.recipients, &self.separator))
    }

    /// Makes one request for `message` to `identities`, of which there are no more than a request may have.
    /// `span` is the span of the request; its trace is passed to the provider.
    async fn send(&self, message: &RequestScope, identities: &[Identity], span: &mut TraceSpan) -> Outcomes {
        let answer = self.ask(message, identities, span).await;
        let now = Timestamp::now();
        let whole = answer.as_ref().map_err(Failure::clone);
        let whole = whole.and_then(|answer| self.classifier.classify(answer, now));
        span.note_answer(whole.as_ref().map(|sent| sent.http_status));
        match answer {
            Ok(answer) => self.classifier.each(whole, &answer, identities, now),
            Err(_) => Outcomes::every(whole),
        }
    }

    async fn ask(
        &self,
        message: &RequestScope,
        identities: &[Identity],
        span: &mut TraceSpan,
    ) -> Result<ProviderAnswer, Failure> {
        let mut request = self.request(message, identities)?;
        span.note_server(request.url());
        if let Some(trace) = span.propagated() {
            trace_headers(trace, request.headers_mut());
        }
        self.client.ask(request, &self.classifier).await
    }
}
