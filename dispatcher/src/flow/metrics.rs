//! The Prometheus metrics of flow control: a backend's rate, its circuit breaker, and throttling by its
//! provider.

use postern_service::metrics::Metrics;
use postern_shared::message::BackendName;
use prometheus::{Error, GaugeVec, Histogram, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

/// The upper bounds of a wait for the rate, in seconds: 5 ms to 10 min.
const WAITS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 600.0];

/// Whether a backend has a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rated {
    /// It has a rate.
    Yes,
    /// Only its concurrency limits it.
    No,
}

/// The metrics of flow control, of all backends. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct AllFlowMetrics {
    breaker_open: IntGaugeVec,
    breaker_opened: IntCounterVec,
    throttled: IntCounterVec,
    rate_wait: HistogramVec,
    rate_share: GaugeVec,
    concurrency: IntGaugeVec,
}

impl AllFlowMetrics {
    /// Declares the metrics of flow control on `metrics`.
    ///
    /// # Errors
    /// Another dispatcher of this process has already declared them.
    pub(crate) fn declare(metrics: &Metrics) -> Result<Self, Error> {
        let backend = &["backend"];
        let help = "This process's share of the backend's rate, per second";
        Ok(Self {
            breaker_open: metrics.gauge(
                "breaker_open",
                "1 while the backend's circuit breaker is open",
                backend,
            )?,
            breaker_opened: metrics.counter(
                "breaker_opened_total",
                "How often the backend's circuit breaker opened",
                backend,
            )?,
            throttled: metrics.counter(
                "throttled_total",
                "Answers by which the provider limited the rate",
                backend,
            )?,
            rate_wait: metrics.histogram(
                "rate_wait_seconds",
                "How long requests waited because of the backend's rate",
                backend,
                &WAITS,
            )?,
            rate_share: metrics.declare(GaugeVec::new(Opts::new("rate_share", help), backend)?)?,
            concurrency: metrics.gauge(
                "dispatch_concurrency",
                "How many requests may be in flight at the same time",
                backend,
            )?,
        })
    }

    /// Removes the present state of `backend`, which starts again or is no longer served.
    pub(crate) fn forget(&self, backend: &BackendName) {
        let labels = &[backend.as_str()];
        // Removing a value that was never shown fails, which does not matter.
        let _ = self.breaker_open.remove_label_values(labels);
        let _ = self.rate_share.remove_label_values(labels);
        let _ = self.concurrency.remove_label_values(labels);
    }

    /// The metrics of `backend`, which appear from the start. Only a backend with a rate has a wait for the
    /// rate.
    pub(crate) fn of(&self, backend: &BackendName, rate: Rated) -> FlowMetrics {
        let name = backend.as_str();
        self.breaker_open.with_label_values(&[name]);
        self.breaker_opened.with_label_values(&[name]);
        self.throttled.with_label_values(&[name]);
        let rate_wait = (rate == Rated::Yes).then(|| self.rate_wait.with_label_values(&[name]));
        FlowMetrics { backend: backend.clone(), rate_wait, all: self.clone() }
    }
}

/// The metrics of one backend's flow control.
#[derive(Debug, Clone)]
pub(crate) struct FlowMetrics {
    backend: BackendName,
    /// `None` for a backend without a rate.
    rate_wait: Option<Histogram>,
    all: AllFlowMetrics,
}

impl FlowMetrics {
    /// Observes how many seconds one request waited for the rate.
    pub(crate) fn waited(&self, seconds: f64) {
        if let Some(rate_wait) = &self.rate_wait {
            rate_wait.observe(seconds);
        }
    }

    /// Shows this process's share of the rate, per second.
    pub(crate) fn share(&self, per_second: f64) {
        self.all.rate_share.with_label_values(&[self.backend.as_str()]).set(per_second);
    }

    /// Shows how many requests may be in flight at a time.
    pub(crate) fn concurrency(&self, requests: u32) {
        self.all.concurrency.with_label_values(&[self.backend.as_str()]).set(i64::from(requests));
    }

    /// Counts an answer by which the provider asked for less.
    pub(crate) fn throttled(&self) {
        self.all.throttled.with_label_values(&[self.backend.as_str()]).inc();
    }

    /// Shows that the circuit breaker opened.
    pub(crate) fn breaker_opened(&self) {
        self.all.breaker_open.with_label_values(&[self.backend.as_str()]).set(1);
        self.all.breaker_opened.with_label_values(&[self.backend.as_str()]).inc();
    }

    /// Shows that the circuit breaker closed.
    pub(crate) fn breaker_closed(&self) {
        self.all.breaker_open.with_label_values(&[self.backend.as_str()]).set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_messages_back_is_shown_from_the_start() {
        let metrics = Metrics::new("postern", "0").unwrap();
        let all = AllFlowMetrics::declare(&metrics).unwrap();
        let flow = all.of(&"demo".parse().unwrap(), Rated::Yes);
        flow.share(12.5);
        flow.breaker_opened();
        let text = metrics.text();
        for line in [
            "postern_breaker_open{backend=\"demo\"} 1",
            "postern_breaker_opened_total{backend=\"demo\"} 1",
            "postern_throttled_total{backend=\"demo\"} 0",
            "postern_rate_wait_seconds_count{backend=\"demo\"} 0",
            "postern_rate_share{backend=\"demo\"} 12.5",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        flow.breaker_closed();
        assert!(metrics.text().contains("postern_breaker_open{backend=\"demo\"} 0"));
        all.forget(&"demo".parse().unwrap());
        let text = metrics.text();
        assert!(!text.contains("breaker_open{") && !text.contains("rate_share{"), "{text}");
        assert!(text.contains("breaker_opened_total{"), "a counter stays");
    }
}
