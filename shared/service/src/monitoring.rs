//! What a process shows of itself, and what operators ordered: its metrics, the health of its backends,
//! the orders that hold, the message log.

use crate::{
    control::Control, health::HealthRegistry, heartbeat::Heartbeats, message_log::OpenLog, metrics::Metrics,
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
    /// Whether its loops are alive.
    pub heartbeats: Heartbeats,
}

impl Monitoring {
    /// Counts into `metrics`; no backend's health is noted yet, nothing is ordered, there is no message log, and
    /// nobody watches the loops.
    pub fn new(metrics: Metrics) -> Self {
        let health = HealthRegistry::default();
        let control = Control::new(health.clone());
        let (waiting, heartbeats) = (WaitingLanes::default(), Heartbeats::default());
        Self { metrics, control, health, log: None, waiting, heartbeats }
    }
}
