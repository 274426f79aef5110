//! Delivering messages that have no attempt of their own over HTTP: to the application's webhook, and
//! to the clients that want to be called back. With the outcomes, the retries and the dead letters of
//! sending.
//!
//! A delivery is settled last: the other side answers, what follows is published and confirmed, and
//! only then is the message acknowledged. A crash in between can double it; it can never lose it.

use crate::metrics::{DeliveryMetrics, DispatcherMetrics, OutcomeLabel};
use crate::{
    dead_letter::{malformed, reason},
    outcome::Outcome,
    publish::Publisher,
    retry::{Disposition, Schedule},
    worker::Job,
};
use postern_broker::{
    Address, Delivery, Envelope, QueueName, Topology,
    dead_letter::{Cause, dead_letter},
    header,
};
use postern_config::Config;
use postern_shared::{
    error::Failure,
    message::{BackendName, MessageId},
    trace_context::id_in,
};
use std::{future::Future, sync::Arc, time::Instant};

/// Takes deliveries to their end.
#[derive(Debug)]
pub(crate) struct HttpDelivery {
    schedule: Schedule,
    publisher: Publisher,
    metrics: DeliveryMetrics,
    /// Whom it delivers to, for the log.
    to: &'static str,
}

/// What the log says of a message, and where its dead letter goes.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryContext {
    /// The message's id. A report has none: it is made from its body.
    pub(crate) id: MessageId,
    pub(crate) backend: BackendName,
    /// The `traceparent` of the message.
    pub(crate) trace: Option<String>,
}

impl HttpDelivery {
    /// Delivers what comes from `queues` `to` somebody, with the delays of `[retry]`.
    pub(crate) fn new(
        to: &'static str,
        queues: &[&QueueName],
        config: &Config,
        topology: Arc<Topology>,
        publisher: Publisher,
        metrics: &DispatcherMetrics,
    ) -> Self {
        let schedule = Schedule::general(&config.retry.delays, topology);
        Self { schedule, publisher, metrics: metrics.delivery(queues), to }
    }

    /// Takes the message of `job`, which came from `queue`, to its end by making `call`. The next
    /// message may be begun as soon as the other side has answered.
    pub(crate) async fn deliver(
        &self,
        queue: &QueueName,
        Job { delivery, permit, poison, .. }: Job,
        context: &DeliveryContext,
        call: impl Future<Output = Outcome>,
    ) {
        let attempt = attempt_of(&delivery.envelope);
        let disposition = match poison {
            Some(failure) => Disposition::Dead(failure),
            None => match self.measured(queue, call).await {
                Ok(sent) => Disposition::Sent(sent),
                Err(failure) => match self.schedule.delay(&failure, attempt) {
                    Some(delay) => Disposition::Retry { delay, failure },
                    None => Disposition::Dead(failure),
                },
            },
        };
        drop(permit);
        let next = next(&delivery.envelope, queue, &context.backend, attempt, &disposition);
        if self.publisher.settle(delivery, next.into_iter().collect()).await {
            self.note(queue, context, attempt, &disposition);
        }
    }

    /// Dead-letters `delivery`, whose body is not the message that `queue` holds.
    pub(crate) async fn refuse(&self, queue: &QueueName, delivery: Delivery, why: &str) {
        let letter = malformed(&delivery.envelope, queue, why);
        if self.publisher.settle(delivery, letter).await {
            self.metrics.delivery(queue, OutcomeLabel::Malformed);
        }
    }

    async fn measured(&self, queue: &QueueName, call: impl Future<Output = Outcome>) -> Outcome {
        // Also where the drain's deadline ends it.
        let _ends = self.metrics.begun(queue);
        let begun = Instant::now();
        let outcome = call.await;
        self.metrics.duration(queue, begun.elapsed().as_secs_f64());
        outcome
    }

    /// Counts an attempt and writes its log line: never an identity, a text, an address or what was
    /// answered.
    fn note(&self, queue: &QueueName, context: &DeliveryContext, attempt: u32, disposition: &Disposition) {
        let (backend, message_id, to) = (context.backend.as_str(), context.id, self.to);
        let trace_id = context.trace.as_deref().and_then(id_in);
        let counted = match disposition {
            Disposition::Sent(_) => OutcomeLabel::Sent,
            Disposition::Retry { .. } | Disposition::Deferred { .. } => OutcomeLabel::Retrying,
            Disposition::Dead(_) | Disposition::Expired(_) => OutcomeLabel::Failed,
        };
        self.metrics.delivery(queue, counted);
        let queue = queue.as_str();
        match disposition.failure() {
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

/// What is to be published after an attempt: nothing if the other side took the message, else the
/// message as it was, with the number of the next attempt or with the reason why there is none.
fn next(
    original: &Envelope,
    queue: &QueueName,
    backend: &BackendName,
    attempt: u32,
    disposition: &Disposition,
) -> Option<(Address, Envelope)> {
    let mut envelope = original.clone();
    match disposition {
        Disposition::Sent(_) => None,
        // Nothing that is delivered here is deferred.
        Disposition::Retry { delay, .. } | Disposition::Deferred { delay, .. } => {
            envelope.headers = original.own_headers();
            let envelope = envelope.with(header::ATTEMPT, i64::from(attempt.saturating_add(1)));
            Some((Address::Later { queue: queue.clone(), delay: *delay }, envelope))
        }
        Disposition::Dead(failure) | Disposition::Expired(Some(failure)) => {
            // A dead letter that is redriven begins anew.
            envelope.headers.remove(header::ATTEMPT);
            let reason = reason(failure);
            let cause =
                Cause { class: failure.class, code: &failure.code, reason: &reason, attempts: attempt };
            Some((Address::Dead(backend.clone()), dead_letter(envelope, queue, cause)))
        }
        // Nothing that is delivered here expires.
        Disposition::Expired(None) => None,
    }
}

#[cfg(test)]
mod tests;
