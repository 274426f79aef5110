//! How long and how often to measure.

use std::time::Duration;

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// The effort's name.
    pub(crate) name: &'static str,
    /// How long one run of load lasts.
    pub(crate) load: Duration,
    /// How many times the floor and Postern are measured in turn.
    pub(crate) rounds: usize,
    /// How many messages one run sends.
    pub(crate) messages: u64,
    /// How many messages are sent one by one to measure a latency.
    pub(crate) singles: usize,
    /// The highest number of configured backends.
    pub(crate) backends: usize,
    /// The highest number of waiting messages.
    pub(crate) waiting: u64,
    /// How many events the message log holds when it is searched.
    pub(crate) events: u64,
}

impl Effort {
    /// For the table in the documentation.
    pub(crate) const FULL: Self = Self {
        name: "full",
        load: Duration::from_secs(8),
        rounds: 3,
        messages: 30_000,
        singles: 600,
        backends: 1_000,
        waiting: 1_000_000,
        events: 10_000_000,
    };
    /// For comparisons.
    pub(crate) const QUICK: Self = Self {
        name: "quick",
        load: Duration::from_secs(4),
        rounds: 2,
        messages: 12_000,
        singles: 200,
        backends: 100,
        waiting: 100_000,
        events: 300_000,
    };
    /// For checking whether the benchmark works.
    pub(crate) const SMOKE: Self = Self {
        name: "smoke",
        load: Duration::from_secs(1),
        rounds: 1,
        messages: 500,
        singles: 20,
        backends: 10,
        waiting: 1_000,
        events: 3_000,
    };
}
