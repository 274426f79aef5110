//! What a process shows of itself, and what operators have commanded: its metrics, the health of its
//! backends, the pauses and cancellations, the message log, the spans.

use crate::{
    control::Control, health::HealthRegistry, heartbeat::Heartbeats, message_log::OpenLog, metrics::Metrics,
    traces::Traces, waiting::WaitingLanes,
};

/// What a process shows of itself. Clones share it.
#[derive(Debug, Clone)]
pub struct Monitoring {
    /// The metrics that Prometheus reads.
    pub metrics: Metrics,
    /// Whether the process's backends send.
    pub health: HealthRegistry,
    /// What operators have commanded.
    pub control: Control,
    /// The message log; `None` if there is none.
    pub log: Option<OpenLog>,
    /// The lanes that this process consumes.
    pub waiting: WaitingLanes,
    /// Whether the process's loops are alive.
    pub heartbeats: Heartbeats,
    /// Makes spans.
    pub traces: Traces,
}

impl Monitoring {
    /// Counts into `metrics`. No health is noted and no command known yet, there is no message log, nobody
    /// watches the loops, and no spans are made.
    pub fn new(metrics: Metrics) -> Self {
        let health = HealthRegistry::default();
        let control = Control::new(health.clone());
        let (waiting, heartbeats) = (WaitingLanes::default(), Heartbeats::default());
        Self { metrics, control, health, log: None, waiting, heartbeats, traces: Traces::off() }
    }
}
