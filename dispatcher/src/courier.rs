//! Delivering messages that have no attempt of their own: to the application's webhook, and to the
//! clients that want to be called back. With the outcomes, the retries and the dead letters of
//! sending.
//!
//! A delivery is settled last: the other side answers, what follows is published and confirmed, and
//! only then is the message acknowledged. A crash in between can double it; it can never lose it.

use crate::{
    aftermath::marked,
    backends::Outcome,
    consume::Slot,
    publish::Publisher,
    retry::{Schedule, Verdict},
    worker::{self, reason},
};
use postern_broker::{Address, Delivery, Envelope, QueueName, Topology, header};
use postern_config::Config;
use postern_service::metrics::{ApplicationMetrics, Metrics, Outcome as Counted};
use postern_shared::{
    error::Failure,
    message::{BackendName, Malformed, MessageId},
    trace_context::id_in,
};
use std::{future::Future, sync::Arc, time::Instant};

/// Takes deliveries to their end.
#[derive(Debug)]
pub(crate) struct Courier {
    schedule: Schedule,
    publisher: Publisher,
    metrics: ApplicationMetrics,
    /// Whom it delivers to, for the log.
    to: &'static str,
}

/// What the log says of a message, and where its dead letter goes.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    /// The message's id; of a report, one that its body makes.
    pub(crate) id: MessageId,
    pub(crate) backend: BackendName,
    pub(crate) trace: Option<String>,
}

impl Courier {
    /// One that takes from `queues` and delivers `to` somebody, with the delays of `[retry]`.
    pub(crate) fn new(
        to: &'static str,
        queues: &[&QueueName],
        config: &Config,
        topology: Arc<Topology>,
        publisher: Publisher,
        metrics: &Metrics,
    ) -> Self {
        let schedule = Schedule::general(&config.retry.delays, topology);
        Self { schedule, publisher, metrics: metrics.application(queues), to }
    }

    /// Takes `delivery` from `queue` to its end, after `call`. `slot` is given up when that has
    /// answered.
    pub(crate) async fn deliver(
        &self,
        queue: &QueueName,
        delivery: Delivery,
        slot: Slot,
        label: &Label,
        call: impl Future<Output = Outcome>,
    ) {
        let attempt = attempt_of(&delivery.envelope);
        let outcome = self.measured(queue, call).await;
        drop(slot);
        let verdict = match outcome {
            Ok(sent) => Verdict::Sent(sent),
            Err(failure) => match self.schedule.delay(&failure, attempt) {
                Some(delay) => Verdict::Again { delay, failure },
                None => Verdict::Dead(failure),
            },
        };
        let next = next(&delivery.envelope, queue, &label.backend, attempt, &verdict);
        if self.settle(delivery, next).await {
            self.note(queue, label, attempt, &verdict);
        }
    }

    /// Dead-letters `delivery`, which is not the message that it should be.
    pub(crate) async fn bury(&self, queue: &QueueName, delivery: Delivery, malformed: &Malformed) {
        let letter = worker::malformed(&delivery.envelope, queue, malformed);
        if self.settle(delivery, letter).await {
            self.metrics.delivery(queue, Counted::Malformed);
        }
    }

    /// Counts a message from `queue` that was given up without a call.
    pub(crate) fn count_given_up(&self, queue: &QueueName) {
        self.metrics.delivery(queue, Counted::Failed);
    }

    async fn measured(&self, queue: &QueueName, call: impl Future<Output = Outcome>) -> Outcome {
        // Also where the drain's deadline ends it.
        let _ends = self.metrics.begun(queue);
        let begun = Instant::now();
        let outcome = call.await;
        self.metrics.duration(queue, begun.elapsed().as_secs_f64());
        outcome
    }

    /// Stores `message`, and acknowledges; `false` where the broker was closed before.
    async fn settle(&self, delivery: Delivery, message: Option<(Address, Envelope)>) -> bool {
        let stored = match message {
            Some(message) => self.publisher.publish(vec![message]).await,
            None => true,
        };
        if stored {
            delivery.ack()
        } else {
            delivery.release()
        }
        stored
    }

    /// Counts an attempt and writes its log line: never an identity, a text, an address or what was
    /// answered.
    fn note(&self, queue: &QueueName, label: &Label, attempt: u32, verdict: &Verdict) {
        let (backend, message_id, to) = (label.backend.as_str(), label.id, self.to);
        let trace_id = label.trace.as_deref().and_then(id_in);
        let (counted, failure) = match verdict {
            Verdict::Sent(_) => (Counted::Sent, None),
            Verdict::Again { failure, .. } | Verdict::Postponed { failure, .. } => {
                (Counted::Retrying, Some(failure))
            }
            Verdict::Dead(failure) => (Counted::Failed, Some(failure)),
            Verdict::Expired(failure) => (Counted::Failed, failure.as_ref()),
        };
        self.metrics.delivery(queue, counted);
        let queue = queue.as_str();
        match failure {
            None => tracing::info!(queue, to, backend, %message_id, attempt, trace_id, "delivered"),
            Some(Failure { class, code, .. }) => tracing::warn!(
                queue, to, backend, %message_id, attempt, outcome = counted.as_str(),
                class = class.as_str(), code = &**code, trace_id, "not delivered"
            ),
        }
    }
}

/// Which attempt `envelope` is. One that nobody counted is the first.
fn attempt_of(envelope: &Envelope) -> u32 {
    let counted = envelope.integer_header(header::ATTEMPT).and_then(|number| u32::try_from(number).ok());
    counted.unwrap_or(1).max(1)
}

/// What is to be published after an attempt: nothing where it was taken, else the message as it
/// was, with the number of the next attempt or with why there is none.
fn next(
    original: &Envelope,
    queue: &QueueName,
    backend: &BackendName,
    attempt: u32,
    verdict: &Verdict,
) -> Option<(Address, Envelope)> {
    let mut envelope = original.clone();
    match verdict {
        Verdict::Sent(_) => None,
        // Nothing that is delivered here is postponed.
        Verdict::Again { delay, .. } | Verdict::Postponed { delay, .. } => {
            envelope.headers = original.own_headers();
            let envelope = envelope.with(header::ATTEMPT, i64::from(attempt.saturating_add(1)));
            Some((Address::Later { queue: queue.clone(), delay: *delay }, envelope))
        }
        Verdict::Dead(failure) | Verdict::Expired(Some(failure)) => {
            // Whoever queues a dead letter again begins anew.
            envelope.headers.remove(header::ATTEMPT);
            let kind = (failure.class, &*failure.code);
            let letter = marked(envelope, queue, kind, &reason(failure), attempt.into());
            Some((Address::Dead(backend.clone()), letter))
        }
        // Nothing that is delivered here expires.
        Verdict::Expired(None) => None,
    }
}

#[cfg(test)]
mod tests;
