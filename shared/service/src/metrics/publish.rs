//! The metrics of publishing.

use super::{SECONDS, declare};
use postern_broker::QueueName;
use prometheus::{Error, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// How long publishes take, and how many fail, for each queue. Clones share them.
#[derive(Debug, Clone)]
pub struct PublishMetrics {
    duration: HistogramVec,
    failures: IntCounterVec,
}

impl PublishMetrics {
    pub(super) fn declare(registry: &Registry) -> Result<Self, Error> {
        let help = "From a publish to the broker's confirm, or to its place in the spool";
        let duration = HistogramOpts::new("publish_duration_seconds", help).buckets(SECONDS.to_vec());
        let help = "Publishes that were neither confirmed nor spooled";
        Ok(Self {
            duration: declare(registry, HistogramVec::new(duration, &["queue"])?)?,
            failures: declare(
                registry,
                IntCounterVec::new(Opts::new("publish_failures_total", help), &["queue"])?,
            )?,
        })
    }

    /// Makes the metrics of `queue`, which this process publishes to, appear from the start.
    pub fn declare_queue(&self, queue: &QueueName) {
        self.duration.with_label_values(&[queue.as_str()]);
        self.failures.with_label_values(&[queue.as_str()]);
    }

    /// Counts a publish to `queue` that took so many `seconds`, and a failure unless it was `confirmed`.
    pub fn published(&self, queue: &QueueName, confirmed: bool, seconds: f64) {
        self.duration.with_label_values(&[queue.as_str()]).observe(seconds);
        if !confirmed {
            self.failures.with_label_values(&[queue.as_str()]).inc();
        }
    }
}
