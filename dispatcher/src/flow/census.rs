//! Counting the processes that share a backend's rate: RabbitMQ knows how many consumers its queue
//! has.

use super::Gate;
use futures_util::{StreamExt, stream};
use postern_broker::{Broker, BrokerError, QueueName};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::sleep};

/// The least time between two counts, and what each backend with a rate adds to it.
const PERIOD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(5));
/// So many questions are asked at a time.
const AT_A_TIME: usize = 16;

/// How long the others may take to count a process that has just begun to consume, where so many
/// backends have a rate.
pub(crate) fn settling(rated: usize) -> Duration {
    period(rated) * 2
}

fn period(rated: usize) -> Duration {
    PERIOD.0 + PERIOD.1 * u32::try_from(rated).unwrap_or(u32::MAX).min(10_000)
}

/// Counts the consumers of each of `queues` again and again, for its gate, until it is dropped; at
/// once where `recount` is told. `rated`: how many backends of the configuration have a rate.
pub(crate) async fn census(
    broker: Arc<dyn Broker>,
    gates: Vec<(QueueName, Arc<Gate>)>,
    rated: usize,
    recount: Arc<Notify>,
) {
    if gates.is_empty() {
        return;
    }
    loop {
        let questions: Vec<_> = gates.iter().map(|(queue, gate)| count(&*broker, queue, gate)).collect();
        stream::iter(questions).buffer_unordered(AT_A_TIME).collect::<Vec<()>>().await;
        tokio::select! {
            () = sleep(period(rated)) => {}
            () = recount.notified() => {}
        }
    }
}

async fn count(broker: &dyn Broker, queue: &QueueName, gate: &Gate) {
    match broker.depth(queue).await {
        Ok(depth) => gate.counted(Some(depth.consumers)),
        // It may be busy, and the subscription as it was.
        Err(BrokerError::TimedOut(_)) => {}
        Err(_) => gate.counted(None),
    }
}
