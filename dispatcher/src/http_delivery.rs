//! Delivers messages that have no field `attempt` over HTTP: to the application's webhook, and to clients
//! that asked for callbacks. Outcomes, retries and dead letters are the same as for sending.
//!
//! A delivery is settled last: the receiver answers, what follows is published and confirmed, and only then
//! is the message acknowledged. A crash in between can duplicate a delivery, but never lose it.

use crate::metrics::{DeliveryMetrics, OutcomeLabel};
use crate::{
    dead_letter::{malformed, note_malformed, reason},
    flow::WorkPermit,
    outcome::{Outcome, Sent, took},
    publish::Publisher,
    retry::{Disposition, Schedule},
    worker::Job,
};
use postern_broker::{
    Address, Envelope, LogRoute, QueueName,
    dead_letter::{Cause, dead_letter},
    header,
};
use postern_shared::{
    error::Failure,
    event::{Event, EventKind},
    message::{BackendName, Identity, MessageId},
    trace_context::TraceContext,
};
use std::{future::Future, time::Instant};

/// Makes deliveries, and settles them.
#[derive(Debug)]
pub(crate) struct HttpDelivery {
    /// The receiver's name in the log.
    pub(crate) to: &'static str,
    pub(crate) schedule: Schedule,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: DeliveryMetrics,
    /// Whether all deliveries go to one receiver.
    pub(crate) receiver: ReceiverCount,
    /// How events reach the message log.
    pub(crate) log: LogRoute,
    /// If this many dead letters wait, a delivery that is given up is dropped instead of dead-lettered.
    /// `None`: it is never dropped.
    pub(crate) most_dead: Option<u64>,
}

/// How many receivers the deliveries have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceiverCount {
    /// One receiver for all messages. While it is down, the messages wait and no attempt counts.
    One,
    /// Many receivers. If one is down, that says nothing about the others.
    Many,
}

/// The result of an attempt.
struct Attempted {
    number: u32,
    disposition: Disposition,
    /// Whether it was given up without a dead letter.
    dropped: bool,
}

/// What the log says about a message, and where its dead letter goes.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryContext {
    /// The message's id. For a report, the id of the message that it is about.
    pub(crate) message_id: MessageId,
    pub(crate) backend: BackendName,
    /// The trace of the message.
    pub(crate) trace: Option<TraceContext>,
    /// The event for the message log once the delivery succeeded, and the identity that it is about. `None`
    /// if the delivery is not an event.
    pub(crate) event: Option<(EventKind, Option<Identity>)>,
}

impl HttpDelivery {
    /// Delivers the message of `job`, which came from `queue`, by making `call`, and settles it. The next
    /// message may be begun as soon as the receiver has answered.
    pub(crate) async fn deliver(
        &self,
        queue: &QueueName,
        Job { delivery, permit, poison, mut span, .. }: Job,
        context: &DeliveryContext,
        call: impl Future<Output = Outcome>,
    ) {
        let attempt = attempt_of(&delivery.envelope);
        let disposition = match poison {
            Some(failure) => Some(Disposition::Dead(failure)),
            None => self.attempt(attempt, &permit, self.measured(queue, call)).await,
        };
        let Some(disposition) = disposition else {
            // It was not begun: the message is released as if it had not been taken.
            span.scope().requeued(queue);
            return delivery.release();
        };
        drop(permit);
        let dropped = matches!(disposition, Disposition::Dead(_)) && self.has_most_dead().await;
        let next = next(&delivery.envelope, queue, &context.backend, attempt, &disposition);
        let next = next.filter(|_| !dropped);
        let event = self.event(context, attempt, &disposition);
        span.note_attempt(context.message_id, attempt);
        span.note_backend(&context.backend);
        span.note_outcome(label(&disposition, dropped).as_str());
        if let Some(failure) = disposition.failure() {
            span.note_failure(failure);
        }
        let messages = next.into_iter().chain(event).collect();
        if self.publisher.settle(delivery, queue, messages, &span.scope()).await {
            self.note(queue, context, &Attempted { number: attempt, disposition, dropped });
        }
    }

    /// What follows attempt number `attempt`, which `call` makes. `None` if it must not be begun now.
    async fn attempt(
        &self,
        attempt: u32,
        permit: &WorkPermit,
        call: impl Future<Output = Outcome>,
    ) -> Option<Disposition> {
        let (outcome, down_for) = match self.receiver {
            ReceiverCount::Many => (call.await, None),
            ReceiverCount::One => {
                let send = permit.request(0).await.ok()?;
                let outcome = call.await;
                let down_for = send.note_delivery(&outcome, self.schedule.last_wait(attempt));
                (outcome, down_for)
            }
        };
        Some(match (outcome, down_for) {
            (Ok(sent), _) => Disposition::Sent(sent),
            (Err(failure), Some(pause)) => {
                let delay =
                    self.schedule.put_off(failure.retry_after.map_or(pause, |asked| asked.max(pause)));
                // Not counted: there is no limit on waiting for a receiver that is down.
                Disposition::Deferred { delay, times: 0, failure }
            }
            (Err(failure), None) => match self.schedule.delay(&failure, attempt) {
                Some(delay) => Disposition::Retry { delay, failure },
                None => Disposition::Dead(failure),
            },
        })
    }

    /// The event of attempt number `attempt` for the message log. `None` if there is no event or no log.
    fn event(
        &self,
        context: &DeliveryContext,
        attempt: u32,
        disposition: &Disposition,
    ) -> Option<(Address, Envelope)> {
        let Disposition::Sent(Sent { http_status, duration_ms, .. }) = disposition else { return None };
        let (kind, identity) = context.event.clone().filter(|_| self.log != LogRoute::None)?;
        let event = Event {
            identity,
            attempt: Some(attempt),
            http_status: *http_status,
            duration_ms: duration_ms.map(u64::from),
            ..Event::new(kind, context.message_id, context.backend.clone())
        };
        Some((Address::Log, Envelope::from(&event)))
    }

    /// Moves the message of `job`, which came from `queue`, into the queue `to`, as the same attempt.
    pub(crate) async fn move_to(
        &self,
        queue: &QueueName,
        to: &QueueName,
        Job { delivery, permit, span, .. }: Job,
    ) {
        drop(permit);
        let original = &delivery.envelope;
        let moved = Envelope { headers: original.own_headers(), ..original.clone() };
        let moved = moved.with(header::ATTEMPT, i64::from(attempt_of(original)));
        let messages = vec![(Address::Queue(to.clone()), moved)];
        self.publisher.settle(delivery, queue, messages, &span.scope()).await;
    }

    async fn has_most_dead(&self) -> bool {
        let Some(most) = self.most_dead else { return false };
        // If the broker does not say, nothing is dropped.
        self.publisher.waiting_in(&QueueName::dead()).await.is_some_and(|waiting| waiting >= most)
    }

    /// Dead-letters the message of `job`, whose body is not a message of the kind that `queue` holds.
    pub(crate) async fn refuse(&self, queue: &QueueName, job: Job, why: &str) {
        let Job { delivery, mut span, .. } = job;
        let letter = malformed(&delivery.envelope, queue, why);
        note_malformed(&mut span);
        if self.publisher.settle(delivery, queue, letter, &span.scope()).await {
            self.metrics.delivery(queue, OutcomeLabel::Malformed);
        }
    }

    async fn measured(&self, queue: &QueueName, call: impl Future<Output = Outcome>) -> Outcome {
        // A guard, so that the end also counts if the drain's deadline drops the call.
        let _ends = self.metrics.begun(queue);
        let begun = Instant::now();
        let mut outcome = call.await;
        let time = begun.elapsed();
        self.metrics.duration(queue, time.as_secs_f64());
        took(&mut outcome, time);
        outcome
    }

    /// Counts an attempt and writes its log line, which never has an identity, a text, a URL or the answer.
    fn note(&self, queue: &QueueName, context: &DeliveryContext, attempted: &Attempted) {
        let (backend, message_id, to) = (context.backend.as_str(), context.message_id, self.to);
        let trace_id = context.trace.as_ref().map(TraceContext::trace_id);
        let Attempted { number: attempt, disposition, dropped } = attempted;
        let counted = label(disposition, *dropped);
        self.metrics.delivery(queue, counted);
        let queue = queue.as_str();
        match disposition.failure() {
            None => tracing::info!(queue, to, backend, %message_id, attempt, trace_id, "delivered"),
            Some(Failure { class, code, unreached, .. }) => {
                let host = unreached.as_ref().and_then(|unreached| unreached.host.as_deref());
                let reason = unreached.as_ref().map(|unreached| unreached.reason);
                tracing::warn!(
                    queue, to, backend, %message_id, attempt, outcome = counted.as_str(),
                    class = class.as_str(), code = &**code, host, reason, trace_id, "{}", undelivered(counted)
                );
            }
        }
    }
}

/// The outcome under which an attempt is counted. `dropped`: it was given up without a dead letter.
fn label(disposition: &Disposition, dropped: bool) -> OutcomeLabel {
    match disposition {
        _ if dropped => OutcomeLabel::Dropped,
        Disposition::Sent(_) => OutcomeLabel::Sent,
        Disposition::Retry { .. } | Disposition::Deferred { .. } => OutcomeLabel::Retrying,
        Disposition::Dead(_) | Disposition::Expired(_) => OutcomeLabel::Failed,
    }
}

/// The text of the log line about an attempt that failed with this outcome.
fn undelivered(outcome: OutcomeLabel) -> &'static str {
    match outcome {
        OutcomeLabel::Retrying => "not delivered, retrying",
        OutcomeLabel::Dropped => "not delivered, dropped",
        _ => "not delivered, dead-lettered",
    }
}

/// The number of the attempt to deliver `envelope`: 1 if the envelope has no number.
fn attempt_of(envelope: &Envelope) -> u32 {
    let counted = envelope.integer_header(header::ATTEMPT).and_then(|number| u32::try_from(number).ok());
    counted.unwrap_or(1).max(1)
}

/// What is to be published after an attempt: nothing if the receiver took the message, else the unchanged
/// message with the number of its next attempt, or with the reason why it is dead-lettered.
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
        Disposition::Retry { delay, .. } | Disposition::Deferred { delay, .. } => {
            let counts = matches!(disposition, Disposition::Retry { .. });
            envelope.headers = original.own_headers();
            let envelope = envelope.with(header::ATTEMPT, i64::from(attempt) + i64::from(counts));
            Some((Address::Later { queue: queue.clone(), delay: *delay }, envelope))
        }
        Disposition::Dead(failure) | Disposition::Expired(Some(failure)) => {
            // A dead letter that is redriven starts with attempt 1.
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
