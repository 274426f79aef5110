//! Calling the clients of the compatibility listeners back, as Kannel does: a GET to the address that the client gave.

use crate::{
    backends::{Outcome, Sent},
    consume::Slot,
    courier::{Courier, Label},
    outgoing::{
        answer::Answer,
        classify::Classifier,
        client::{Tls, client_in_bounds},
        redact::Redactor,
        resolve,
    },
    publish::Publisher,
    retry::Verdict,
};
use jiff::Timestamp;
use postern_broker::{Address, Delivery, Envelope, QueueName, Topology, header};
use postern_config::{CallbacksSection, Config, backend::send::Success};
use postern_service::metrics::Metrics;
use postern_shared::{
    callback::{self, CallbackKeys, EgressPolicy, EgressRefused, KannelEvent},
    error::Failure,
    message::{CallbackEvent, Outbound},
};
use reqwest::{Client, Method, Request, Url};
use std::{sync::Arc, time::Duration};

/// Makes the callbacks.
#[derive(Debug)]
pub(crate) struct Callbacks {
    keys: CallbackKeys,
    reach: EgressPolicy,
    timeout: Duration,
    client: Client,
    classifier: Classifier,
    courier: Courier,
    queue: QueueName,
}

/// What would keep callbacks from being made: a key below `compat.callbacks`, and why.
pub(crate) fn problem(config: &Config) -> Option<String> {
    if config.compat.call_back() { client(&config.compat.callbacks).err() } else { None }
}

fn client(section: &CallbacksSection) -> Result<Client, String> {
    let client = client_in_bounds(section.timeout.0, &Tls::default(), &EgressPolicy::new(&section.allow));
    client.map_err(|why| format!("timeout: {why}"))
}

impl Callbacks {
    /// # Errors
    /// A key below `compat.callbacks`, and why it cannot be.
    pub(crate) fn new(
        config: &Config,
        topology: Arc<Topology>,
        publisher: Publisher,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let section = &config.compat.callbacks;
        let queue = QueueName::callbacks();
        Ok(Self {
            keys: config.compat.callback_keys(),
            reach: EgressPolicy::new(&section.allow),
            timeout: section.timeout.0,
            client: client(section)?,
            classifier: Classifier {
                success: Success::default(),
                external_id: None,
                failures: Vec::new(),
                redactor: Redactor::hiding(Vec::new()),
            },
            courier: Courier::new("client", &[&queue], config, topology, publisher, metrics),
            queue,
        })
    }

    /// Takes `delivery`, a notice, to its end.
    pub(crate) async fn deliver(&self, delivery: Delivery, slot: Slot) {
        match CallbackEvent::from_json(&delivery.envelope.body) {
            Ok(notice) => {
                let trace = delivery.envelope.text_header(header::TRACEPARENT).map(str::to_owned);
                let label = Label { id: notice.message_id, backend: notice.backend.clone(), trace };
                let call = self.call(&notice);
                self.courier.deliver(&self.queue, delivery, slot, &label, call).await;
            }
            Err(malformed) => self.courier.bury(&self.queue, delivery, &malformed).await,
        }
    }

    /// Where the notices come from.
    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Counts a notice that was given up without a call.
    pub(crate) fn count_given_up(&self) {
        self.courier.count_given_up(&self.queue);
    }

    async fn call(&self, notice: &CallbackEvent) -> Outcome {
        let mut request = Request::new(Method::GET, self.address(notice)?);
        *request.timeout_mut() = Some(self.timeout);
        match self.client.execute(request).await {
            Ok(response) => {
                let answered = self.classifier.classify(&Answer::read(response).await, Timestamp::now());
                answered.map(|_| Sent::without_id())
            }
            Err(error) => match resolve::refusal(&error) {
                Some(refused) => Err(out_of_bounds(refused)),
                None => Err(self.classifier.no_answer(&error)),
            },
        }
    }

    /// # Errors
    /// Nobody who may asked for this, or it leads where no callback goes.
    fn address(&self, notice: &CallbackEvent) -> Result<Url, Failure> {
        let callback = self.keys.open(&notice.callback);
        let Some(callback) = callback.filter(|callback| callback.message_id == notice.message_id) else {
            let why = "the callback was not requested by a currently configured user";
            return Err(Failure::permanent("callback_unknown", why));
        };
        let url = self.reach.url(&callback::fill(&callback, notice)).map_err(|why| out_of_bounds(&why))?;
        let asked = Url::parse(&callback.url).ok();
        if asked.is_none_or(|asked| asked.origin() != url.origin()) {
            let why = "an escape stands in its host: where a callback goes is the client's to say";
            return Err(Failure::permanent("callback_refused", why));
        }
        Ok(url)
    }
}

fn out_of_bounds(refused: &EgressRefused) -> Failure {
    let why = format!("{refused}: not called unless compat.callbacks.allow holds it");
    Failure::permanent("callback_refused", why)
}

/// What the client of `message`, whose queue's message was `original`, is to be told after an
/// attempt: that the provider took the message, or that nobody will.
pub(crate) fn notices<'a>(
    keys: &CallbackKeys,
    original: &Envelope,
    message: &Outbound,
    verdicts: impl Iterator<Item = &'a Verdict>,
    now: Timestamp,
) -> Vec<(Address, Envelope)> {
    let events = verdicts.map(|verdict| match verdict {
        Verdict::Sent(sent) => Some((KannelEvent::Accepted, sent.external_id.clone(), "ACK/".to_owned())),
        Verdict::Dead(failure) => Some((KannelEvent::Refused, None, format!("NACK/{}", failure.code))),
        Verdict::Expired(_) => Some((KannelEvent::Refused, None, "NACK/expired".to_owned())),
        Verdict::Again { .. } | Verdict::Postponed { .. } => None,
    });
    let notices = callback::notices(keys, message, events, now);
    let envelope = |notice: &CallbackEvent| crate::aftermath::traced(Envelope::from(notice), original);
    notices.iter().map(|notice| (Address::Callbacks(notice.backend.clone()), envelope(notice))).collect()
}

#[cfg(test)]
mod tests;
