//! How many messages of a backend wait for a retry.

use postern_broker::{Broker, Depth, QueueName};
use postern_config::{ApplicationSection, Config};

/// Counts the messages that wait for a retry.
#[derive(Debug, Clone)]
pub struct RetryCount {
    /// The queues in which RabbitMQ keeps these messages, by delay and not by backend.
    wait_queues: Vec<QueueName>,
    /// Whether only messages of one backend can wait there.
    only_one: bool,
}

impl RetryCount {
    /// A count for the backends of `config`.
    pub fn new(config: &Config) -> Self {
        let sending = config.backends.values().filter(|backend| backend.definition.connector.sends()).count();
        let called =
            matches!(config.application, ApplicationSection::Webhook(_)) || config.compat.call_back();
        let wait_queues = crate::topology(config).delays.into_iter().map(QueueName::wait).collect();
        Self { wait_queues, only_one: sending == 1 && !called }
    }

    /// How many messages wait for a retry in queues of one backend, which have these `depths`. `all` says
    /// that these are all of the backend's queues. `None` if it is not known: on RabbitMQ, it is known only
    /// if nothing waits, or if nothing else can wait.
    pub async fn of(&self, broker: &dyn Broker, depths: &[Depth], all: bool) -> Option<u64> {
        if let Some(delayed) = depths.iter().map(|depth| depth.delayed).sum() {
            return Some(delayed);
        }
        let mut waiting = 0;
        for queue in &self.wait_queues {
            waiting += broker.depth(queue).await.ok()?.ready;
        }
        (waiting == 0 || self.only_one && all).then_some(waiting)
    }
}
