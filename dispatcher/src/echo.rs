//! The application `echo`: answers every message with its own text.

use crate::{
    dead_letter::{malformed, unread},
    publish::Publisher,
    worker::{Job, Worker},
};
use async_trait::async_trait;
use postern_broker::{Address, Envelope, QueueName};
use postern_config::Config;
use postern_shared::{
    clock,
    message::{BackendName, Context, Inbound, MessageId, Outbound, Priority},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Answers inbound messages with their own text.
#[derive(Debug)]
pub(crate) struct EchoWorker {
    publisher: Publisher,
    /// The backends that only receive: a message through one of them gets no answer.
    silent: BTreeSet<BackendName>,
    told: Mutex<BTreeSet<BackendName>>,
}

impl EchoWorker {
    pub(crate) fn new(config: &Config, publisher: Publisher) -> Self {
        let silent = config.backends.values().filter(|backend| !backend.definition.connector.sends());
        let silent = silent.map(|backend| backend.name.clone()).collect();
        Self { publisher, silent, told: Mutex::default() }
    }

    /// Whether nothing can be sent through `backend`, which is logged once for each backend.
    fn is_silent(&self, backend: &BackendName) -> bool {
        let silent = self.silent.contains(backend);
        if silent && self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(backend.clone()) {
            tracing::warn!(
                backend = backend.as_str(),
                "backend has no send table: its messages are not echoed"
            );
        }
        silent
    }
}

#[async_trait]
impl Worker for EchoWorker {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, QueueName::inbound())]
    }

    async fn work(self: Arc<Self>, Job { delivery, permit, poison, span, .. }: Job) {
        drop(permit);
        let (original, queue) = (&delivery.envelope, QueueName::inbound());
        let messages = match (poison, Inbound::from_json(&original.body)) {
            (Some(failure), _) => unread(original, &queue, &failure),
            (None, Ok(message)) if self.is_silent(&message.backend) => Vec::new(),
            (None, Ok(message)) => answer_to(&message, original),
            (None, Err(why)) => malformed(original, &queue, &why.to_string()),
        };
        self.publisher.settle(delivery, &queue, messages, &span.scope()).await;
    }
}

/// What is published to answer `message`, whose envelope was `original`. A message with an empty text gets
/// no answer.
fn answer_to(message: &Inbound, original: &Envelope) -> Vec<(Address, Envelope)> {
    if message.text.trim().is_empty() {
        return Vec::new();
    }
    let mut context = Context::new();
    context.insert("in_response_to".to_owned(), message.id.to_string().into());
    if let Some(external_id) = &message.external_id {
        context.insert("external_id".to_owned(), external_id.clone().into());
    }
    let answer = Outbound {
        id: MessageId::answer_to(message.id),
        backend: message.backend.clone(),
        identities: vec![message.identity.clone()],
        text: message.text.clone(),
        context,
        priority: Priority::Normal,
        created_at: clock::now(),
        expires_at: None,
        attempt: 1,
        deferred: 0,
        parts_sent: 0,
        maybe_sent: false,
    };
    let address = Address::Outbound(answer.backend.clone(), Priority::Normal);
    vec![(address, Envelope::from(&answer).in_trace_of(original))]
}
