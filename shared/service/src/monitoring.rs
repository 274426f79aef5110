//! What a process shows of itself, and what operators ordered: its metrics, the health of its backends,
//! the orders that hold.

use crate::{control::Control, health::HealthRegistry, metrics::Metrics, waiting::WaitingLanes};

/// What a process shows of itself. Clones share it.
#[derive(Debug, Clone)]
pub struct Monitoring {
    /// What Prometheus reads.
    pub metrics: Metrics,
    /// Whether its backends send.
    pub health: HealthRegistry,
    /// What operators ordered.
    pub control: Control,
    /// The lanes that this process takes messages from.
    pub waiting: WaitingLanes,
}

impl Monitoring {
    /// Counts into `metrics`; no backend's health is noted yet, and nothing is ordered.
    pub fn new(metrics: Metrics) -> Self {
        let health = HealthRegistry::default();
        Self { metrics, control: Control::new(health.clone()), health, waiting: WaitingLanes::default() }
    }
}
