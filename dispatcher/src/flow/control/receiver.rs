//! Flow control of deliveries that all go to one receiver instead of a backend: the application's webhook.

use super::{FlowControl, ReceiverShown};
use crate::{
    flow::{breaker::BreakerChange, shown::after, state::FlowState},
    outcome::Outcome,
};
use postern_config::BreakerSection;
use postern_service::health::HealthReporter;
use postern_shared::error::Failure;
use std::time::Duration;
use tokio::time::Instant;

impl FlowControl {
    /// Flow control that limits the deliveries in flight to `concurrency`. While the receiver `to` is down,
    /// it pauses as `breaker` says, and `health` shows that.
    pub(crate) fn of_receiver(
        to: &'static str,
        concurrency: u16,
        breaker: BreakerSection,
        health: HealthReporter,
    ) -> Self {
        let state = FlowState::with_breaker(concurrency, breaker, Instant::now());
        Self { receiver: Some(ReceiverShown { to, health }), ..Self::of_deliveries(concurrency, state) }
    }

    /// Notes the outcome of a delivery. `last_wait` is how long the message waited for this attempt if it
    /// is the last one. If the receiver is down and the breaker open, returns how long it is not called:
    /// then the attempt does not count.
    pub(in crate::flow) fn note_delivery(
        &self,
        outcome: &Outcome,
        last_wait: Option<Duration>,
    ) -> Option<Duration> {
        let (change, pause) = self.state().note_delivery(outcome, last_wait, Instant::now());
        if let (Some(change), Some(shown)) = (change, &self.receiver) {
            shown.report(change, outcome.as_ref().err());
            self.changed.notify_waiters();
        }
        pause
    }
}

impl ReceiverShown {
    fn report(&self, change: BreakerChange, failure: Option<&Failure>) {
        let to = self.to;
        let code = failure.map_or("", |failure| &*failure.code);
        let unreached = failure.and_then(|failure| failure.unreached.as_ref());
        let reason = unreached.map(|unreached| unreached.reason);
        let said = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let why = || {
            format!(
                "breaker open: the webhook is down, consecutive deliveries failed, the last with {code}{said}"
            )
        };
        match change {
            BreakerChange::Opened(pause) => {
                self.health.paused(after(pause), why());
                let seconds = pause.as_secs_f64();
                tracing::warn!(
                    to,
                    code,
                    reason,
                    seconds,
                    "breaker open: the webhook is down, messages and reports wait in their queues"
                );
            }
            BreakerChange::StaysOpen(pause) => self.health.paused(after(pause), why()),
            BreakerChange::Closed => {
                self.health.resumed();
                tracing::info!(to, "breaker closed: the webhook is back, delivery resumed");
            }
        }
    }
}
