//! Asks a provider over HTTP what became of a message, as a backend's `poll` table says.

use super::{provider_client::ProviderClient, request::Plan};
use crate::{
    outcome::Polled,
    outgoing::{classify::Classifier, redact::Redactor, trace::trace_headers},
};
use jiff::Timestamp;
use minijinja::{Value, context};
use postern_config::{
    KeyProblem,
    backend::{
        BackendConfig,
        poll::PollTable,
        send::{AnswerPart, Send as SendTable},
        status::Status,
    },
};
use postern_service::traces::Scope;
use postern_shared::{
    error::Failure,
    message::{Poll, Reason},
};

/// Asks the provider of one backend what became of messages.
#[derive(Debug)]
pub(super) struct Poller {
    table: PollTable,
    status: Option<Status>,
    plan: Plan,
    classifier: Classifier,
}

impl Poller {
    /// The poller of `backend`, whose `send` table is `send`, with its secrets resolved. `None` without a
    /// `poll` table.
    ///
    /// # Errors
    /// Every key below the backend's that is wrong, and why.
    pub(super) fn new(backend: &BackendConfig, send: &SendTable) -> Result<Option<Self>, Vec<KeyProblem>> {
        let Some(table) = &backend.definition.poll else { return Ok(None) };
        let request = table.request(send);
        let below_poll = |(key, why): KeyProblem| match key.strip_prefix("send.") {
            Some(rest) => (format!("poll.{rest}"), why),
            None => (key, why),
        };
        let plan = Plan::new(&request);
        let plan = plan.map_err(|wrong| wrong.into_iter().map(below_poll).collect::<Vec<_>>())?;
        let redactor = Redactor::new(backend, &request, None);
        Ok(Some(Self {
            table: table.clone(),
            status: backend.definition.status.clone(),
            plan,
            classifier: Classifier::by_status(redactor),
        }))
    }

    /// Whether TLS may be needed.
    pub(super) fn may_use_tls(&self) -> bool {
        self.plan.may_use_tls()
    }

    /// Asks the provider about the message of `poll` through `client`, in a span below `scope`.
    ///
    /// # Errors
    /// The provider did not answer, or its answer is not about this message.
    pub(super) async fn ask(
        &self,
        client: &ProviderClient,
        poll: &Poll,
        settings: &Value,
        scope: &Scope,
    ) -> Result<Polled, Failure> {
        let mut span = scope.client(self.plan.method());
        let asked = context! {
            id => poll.message_id.to_string(), backend => poll.backend.as_str(),
            identity => poll.identity.as_str(), external_id => poll.external_id.as_str(), settings => settings,
        };
        let answered = async {
            let mut request = self.plan.request(&asked)?;
            span.note_server(request.url());
            if let Some(trace) = span.propagated() {
                trace_headers(trace, request.headers_mut());
            }
            let answer = client.ask(request, &self.classifier).await?;
            self.classifier.classify(&answer, Timestamp::now())?;
            Ok(answer)
        };
        let answered: Result<_, Failure> = answered.await;
        span.note_answer(answered.as_ref().map(|answer| Some(answer.status)));
        let answer = answered?;
        let said =
            |name: &str| self.table.params.get(name).and_then(|part: &AnswerPart| part.find(&answer.body));
        let Some(word) = said("state") else {
            return Err(Failure::transient("no_state", "the answer does not say what became of the message"));
        };
        let state = self.table.state(&word, self.status.as_ref());
        let (code, detail) = (said("code"), said("detail"));
        let reason = Reason::reported(state, &word, code.as_deref(), detail.as_deref());
        Ok(Polled { state, reason, word: detail.unwrap_or(word) })
    }
}
