//! Calling the clients of compatibility listeners back, as Kannel does: a GET to the address that the client gave.

use crate::metrics::DispatcherMetrics;
use crate::{
    http_delivery::{DeliveryContext, HttpDelivery},
    outcome::{Outcome, Sent},
    outgoing::{
        answer::ProviderAnswer,
        classify::Classifier,
        client::{ClientTls, client_in_bounds},
        redact::Redactor,
        resolve,
    },
    publish::Publisher,
    worker::{Job, Worker},
};
use async_trait::async_trait;
use jiff::Timestamp;
use postern_broker::{QueueName, Topology, header};
use postern_config::{CallbacksSection, Config, KeyProblem, backend::send::Success};
use postern_shared::{
    callback::{self, CallbackKeys, EgressPolicy, EgressRefused},
    error::Failure,
    message::{CallbackEvent, Priority},
};
use reqwest::{Client, Method, Request, Url};
use std::{sync::Arc, time::Duration};

/// Makes the callbacks.
#[derive(Debug)]
pub(crate) struct CallbackWorker {
    keys: CallbackKeys,
    reach: EgressPolicy,
    timeout: Duration,
    client: Client,
    classifier: Classifier,
    delivery: HttpDelivery,
    queue: QueueName,
}

/// The HTTP client that makes callbacks.
///
/// # Errors
/// The key below `compat.callbacks` that is wrong, and why.
pub(crate) fn client(section: &CallbacksSection) -> Result<Client, KeyProblem> {
    let client =
        client_in_bounds(section.timeout.0, &ClientTls::default(), &EgressPolicy::new(&section.allow));
    client.map_err(|why| ("timeout".to_owned(), why))
}

impl CallbackWorker {
    /// A worker that calls with `client`.
    pub(crate) fn new(
        config: &Config,
        client: Client,
        topology: Arc<Topology>,
        publisher: Publisher,
        metrics: &DispatcherMetrics,
    ) -> Self {
        let section = &config.compat.callbacks;
        let queue = QueueName::callbacks();
        Self {
            keys: config.compat.callback_keys(),
            reach: EgressPolicy::new(&section.allow),
            timeout: section.timeout.0,
            client,
            classifier: Classifier {
                success: Success::default(),
                external_id: None,
                failures: Vec::new(),
                redactor: Redactor::hiding(&[]),
            },
            delivery: HttpDelivery::new("client", &[&queue], config, topology, publisher, metrics),
            queue,
        }
    }

    async fn call(&self, notice: &CallbackEvent) -> Outcome {
        let mut request = Request::new(Method::GET, self.address(notice)?);
        *request.timeout_mut() = Some(self.timeout);
        match self.client.execute(request).await {
            Ok(response) => {
                let answered =
                    self.classifier.classify(&ProviderAnswer::read(response).await, Timestamp::now());
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

#[async_trait]
impl Worker for CallbackWorker {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, self.queue.clone())]
    }

    async fn work(self: Arc<Self>, job: Job) {
        let original = &job.delivery.envelope;
        match CallbackEvent::from_json(&original.body) {
            Ok(notice) => {
                let trace = original.text_header(header::TRACEPARENT).map(str::to_owned);
                let context =
                    DeliveryContext { id: notice.message_id, backend: notice.backend.clone(), trace };
                let call = self.call(&notice);
                self.delivery.deliver(&self.queue, job, &context, call).await;
            }
            Err(malformed) => {
                self.delivery.refuse(&self.queue, job.delivery, &malformed.to_string()).await;
            }
        }
    }
}
