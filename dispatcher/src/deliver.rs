//! One message of a backend's queue, from the queue to its end: read, attempted, settled.

use crate::{
    attempt::Sending, consume::Slot, dead_letter::unread, read::read, settle::Settling, worker::Worker,
};
use async_trait::async_trait;
use postern_shared::{
    broker::{Address, Delivery, Envelope, QueueName},
    error::Failure,
    message::{BackendName, Lane, Outbound},
    metrics::Outcome as Counted,
};
use std::sync::Arc;

/// Sends the messages of one backend.
pub(crate) struct BackendWorker {
    name: BackendName,
    normal: QueueName,
    bulk: QueueName,
    sending: Sending,
    settling: Settling,
}

impl BackendWorker {
    /// A worker on the two queues of the backend that `sending` is for.
    pub(crate) fn new(sending: Sending, settling: Settling) -> Self {
        let name = sending.backend.clone();
        let [normal, bulk] = [Lane::Normal, Lane::Bulk].map(|lane| QueueName::outbound(&name, lane));
        Self { name, normal, bulk, sending, settling }
    }

    /// The backend.
    pub(crate) fn name(&self) -> &BackendName {
        &self.name
    }

    fn queue(&self, lane: Lane) -> &QueueName {
        match lane {
            Lane::Normal => &self.normal,
            Lane::Bulk => &self.bulk,
        }
    }

    /// # Errors
    /// Why this is not a message for this backend.
    fn read(&self, envelope: &Envelope) -> Result<Outbound, String> {
        match read(envelope) {
            Ok(message) if message.backend == self.name => Ok(message),
            Ok(_) => Err("backend: this queue is another backend's".to_owned()),
            Err(malformed) => Err(malformed.to_string()),
        }
    }
}

#[async_trait]
impl Worker for BackendWorker {
    fn queues(&self) -> Vec<(Lane, QueueName)> {
        vec![(Lane::Normal, self.normal.clone()), (Lane::Bulk, self.bulk.clone())]
    }

    async fn work(self: Arc<Self>, lane: Lane, delivery: Delivery, slot: Slot) {
        let queue = self.queue(lane);
        let message = match self.read(&delivery.envelope) {
            Ok(message) => message,
            Err(why) => return self.settling.refuse(delivery, queue, &why).await,
        };
        let Some(attempt) = self.sending.attempt(&message, &slot.pass).await else {
            // Sending did not begin: as if the message had not been taken.
            return delivery.release();
        };
        // The provider has answered: another message can be sent while this one is settled.
        drop(slot);
        self.settling.settle(delivery, queue, &attempt).await;
    }

    fn given_up(&self, lane: Lane, original: &Envelope, failure: &Failure) -> Vec<(Address, Envelope)> {
        match self.read(original) {
            Ok(message) => self.settling.given_up(original, self.queue(lane), &message, failure),
            Err(_) => unread(original, self.queue(lane), failure),
        }
    }

    fn count_given_up(&self, _: Lane, failure: &Failure) {
        self.settling.metrics.message(Counted::Failed);
        self.settling.metrics.dead_letter(failure.class);
    }
}
