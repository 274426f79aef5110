//! The engine `http`: sends as a backend's `send` table says.

mod request;
mod scope;

use super::{Backend, Outcome, Outcomes};
pub use crate::outgoing::client::Tls;
use crate::{
    flow::NOT_BEGUN,
    outgoing::{answer::Answer, classify::Classifier, client::client, redact::Redactor},
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use postern_config::backend::{
    BackendConfig,
    send::{Recipients, Send as SendTable},
};
use postern_shared::{
    error::Failure,
    message::{BackendName, Context, Identity, MessageId},
};
use request::Plan;
use reqwest::{Client, Response, header::AUTHORIZATION};
use scope::{Constants, Scope};
use std::{sync::OnceLock, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// So many requests of one queued message are in flight at a time: a message to many does not take
/// the place of many messages.
const IN_BATCH: usize = 8;
/// After so long, no further request of one queued message is begun: what is left is queued again,
/// well before RabbitMQ (after 30 minutes) would hand all of it to somebody else.
const BUDGET: Duration = Duration::from_secs(10 * 60);
/// What a call may take besides its last request.
const MARGIN: Duration = Duration::from_secs(5);

/// Sends over HTTP as a backend's `send` table says.
#[derive(Debug)]
pub struct Http(Way);

#[derive(Debug)]
enum Way {
    /// It has no `send` table.
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
    batch: usize,
    timeout: Duration,
    /// Absent where the URL needs none.
    tls: Option<Tls>,
    /// Built with the first message: a backend that sends none costs nothing.
    client: OnceLock<Result<Client, String>>,
    /// Requests in flight, over all messages.
    requests: Semaphore,
}

impl Http {
    /// For `backend`. One without a `send` table refuses every message.
    ///
    /// # Errors
    /// A key below the backend, and why it cannot be.
    pub fn new(backend: &BackendConfig, tls: &Tls) -> Result<Self, String> {
        match &backend.definition.send {
            None => Ok(Self(Way::ReceivesOnly(backend.name.clone()))),
            Some(table) => Sender::new(backend, table, tls).map(|sender| Self(Way::Sends(Box::new(sender)))),
        }
    }
}

#[async_trait]
impl Backend for Http {
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], context: &Context) -> Outcomes {
        match &self.0 {
            Way::Sends(sender) => sender.send(id, text, identities, context).await,
            Way::ReceivesOnly(name) => {
                let why = format!("backend {name} has no send table: it only receives");
                Outcomes::every(Err(Failure::permanent("no_send", why)))
            }
        }
    }

    fn deadline(&self, _: usize) -> Duration {
        match &self.0 {
            Way::Sends(sender) => BUDGET + sender.timeout + MARGIN,
            Way::ReceivesOnly(_) => MARGIN,
        }
    }
}

#[cfg(feature = "measure")]
impl Http {
    /// Everything that sending `message` is but the network: each request is made, and dropped; the
    /// provider has answered `OK`. `None` without a `send` table.
    pub(crate) fn rehearse(&self, message: &postern_shared::message::Outbound) -> Option<Outcomes> {
        let Way::Sends(sender) = &self.0 else { return None };
        let scope = sender.constants.message(message.id, &message.text, &message.context);
        let outcome = |part: &[Identity]| {
            sender.plan.request(&scope.to(part, sender.recipients, &sender.separator))?;
            let answer = Answer {
                status: 200,
                headers: reqwest::header::HeaderMap::new(),
                body: "OK".to_owned(),
                complete: true,
            };
            sender.classifier.classify(&answer, Timestamp::now())
        };
        let parts = message.identities.chunks(sender.batch);
        Some(parts.flat_map(|part| vec![outcome(part); part.len()]).collect())
    }
}

impl Sender {
    fn new(backend: &BackendConfig, table: &SendTable, tls: &Tls) -> Result<Self, String> {
        let auth = table.auth.as_ref().and_then(|auth| auth.resolved(&backend.definition.settings));
        let table = &SendTable { auth, ..table.clone() };
        let plan = Plan::new(table)?;
        let authorization = plan.fixed_header(&AUTHORIZATION);
        let redactor = Redactor::new(backend, table, authorization);
        Ok(Self {
            constants: Constants::new(backend),
            classifier: Classifier {
                success: table.success.clone(),
                external_id: table.external_id.clone(),
                failures: table.failures.clone(),
                redactor,
            },
            recipients: table.recipients,
            separator: table.separator.clone(),
            batch: if table.recipients == Recipients::Each { 1 } else { table.batch.max(1) },
            timeout: table.timeout.0,
            tls: plan.may_use_tls().then(|| tls.clone()),
            plan,
            client: OnceLock::new(),
            requests: Semaphore::new(usize::from(backend.concurrency.max(1))),
        })
    }

    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], context: &Context) -> Outcomes {
        let scope = self.constants.message(id, text, context);
        let until = Instant::now() + BUDGET;
        if identities.len() <= self.batch {
            return Outcomes::every(self.request(&scope, identities, until).await);
        }
        let requests: Vec<_> =
            identities.chunks(self.batch).map(|part| self.request(&scope, part, until)).collect();
        let answers: Vec<Outcome> = stream::iter(requests).buffered(IN_BATCH).collect().await;
        let parts = answers.into_iter().zip(identities.chunks(self.batch));
        parts.flat_map(|(outcome, part)| vec![outcome; part.len()]).collect()
    }

    /// One request, begun before `until` or not at all.
    async fn request(&self, scope: &Scope, identities: &[Identity], until: Instant) -> Outcome {
        let request = self.plan.request(&scope.to(identities, self.recipients, &self.separator))?;
        let slot = timeout_at(until, self.requests.acquire()).await;
        if slot.is_err() || Instant::now() >= until {
            let why = "the requests before this one took too long: it was not begun";
            return Err(Failure::transient(NOT_BEGUN, why));
        }
        let client = self.client.get_or_init(|| client(self.timeout, self.tls.as_ref()));
        let client = client.as_ref().map_err(|why| Failure::config("client", why.clone()))?;
        let answered: Result<Response, reqwest::Error> = client.execute(request).await;
        match answered {
            Ok(response) => self.classifier.classify(&Answer::read(response).await, Timestamp::now()),
            Err(error) => Err(self.classifier.no_answer(&error)),
        }
    }
}
