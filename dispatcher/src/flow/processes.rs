//! Counting the processes that share a backend's rate: RabbitMQ knows how many consumers the
//! backend's queue has.

use super::FlowControl;
use futures_util::{StreamExt, stream};
use postern_broker::{Broker, BrokerError, QueueName};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::sleep};

/// The least time between two counts.
const PERIOD: Duration = Duration::from_millis(500);
/// What each backend with a rate adds to that.
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

/// Counts the consumers of each of `queues` for its flow control, again and again until it is
/// dropped, and at once when `recount` is notified. `rated` is how many backends of the configuration
/// have a rate.
pub(crate) async fn count_processes(
    broker: Arc<dyn Broker>,
    queues: Vec<(QueueName, Arc<FlowControl>)>,
    rated: usize,
    recount: Arc<Notify>,
) {
    if queues.is_empty() {
        return;
    }
    loop {
        let questions: Vec<_> = queues.iter().map(|(queue, flow)| count(&*broker, queue, flow)).collect();
        stream::iter(questions).buffer_unordered(AT_A_TIME).collect::<Vec<()>>().await;
        tokio::select! {
            () = sleep(period(rated)) => {}
            () = recount.notified() => {}
        }
    }
}

async fn count(broker: &dyn Broker, queue: &QueueName, flow: &FlowControl) {
    match broker.depth(queue).await {
        Ok(depth) => flow.counted(Some(depth.consumers)),
        // The broker may be busy, and the subscription as it was.
        Err(BrokerError::TimedOut(_)) => {}
        Err(_) => flow.counted(None),
    }
}
