//! The interface of everything that works on the messages of a queue.

use crate::flow::WorkPermit;
use async_trait::async_trait;
use postern_broker::{Delivery, QueueName};
use postern_service::traces::TraceSpan;
use postern_shared::{error::Failure, message::Priority};
use std::sync::Arc;

/// A message to work on.
#[derive(Debug)]
pub(crate) struct Job {
    /// The lane in which it came.
    pub(crate) lane: Priority,
    pub(crate) delivery: Delivery,
    /// The worker drops it as soon as another message may be begun.
    pub(crate) permit: WorkPermit,
    /// Why the message is given up without an attempt, if it is.
    pub(crate) poison: Option<Failure>,
    /// The span of the work.
    pub(crate) span: TraceSpan,
}

/// Works on the messages of one or two queues.
#[async_trait]
pub(crate) trait Worker: Send + Sync {
    /// Its queues, each with the lane in which it is worked on.
    fn queues(&self) -> Vec<(Priority, QueueName)>;

    /// Takes the message to its end.
    async fn work(self: Arc<Self>, job: Job);
}
