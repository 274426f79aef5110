//! The metrics whose values the admin port reads when `/metrics` is requested: the broker, the spool, the
//! backends' health.

use crate::{
    health::BackendHealth,
    metrics::{LogMetrics, Metrics},
};
use postern_broker::BrokerStatus;
use postern_shared::{control::ControlState, message::BackendName};
use postern_store::{embedded::RecordedEvents, spool::Figures};
use prometheus::{Error, Gauge, IntCounter, IntGauge, IntGaugeVec};
use std::collections::{BTreeMap, BTreeSet};

/// The metrics that are set when they are read. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct AdminMetrics {
    connected: IntGauge,
    blocked: IntGauge,
    ready: IntGaugeVec,
    /// Without labels; not shown until it is set.
    application_ready: IntGaugeVec,
    paused: IntGaugeVec,
    unconfigured: IntGaugeVec,
    /// Requests without the token.
    pub(super) refused: IntCounter,
    spool: SpoolMetrics,
    /// The embedded broker's message log. `None`: the recorder counts.
    recording: Option<LogMetrics>,
}

impl AdminMetrics {
    /// Declares the metrics on `metrics`.
    ///
    /// # Errors
    /// This process has an admin port already.
    pub(super) fn declare(metrics: &Metrics) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| metrics.declare(IntGauge::new(name, help)?);
        let refused =
            IntCounter::new("admin_refused_total", "Requests on the admin port without a valid token")?;
        Ok(Self {
            connected: gauge("broker_connected", "1 while the broker is connected")?,
            blocked: gauge("broker_blocked", "1 while the broker accepts no messages")?,
            ready: metrics.gauge(
                "backend_ready",
                "1 while the backend sends, 0 while it is paused or not bound",
                &["backend"],
            )?,
            application_ready: metrics.gauge(
                "application_ready",
                "1 while the application's webhook accepts messages, 0 while it is down and messages wait",
                &[],
            )?,
            paused: metrics.gauge(
                "backend_paused",
                "1 while the backend is paused by an operator, in all processes",
                &["backend"],
            )?,
            unconfigured: metrics.gauge(
                "unconfigured_messages",
                "Messages that wait for a backend that is no longer configured",
                &["backend"],
            )?,
            refused: metrics.declare(refused)?,
            spool: SpoolMetrics::declare(metrics)?,
            recording: None,
        })
    }

    /// Adds the metrics of a message log that the embedded broker keeps.
    ///
    /// # Errors
    /// Another part of this process has declared them.
    pub(super) fn recording(self, metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self { recording: Some(LogMetrics::declare(metrics)?), ..self })
    }

    /// Shows how many events were recorded, and how many could not be.
    pub(super) fn recorded(&self, events: RecordedEvents) {
        if let Some(LogMetrics { written, failures, .. }) = &self.recording {
            written.inc_by(events.recorded.saturating_sub(written.get()));
            failures.inc_by(events.failed.saturating_sub(failures.get()));
        }
    }

    /// Shows whether the broker can be used.
    pub(super) fn broker(&self, status: &BrokerStatus) {
        self.connected.set(i64::from(matches!(status, BrokerStatus::Ready | BrokerStatus::Blocked(_))));
        self.blocked.set(i64::from(matches!(status, BrokerStatus::Blocked(_))));
    }

    /// Shows the health of each backend that this process serves.
    pub(super) fn backends(&self, backends: &[(BackendName, BackendHealth)]) {
        self.ready.reset();
        for (backend, health) in backends {
            let ready = *health == BackendHealth::Ready;
            self.ready.with_label_values(&[backend.as_str()]).set(i64::from(ready));
        }
    }

    /// Shows the health of the application's webhook, if this process calls it.
    pub(super) fn application(&self, health: Option<BackendHealth>) {
        self.application_ready.reset();
        if let Some(health) = health {
            self.application_ready
                .with_label_values::<&str>(&[])
                .set(i64::from(health == BackendHealth::Ready));
        }
    }

    /// Shows how many messages wait for each backend that is not configured.
    pub(super) fn unconfigured(&self, waiting: &BTreeMap<BackendName, u64>) {
        self.unconfigured.reset();
        for (backend, messages) in waiting {
            let messages = i64::try_from(*messages).unwrap_or(i64::MAX);
            self.unconfigured.with_label_values(&[backend.as_str()]).set(messages);
        }
    }

    /// Shows which of `backends`, the configured ones, are paused by operators.
    pub(super) fn paused(&self, backends: &BTreeSet<BackendName>, state: &ControlState) {
        // A reload may have removed backends.
        self.paused.reset();
        for backend in backends {
            let paused = state.pauses().contains_key(backend);
            self.paused.with_label_values(&[backend.as_str()]).set(i64::from(paused));
        }
    }

    /// Shows what the spool holds and has done.
    pub(super) fn spool(&self, figures: &Figures) {
        self.spool.set(figures);
    }
}

/// What the spool holds, and what became of the messages that it held.
#[derive(Debug, Clone)]
struct SpoolMetrics {
    messages: IntGauge,
    bytes: IntGauge,
    oldest: Gauge,
    stored: IntCounter,
    forwarded: IntCounter,
    refused: IntCounter,
    dead: IntCounter,
}

impl SpoolMetrics {
    fn declare(metrics: &Metrics) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| metrics.declare(IntGauge::new(name, help)?);
        let counter = |name: &str, help: &str| metrics.declare(IntCounter::new(name, help)?);
        let oldest = Gauge::new("spool_oldest_seconds", "Age of the oldest message in the spool")?;
        Ok(Self {
            messages: gauge("spool_messages", "Messages in the spool: accepted, not yet in the broker")?,
            bytes: gauge("spool_bytes", "Bytes of the messages in the spool")?,
            oldest: metrics.declare(oldest)?,
            stored: counter("spool_stored_total", "Messages stored in the spool")?,
            forwarded: counter("spool_forwarded_total", "Messages forwarded from the spool to the broker")?,
            refused: counter(
                "spool_refused_total",
                "Messages that neither the broker nor the spool accepted",
            )?,
            dead: counter(
                "spool_dead_letters_total",
                "Spooled messages that the broker will never accept: dead-lettered",
            )?,
        })
    }

    fn set(&self, figures: &Figures) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.messages.set(number(figures.usage.messages));
        self.bytes.set(number(figures.usage.bytes));
        self.oldest.set(figures.oldest.map_or(0.0, |age| age.as_secs_f64()));
        for (counter, now) in [
            (&self.stored, figures.stored),
            (&self.forwarded, figures.forwarded),
            (&self.refused, figures.refused),
            (&self.dead, figures.dead),
        ] {
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_store::spool::SpoolUsage;

    #[test]
    fn what_the_process_knows_is_shown_when_it_is_asked() {
        let metrics = Metrics::new("postern", "0").unwrap();
        let admin = AdminMetrics::declare(&metrics).unwrap();
        admin.broker(&BrokerStatus::Blocked(String::new()));
        admin.backends(&[("demo".parse().unwrap(), BackendHealth::Ready)]);
        admin.application(None);
        assert!(!metrics.text().contains("application_ready"), "no webhook is called here");
        admin.application(Some(BackendHealth::NotBound { why: String::new() }));
        let usage = SpoolUsage { messages: 3, bytes: 700, full: false };
        let oldest = Some(std::time::Duration::from_millis(1500));
        for forwarded in [1, 4] {
            admin.spool(&Figures { usage, oldest, stored: 7, forwarded, refused: 2, dead: 1 });
        }
        let text = metrics.text();
        for line in [
            "postern_admin_refused_total 0",
            "postern_application_ready 0",
            "postern_backend_ready{backend=\"demo\"} 1",
            "postern_broker_connected 1",
            "postern_broker_blocked 1",
            "postern_spool_messages 3",
            "postern_spool_bytes 700",
            "postern_spool_oldest_seconds 1.5",
            "postern_spool_stored_total 7",
            "postern_spool_forwarded_total 4",
            "postern_spool_refused_total 2",
            "postern_spool_dead_letters_total 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
