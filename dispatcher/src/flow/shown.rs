//! Shows a backend's flow control in the log, in the metrics and in the backend's health.

use super::{breaker::BreakerChange, metrics::FlowMetrics, state::Noted};
use crate::outcome::Outcome;
use postern_service::health::HealthReporter;
use postern_shared::error::{Failure, FailureClass};
use std::time::Duration;

/// Where flow control shows what it does.
#[derive(Debug)]
pub(crate) struct FlowShown {
    /// The Prometheus metrics.
    pub(crate) metrics: FlowMetrics,
    /// Whether the backend sends.
    pub(crate) health: HealthReporter,
}

impl FlowShown {
    /// Counts and logs what followed from the answers to a request of `backend`. `is_closed`: nothing is
    /// taken from its queues at present.
    pub(super) fn report(&self, backend: &str, noted: Noted, outcomes: &[Outcome], is_closed: bool) {
        let failure = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        if let Some((pause, new)) = noted.throttled {
            self.throttled(backend, pause, new.then(|| failure.map(|failure| &*failure.code)));
            if is_closed {
                self.health.paused(after(pause), "rate limited by the provider");
            }
        }
        if let Some(change) = noted.breaker {
            self.breaker(backend, change, failure);
        }
    }

    /// Counts an answer that asks for less. `new` holds the failure's code if the pause is a new one.
    fn throttled(&self, backend: &str, pause: Duration, new: Option<Option<&str>>) {
        self.metrics.throttled();
        if let Some(code) = new {
            tracing::warn!(
                backend,
                code,
                seconds = pause.as_secs_f64(),
                "rate limited by the provider, sending paused"
            );
        }
    }

    fn breaker(&self, backend: &str, change: BreakerChange, failure: Option<&Failure>) {
        let code = failure.map_or("", |failure| &*failure.code);
        let what = failure.map_or(DOWN, what_is_wrong);
        let unreached = failure.and_then(|failure| failure.unreached.as_ref());
        let reason = unreached.map(|unreached| unreached.reason);
        let said = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let why = || format!("breaker open: {what}: consecutive sends failed, the last with {code}{said}");
        match change {
            BreakerChange::Opened(pause) => {
                self.metrics.breaker_opened();
                self.health.paused(after(pause), why());
                let seconds = pause.as_secs_f64();
                tracing::warn!(
                    backend,
                    code,
                    reason,
                    seconds,
                    "breaker open: {what}; messages wait in the queue"
                );
            }
            BreakerChange::StaysOpen(pause) => self.health.paused(after(pause), why()),
            BreakerChange::Closed => {
                self.metrics.breaker_closed();
                self.health.resumed();
                tracing::info!(backend, "breaker closed: the provider is back, sending resumed");
            }
        }
    }
}

/// The text of [`what_is_wrong`] for any other run of failures.
const DOWN: &str = "the provider is down";

/// What a run of failures such as `failure` means, for an operator.
fn what_is_wrong(failure: &Failure) -> &'static str {
    if failure.was_not_accepted() {
        "no answer matches send.success, although messages may have been sent"
    } else if failure.had_no_outcome() {
        "the answers say nothing about the recipients (send.results), although messages may have been sent"
    } else if failure.class == FailureClass::Unknown {
        "the provider is down, or it is slower than send.timeout and messages may have been sent"
    } else {
        DOWN
    }
}

/// The instant at which a pause that begins now ends.
pub(super) fn after(pause: Duration) -> std::time::Instant {
    std::time::Instant::now() + pause
}
