//! The metrics of the spool.

use postern_store::spool::Figures;
use prometheus::{Gauge, IntCounter, IntGauge, Registry};

/// What the spool holds, and what has become of what it held.
#[derive(Debug, Clone)]
pub(super) struct SpoolMetrics {
    messages: IntGauge,
    bytes: IntGauge,
    oldest: Gauge,
    stored: IntCounter,
    forwarded: IntCounter,
    refused: IntCounter,
    dead: IntCounter,
}

impl SpoolMetrics {
    /// All of them, in `registry`.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let oldest = Gauge::new("spool_oldest_seconds", "Age of the oldest message in the spool")?;
        registry.register(Box::new(oldest.clone()))?;
        Ok(Self {
            messages: gauge("spool_messages", "Messages in the spool: accepted, not yet in the broker")?,
            bytes: gauge("spool_bytes", "Bytes of the messages in the spool")?,
            oldest,
            stored: counter("spool_stored_total", "Messages taken into the spool")?,
            forwarded: counter("spool_forwarded_total", "Messages that the broker has taken from the spool")?,
            refused: counter("spool_refused_total", "Messages that neither the broker nor the spool took")?,
            dead: counter(
                "spool_dead_letters_total",
                "Spooled messages that the broker refuses for ever, among the dead letters",
            )?,
        })
    }

    /// Shows `figures`.
    pub(super) fn set(&self, figures: &Figures) {
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
