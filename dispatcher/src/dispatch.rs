//! One message: read, sent, what became of it published, and only then acknowledged.
//!
//! A crash between two of these steps can double a message; it can never lose one.

use crate::{
    aftermath::{MALFORMED, aftermath, classes_of_dead, marked},
    attempt::Attempt,
    callbacks::notices,
    consume::Slot,
    flow::Paced,
    publish::Publisher,
    read::read,
    retry::{Schedule, Verdict},
};
use jiff::Timestamp;
use postern_broker::{Address, Delivery, Envelope, QueueName};
use postern_config::backend::text::Text;
use postern_service::metrics::{Outcome as Counted, SendingMetrics};
use postern_shared::{
    callback::CallbackKeys,
    error::{Failure, FailureClass},
    message::{BackendName, Priority},
};
use std::sync::Arc;

/// What it takes to send one backend's messages.
pub(crate) struct Station {
    pub(crate) name: BackendName,
    pub(crate) sender: Paced,
    pub(crate) text: Text,
    pub(crate) schedule: Schedule,
    /// What the callbacks of messages are sealed with.
    pub(crate) keys: CallbackKeys,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: SendingMetrics,
    pub(crate) normal: QueueName,
    pub(crate) bulk: QueueName,
}

impl Station {
    /// Takes `delivery`, which came in `lane`, to its end. `slot` is given up when the provider has
    /// answered: another message can then be sent while this one's outcome is stored.
    pub(crate) async fn dispatch(self: Arc<Self>, lane: Priority, delivery: Delivery, slot: Slot) {
        let queue = self.queue(lane);
        let message = match read(&delivery.envelope) {
            Ok(message) if message.backend == self.name => message,
            Ok(_) => {
                let why = "backend: this queue is another backend's";
                return self.bury(&delivery.envelope, queue, why).await.settle(delivery);
            }
            Err(malformed) => {
                let why = malformed.to_string();
                return self.bury(&delivery.envelope, queue, &why).await.settle(delivery);
            }
        };
        let Some(attempt) = self.attempt(&message, &slot.pass).await else {
            // Nothing of it was begun: as if it had not been taken.
            return delivery.release();
        };
        drop(slot);
        let now = Timestamp::now();
        let mut messages = aftermath(&delivery.envelope, queue, &attempt, now);
        messages.extend(notices(&self.keys, &delivery.envelope, &message, attempt.verdicts(), now));
        let stored = Stored(self.publisher.publish(messages).await);
        if stored.0 {
            self.count(&attempt, now);
            log(&delivery.envelope, &attempt);
        }
        stored.settle(delivery);
    }

    /// Where the messages of `lane` come from.
    pub(crate) fn queue(&self, lane: Priority) -> &QueueName {
        match lane {
            Priority::Normal => &self.normal,
            Priority::Bulk => &self.bulk,
        }
    }

    /// Dead-letters what is no message for this backend, as it was.
    async fn bury(&self, original: &Envelope, queue: &QueueName, why: &str) -> Stored {
        let letter = marked(original.clone(), queue, (FailureClass::Permanent, MALFORMED), why, 0);
        let stored = self.publisher.publish(vec![(Address::Dead(self.name.clone()), letter)]).await;
        if stored {
            self.metrics.message(Counted::Malformed);
            self.metrics.dead_letter(FailureClass::Permanent);
            tracing::warn!(
                queue = queue.as_str(),
                message_id = original.id().map(tracing::field::display),
                why,
                "dead-lettered unread"
            );
        }
        Stored(stored)
    }

    fn count(&self, attempt: &Attempt<'_>, now: Timestamp) {
        let tally = Tally::of(attempt);
        for (outcome, number) in [
            (Counted::Sent, tally.sent),
            (Counted::Retrying, tally.retrying),
            (Counted::Failed, tally.failed),
            (Counted::Expired, tally.expired),
        ] {
            if number > 0 {
                self.metrics.recipients(outcome, number);
            }
        }
        self.metrics.message(tally.message());
        if tally.sent > 0 {
            let age = now.duration_since(attempt.message.created_at).as_secs_f64();
            self.metrics.message_age.observe(age.max(0.0));
        }
        for fate in &attempt.fates {
            if let Verdict::Again { failure, .. } | Verdict::Postponed { failure, .. } = &fate.verdict {
                self.metrics.retries(failure.class, 1);
            }
            if let Some((sent, left)) = attempt.segments(fate) {
                self.metrics.segments(Counted::Sent, sent);
                self.metrics.segments(counted(&fate.verdict), left);
            }
        }
        for class in classes_of_dead(attempt) {
            self.metrics.dead_letter(class);
        }
    }
}

/// Whether what became of a message is stored.
struct Stored(bool);

impl Stored {
    /// Done with; or back to its queue, where the broker was closed before it could be stored.
    fn settle(self, delivery: Delivery) {
        if self.0 {
            delivery.ack();
        } else {
            delivery.release();
        }
    }
}

/// How many recipients came to what.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    sent: usize,
    retrying: usize,
    failed: usize,
    expired: usize,
}

impl Tally {
    fn of(attempt: &Attempt<'_>) -> Self {
        attempt.verdicts().fold(Self::default(), |mut tally, verdict| {
            match verdict {
                Verdict::Sent(_) => tally.sent += 1,
                Verdict::Again { .. } | Verdict::Postponed { .. } => tally.retrying += 1,
                Verdict::Dead(_) => tally.failed += 1,
                Verdict::Expired(_) => tally.expired += 1,
            }
            tally
        })
    }

    fn message(self) -> Counted {
        match self {
            Self { retrying: 1.., .. } => Counted::Retrying,
            Self { failed: 1.., .. } => Counted::Failed,
            Self { expired: 1.., .. } => Counted::Expired,
            _ => Counted::Sent,
        }
    }
}

fn counted(verdict: &Verdict) -> Counted {
    match verdict {
        Verdict::Sent(_) => Counted::Sent,
        Verdict::Again { .. } | Verdict::Postponed { .. } => Counted::Retrying,
        Verdict::Dead(_) => Counted::Failed,
        Verdict::Expired(_) => Counted::Expired,
    }
}

/// One line for each attempt. Never an identity, a text or what the provider answered.
pub(crate) fn log(original: &Envelope, attempt: &Attempt<'_>) {
    let (message, tally) = (attempt.message, Tally::of(attempt));
    let trace = original.trace_id();
    let failure = attempt.verdicts().find_map(|verdict| match verdict {
        Verdict::Again { failure, .. }
        | Verdict::Postponed { failure, .. }
        | Verdict::Dead(failure)
        | Verdict::Expired(Some(failure)) => Some(failure),
        Verdict::Sent(_) | Verdict::Expired(None) => None,
    });
    let (backend, message_id, attempt) = (message.backend.as_str(), message.id, message.attempt);
    let Tally { sent, retrying, failed, expired } = tally;
    match failure {
        None if expired > 0 => {
            tracing::warn!(backend, %message_id, attempt, expired, trace_id = trace, "expired, not sent");
        }
        None => tracing::info!(backend, %message_id, attempt, sent, trace_id = trace, "sent"),
        Some(Failure { class, code, .. }) => tracing::warn!(
            backend, %message_id, attempt, sent, retrying, failed, expired,
            class = class.as_str(), code = &**code, trace_id = trace, "not sent to all"
        ),
    }
}
