//! The values from the current configuration that the parts of every program use.

use crate::retries::RetryCount;
use postern_broker::{QueueName, Topology};
use postern_config::Config;
use postern_shared::{callback::CallbackKeys, message::BackendName};
use std::collections::BTreeSet;

/// The values from a configuration that the parts of every program use.
#[derive(Debug)]
pub struct Configured {
    /// The exchanges and queues that the broker has for this configuration.
    pub topology: Topology,
    /// Counts the messages that wait for a retry.
    pub retries: RetryCount,
    /// The keys that the callbacks requested by messages are read with.
    pub keys: CallbackKeys,
}

impl Configured {
    /// The values from `config`.
    pub fn of(config: &Config) -> Self {
        let (topology, retries) = (crate::topology(config), RetryCount::new(config));
        Self { topology, retries, keys: config.compat.callback_keys() }
    }

    /// The configured backends.
    pub fn backends(&self) -> &BTreeSet<BackendName> {
        &self.topology.backends
    }

    /// Every queue, including those in which retries wait.
    pub fn queues(&self) -> Vec<QueueName> {
        let queues = self.topology.queues().into_iter().map(|spec| spec.name);
        queues.chain(self.topology.delays.iter().map(|delay| QueueName::wait(*delay))).collect()
    }
}
