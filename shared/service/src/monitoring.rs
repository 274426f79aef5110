//! What a process shows of itself, and what operators ordered: its metrics, the health of its backends,
//! the orders that hold, the message log, the spans.

use crate::{
    control::Control, health::HealthRegistry, message_log::OpenLog, metrics::Metrics, traces::Traces,
    waiting::WaitingLanes,
};

/// What a process shows of itself. Clones share it.
#[derive(Debug, Clone)]
pub struct Monitoring {
    /// What Prometheus reads.
    pub metrics: Metrics,
    /// Whether its backends send.
    pub health: HealthRegistry,
    /// What operators ordered.
    pub control: Control,
    /// What became of every message; `None` without a message log.
    pub log: Option<OpenLog>,
    /// The lanes that this process takes messages from.
    pub waiting: WaitingLanes,
    /// The spans that are made.
    pub traces: Traces,
}

impl Monitoring {
    /// Counts into `metrics`; no backend's health is noted yet, nothing is ordered, there is no message log, and
    /// no spans are made.
    pub fn new(metrics: Metrics) -> Self {
        let health = HealthRegistry::default();
        let control = Control::new(health.clone());
        Self { metrics, control, health, log: None, waiting: WaitingLanes::default(), traces: Traces::off() }
    }
}
