//! What the parts of every program look at in the configuration that holds now.

use crate::retries::RetryCount;
use postern_broker::{QueueName, Topology};
use postern_config::Config;
use postern_shared::{callback::CallbackKeys, message::BackendName};
use std::collections::BTreeSet;

/// What the parts of every program look at in a configuration.
#[derive(Debug)]
pub struct Configured {
    /// What the broker has for it.
    pub topology: Topology,
    /// Counts what waits for its next attempt.
    pub retries: RetryCount,
    /// What the messages' wishes for callbacks are read with.
    pub keys: CallbackKeys,
}

impl Configured {
    /// Of `config`.
    pub fn of(config: &Config) -> Self {
        let (topology, retries) = (crate::topology(config), RetryCount::new(config));
        Self { topology, retries, keys: config.compat.callback_keys() }
    }

    /// The backends.
    pub fn backends(&self) -> &BTreeSet<BackendName> {
        &self.topology.backends
    }

    /// Every queue, those in which retries wait too.
    pub fn queues(&self) -> Vec<QueueName> {
        let queues = self.topology.queues().into_iter().map(|spec| spec.name);
        queues.chain(self.topology.delays.iter().map(|delay| QueueName::wait(*delay))).collect()
    }
}
