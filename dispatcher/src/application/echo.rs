//! The application `echo`: answers every message with its own text.

use crate::{aftermath::traced, consume::Slot, publish::Publisher, worker};
use jiff::Timestamp;
use postern_broker::{Address, Delivery, Envelope, QueueName};
use postern_config::Config;
use postern_shared::message::{BackendName, Context, Inbound, MessageId, Outbound, Priority};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Answers inbound messages with their own text.
#[derive(Debug)]
pub(crate) struct Echo {
    publisher: Publisher,
    /// The backends that only receive: who writes there gets no answer.
    silent: BTreeSet<BackendName>,
    told: Mutex<BTreeSet<BackendName>>,
}

impl Echo {
    pub(crate) fn new(config: &Config, publisher: Publisher) -> Self {
        let silent = config
            .backends
            .values()
            .filter(|backend| backend.definition.engine == "http" && backend.definition.send.is_none());
        let silent = silent.map(|backend| backend.name.clone()).collect();
        Self { publisher, silent, told: Mutex::default() }
    }

    /// Answers `delivery`; acknowledges it when the broker has the answer.
    pub(crate) async fn answer(&self, delivery: Delivery, slot: Slot) {
        drop(slot);
        let published = match Inbound::from_json(&delivery.envelope.body) {
            Ok(message) if self.is_silent(&message.backend) => None,
            Ok(message) => answer_to(&message).map(|answer| {
                let address = Address::Outbound(answer.backend.clone(), Priority::Normal);
                (address, traced(Envelope::from(&answer), &delivery.envelope))
            }),
            Err(malformed) => worker::malformed(&delivery.envelope, &QueueName::inbound(), &malformed),
        };
        let stored = match published {
            Some(message) => self.publisher.publish(vec![message]).await,
            None => true,
        };
        if stored { delivery.ack() } else { delivery.release() }
    }

    /// Whether nothing can be sent through `backend`; said once in the log.
    fn is_silent(&self, backend: &BackendName) -> bool {
        let silent = self.silent.contains(backend);
        if silent && self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(backend.clone()) {
            tracing::warn!(backend = backend.as_str(), "has no send table: its messages are not echoed");
        }
        silent
    }
}

/// `None` for an empty text: there is nothing to say.
fn answer_to(message: &Inbound) -> Option<Outbound> {
    if message.text.trim().is_empty() {
        return None;
    }
    let mut context = Context::new();
    context.insert("in_response_to".to_owned(), message.id.to_string().into());
    if let Some(external_id) = &message.external_id {
        context.insert("external_id".to_owned(), external_id.clone().into());
    }
    Some(Outbound {
        id: MessageId::answer_to(message.id),
        backend: message.backend.clone(),
        identities: vec![message.identity.clone()],
        text: message.text.clone(),
        context,
        priority: Priority::Normal,
        created_at: Timestamp::now(),
        expires_at: None,
        attempt: 1,
        postponed: 0,
        parts_sent: 0,
    })
}
