//! What a process shows of itself: its metrics, and the health of its backends.

use crate::{health::HealthRegistry, metrics::Metrics};

/// What a process shows of itself. Clones share it.
#[derive(Debug, Clone)]
pub struct Monitoring {
    /// What Prometheus reads.
    pub metrics: Metrics,
    /// Whether its backends send.
    pub health: HealthRegistry,
}

impl Monitoring {
    /// Counts into `metrics`; no backend's health is noted yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, health: HealthRegistry::default() }
    }
}
