//! Who works on the messages of a queue: a backend's station, or an application.

use crate::{
    aftermath::{MALFORMED, aftermath, marked},
    application::{echo::Echo, webhook::Hook},
    attempt::Attempt,
    callbacks::{Callbacks, notices},
    consume::Slot,
    dispatch::Station,
    read::read,
    retry::Verdict,
};
use async_trait::async_trait;
use jiff::Timestamp;
use postern_broker::{Address, Delivery, Envelope, QueueName};
use postern_service::metrics::Outcome as Counted;
use postern_shared::{
    error::{Failure, FailureClass},
    message::{BackendName, Malformed, Priority},
};
use std::sync::Arc;

/// What is malformed, or was not read, names no backend; this stands in the routing key of its dead
/// letter.
const NO_BACKEND: &str = "unknown";

/// Works on the messages of one or two queues.
#[async_trait]
pub(crate) trait Worker: Send + Sync {
    /// Its queues, by the lane that they are worked on in.
    fn queues(&self) -> Vec<(Priority, QueueName)>;

    /// Takes `delivery`, which came in `lane`, to its end. `slot` is given up when another message
    /// may be begun.
    async fn work(self: Arc<Self>, lane: Priority, delivery: Delivery, slot: Slot);

    /// What is published about a message that is given up without being worked on. It reads the
    /// message; see [`unread`] for where even that is too much.
    fn given_up(&self, lane: Priority, original: &Envelope, failure: &Failure) -> Vec<(Address, Envelope)>;

    /// Counts a message that was given up so.
    fn count_given_up(&self, lane: Priority, failure: &Failure);
}

/// The dead letter of a message that is not looked into.
pub(crate) fn unread(original: &Envelope, queue: &QueueName, failure: &Failure) -> Vec<(Address, Envelope)> {
    let kind = (failure.class, &*failure.code);
    unread_letter(original, queue, kind, &reason(failure)).into_iter().collect()
}

/// The dead letter of `original`, which is no message, and is logged as such.
pub(crate) fn malformed(
    original: &Envelope,
    queue: &QueueName,
    malformed: &Malformed,
) -> Option<(Address, Envelope)> {
    tracing::warn!(
        queue = queue.as_str(),
        message_id = original.id().map(tracing::field::display),
        why = malformed.why,
        "dead-lettered unread"
    );
    unread_letter(original, queue, (FailureClass::Permanent, MALFORMED), &malformed.to_string())
}

fn unread_letter(
    original: &Envelope,
    queue: &QueueName,
    kind: (FailureClass, &str),
    why: &str,
) -> Option<(Address, Envelope)> {
    let letter = marked(original.clone(), queue, kind, why, 0);
    let backend = queue.backend().or_else(|| NO_BACKEND.parse().ok());
    backend.map(|backend: BackendName| (Address::Dead(backend), letter))
}

/// Why, for the dead letter's header.
pub(crate) fn reason(failure: &Failure) -> String {
    let colon = if failure.detail.is_empty() { "" } else { ": " };
    format!("{}{colon}{}", failure.code, failure.detail)
}

#[async_trait]
impl Worker for Station {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, self.normal.clone()), (Priority::Bulk, self.bulk.clone())]
    }

    async fn work(self: Arc<Self>, lane: Priority, delivery: Delivery, slot: Slot) {
        self.dispatch(lane, delivery, slot).await;
    }

    fn given_up(&self, lane: Priority, original: &Envelope, failure: &Failure) -> Vec<(Address, Envelope)> {
        let queue = self.queue(lane);
        match read(original) {
            Ok(message) if message.backend == self.name => {
                let verdicts = vec![Verdict::Dead(failure.clone()); message.identities.len()];
                let (attempt, now) = (Attempt::of(&message, None, verdicts), Timestamp::now());
                let mut messages = aftermath(original, queue, &attempt, now);
                messages.extend(notices(&self.keys, original, &message, attempt.verdicts(), now));
                messages
            }
            _ => unread(original, queue, failure),
        }
    }

    fn count_given_up(&self, _: Priority, failure: &Failure) {
        self.metrics.message(Counted::Failed);
        self.metrics.dead_letter(failure.class);
    }
}

#[async_trait]
impl Worker for Hook {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        [Priority::Normal, Priority::Bulk].map(|lane| (lane, self.queue(lane).clone())).into()
    }

    async fn work(self: Arc<Self>, lane: Priority, delivery: Delivery, slot: Slot) {
        self.deliver(lane, delivery, slot).await;
    }

    fn given_up(&self, lane: Priority, original: &Envelope, failure: &Failure) -> Vec<(Address, Envelope)> {
        unread(original, self.queue(lane), failure)
    }

    fn count_given_up(&self, lane: Priority, _: &Failure) {
        Self::count_given_up(self, self.queue(lane));
    }
}

#[async_trait]
impl Worker for Callbacks {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, self.queue().clone())]
    }

    async fn work(self: Arc<Self>, _: Priority, delivery: Delivery, slot: Slot) {
        self.deliver(delivery, slot).await;
    }

    fn given_up(&self, _: Priority, original: &Envelope, failure: &Failure) -> Vec<(Address, Envelope)> {
        unread(original, self.queue(), failure)
    }

    fn count_given_up(&self, _: Priority, _: &Failure) {
        Self::count_given_up(self);
    }
}

#[async_trait]
impl Worker for Echo {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, QueueName::inbound())]
    }

    async fn work(self: Arc<Self>, _: Priority, delivery: Delivery, slot: Slot) {
        self.answer(delivery, slot).await;
    }

    fn given_up(&self, _: Priority, original: &Envelope, failure: &Failure) -> Vec<(Address, Envelope)> {
        unread(original, &QueueName::inbound(), failure)
    }

    fn count_given_up(&self, _: Priority, _: &Failure) {}
}
