//! What works on the messages of a queue.

use crate::consume::Slot;
use async_trait::async_trait;
use postern_shared::{
    broker::{Address, Delivery, Envelope, QueueName},
    error::Failure,
    message::Lane,
};
use std::sync::Arc;

/// Works on the messages of one or two queues.
#[async_trait]
pub(crate) trait Worker: Send + Sync {
    /// Its queues, by the lane that they are worked on in.
    fn queues(&self) -> Vec<(Lane, QueueName)>;

    /// Takes `delivery`, which came in `lane`, to its end. `slot` is dropped when another message may
    /// be begun.
    async fn work(self: Arc<Self>, lane: Lane, delivery: Delivery, slot: Slot);

    /// What is published about a message that is given up without being worked on.
    fn given_up(&self, lane: Lane, original: &Envelope, failure: &Failure) -> Vec<(Address, Envelope)>;

    /// Counts a message that was given up in this way.
    fn count_given_up(&self, lane: Lane, failure: &Failure);
}
