//! One message of a backend's queue, from the queue to its end: read, attempted, settled.
//!
//! After a crash before the outcome is stored, everything that this attempt sent is sent again, all parts
//! of it. The same is true after a crash between storing the outcome and acknowledging. Both make
//! duplicates under the same id, and neither loses anything. No order of the steps avoids both: the
//! provider is not part of any transaction of ours.

use crate::{
    attempt::{Attempt, Sending},
    settle::Settling,
    worker::{Job, Worker},
};
use async_trait::async_trait;
use postern_broker::{
    Envelope, QueueName,
    queued::{Queued, read},
};
use postern_service::waiting::LanesTaken;
use postern_shared::{
    clock,
    message::{BackendName, Outbound, Priority},
};
use std::sync::Arc;

/// Sends the messages of one backend.
pub(crate) struct BackendWorker {
    name: BackendName,
    normal: QueueName,
    bulk: QueueName,
    sending: Sending,
    settling: Settling,
    taken: LanesTaken,
}

impl BackendWorker {
    /// A worker for the two queues of the backend of `sending`. It notes in `taken` each message that it
    /// takes.
    pub(crate) fn new(sending: Sending, settling: Settling, taken: LanesTaken) -> Self {
        let name = sending.backend.name.clone();
        let [normal, bulk] = [Priority::Normal, Priority::Bulk].map(|lane| QueueName::outbound(&name, lane));
        Self { name, normal, bulk, sending, settling, taken }
    }

    fn queue(&self, lane: Priority) -> &QueueName {
        match lane {
            Priority::Normal => &self.normal,
            Priority::Bulk => &self.bulk,
        }
    }

    /// Reads the message in `envelope`.
    ///
    /// # Errors
    /// Why it is not a message for this backend.
    fn read(&self, envelope: &Envelope) -> Result<Outbound, String> {
        match read(envelope) {
            Ok(mut message) if message.backend == self.name => {
                let definition = &self.sending.backend.definition;
                message.identities =
                    message.identities.into_iter().map(|written| definition.identity(written)).collect();
                Ok(message)
            }
            Ok(_) => Err("backend: this is the queue of another backend".to_owned()),
            Err(malformed) => Err(malformed.to_string()),
        }
    }
}

#[async_trait]
impl Worker for BackendWorker {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, self.normal.clone()), (Priority::Bulk, self.bulk.clone())]
    }

    async fn work(self: Arc<Self>, Job { lane, delivery, permit, poison, mut span }: Job) {
        let queue = self.queue(lane);
        let message = match self.read(&delivery.envelope) {
            Ok(message) => message,
            Err(why) => return self.settling.refuse(delivery, queue, &why, &mut span).await,
        };
        span.note_attempt(message.id, message.attempt);
        self.taken.of(lane).note(message.created_at, clock::now());
        let since = delivery.since;
        let queued = Queued { envelope: &delivery.envelope, message: &message, lane };
        let is_cancelled = || self.settling.control.cancels(queued, since.elapsed());
        let attempt = match poison {
            _ if is_cancelled() => None,
            Some(failure) => Some(Attempt::given_up(&message, &failure)),
            None => self.sending.attempt(&message, &permit, &span.scope(), &is_cancelled).await,
        };
        let Some(attempt) = attempt else {
            if let Some(cancelled) = self.settling.cancelled(queued, since.elapsed()) {
                drop(permit);
                return self.settling.cancel((delivery, queue), &message, cancelled, &mut span).await;
            }
            // Sending did not begin: the message is released as if it had not been taken.
            span.scope().requeued(queue);
            return delivery.release();
        };
        // The provider has answered: another message can be sent while this one is settled.
        drop(permit);
        self.settling.settle(delivery, queue, &attempt, &mut span).await;
    }
}
