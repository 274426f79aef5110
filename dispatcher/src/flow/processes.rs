//! Counting the processes that share a backend's rate: RabbitMQ knows how many consumers the backend's
//! queue has.
//!
//! Each process divides the limit by that number, every half second and 5 ms more for each backend with a
//! rate. A process that begins to consume sends nothing until the others have had twice that time to count
//! it, unless it is alone, so the shares add up to the limit or less. RabbitMQ drops the consumer of a
//! killed process at once, and the others go faster at their next count.
//!
//! No server hands out tokens: RabbitMQ knows the number already, and nothing more can fail. The unused
//! part of a process's share does not go to the others, but RabbitMQ distributes messages evenly, so a busy
//! queue keeps all processes busy.

use super::FlowControl;
use futures_util::{StreamExt, stream};
use postern_broker::{Broker, BrokerError, QueueName};
use postern_shared::message::BackendName;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};

/// The least time between two counts.
const PERIOD: Duration = Duration::from_millis(500);
/// The time that each backend with a rate adds to [`PERIOD`].
const PERIOD_EACH: Duration = Duration::from_millis(5);
/// How many queues are asked about at a time.
const AT_A_TIME: usize = 16;

/// How long the other processes may take to count one that has just begun to consume, if `rated`
/// backends of the configuration have a rate.
pub(crate) fn settling(rated: usize) -> Duration {
    period(rated) * 2
}

fn period(rated: usize) -> Duration {
    PERIOD + PERIOD_EACH * u32::try_from(rated).unwrap_or(u32::MAX).min(10_000)
}

/// The queues whose consumers are counted, and their flow control. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RatedQueues(Arc<Mutex<RatedState>>);

#[derive(Debug, Default)]
struct RatedState {
    /// How many backends of the configuration have a rate, including those that are not served here.
    configured: usize,
    queues: BTreeMap<BackendName, (QueueName, Arc<FlowControl>)>,
}

impl RatedQueues {
    fn rated(&self) -> MutexGuard<'_, RatedState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `number` backends of the configuration have a rate, including those that are not served
    /// here.
    pub(crate) fn configured(&self, number: usize) {
        self.rated().configured = number;
    }

    /// Notes that `backend` is served from `queue` with this flow control. Its consumers are counted if it
    /// has a rate.
    pub(crate) fn note(&self, backend: &BackendName, queue: &QueueName, flow: &Arc<FlowControl>) {
        let mut rated = self.rated();
        rated.queues.remove(backend);
        if flow.is_rated() {
            rated.queues.insert(backend.clone(), (queue.clone(), flow.clone()));
        }
    }

    /// Notes that `backend` is no longer served.
    pub(crate) fn forget(&self, backend: &BackendName) {
        self.rated().queues.remove(backend);
    }

    /// Counts the consumers of each queue for its flow control, repeatedly until it is dropped, and at once
    /// when `recount` is notified.
    pub(crate) async fn count_processes(self, broker: Arc<dyn Broker>, recount: Arc<Notify>) {
        loop {
            let (configured, queues) = {
                let rated = self.rated();
                (rated.configured, rated.queues.values().cloned().collect::<Vec<_>>())
            };
            if queues.is_empty() {
                recount.notified().await;
                continue;
            }
            let questions: Vec<_> = queues.iter().map(|(queue, flow)| count(&*broker, queue, flow)).collect();
            stream::iter(questions).buffer_unordered(AT_A_TIME).collect::<Vec<()>>().await;
            tokio::select! {
                () = sleep(period(configured)) => {}
                () = recount.notified() => {}
            }
        }
    }
}

async fn count(broker: &dyn Broker, queue: &QueueName, flow: &FlowControl) {
    match broker.depth(queue).await {
        Ok(depth) => flow.counted(Some(depth.consumers)),
        // The broker may only be busy, with the subscription unchanged.
        Err(BrokerError::TimedOut(_)) => {}
        Err(_) => flow.counted(None),
    }
}
