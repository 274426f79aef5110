//! What holds a backend's messages back: its rate, its circuit breaker, its provider's wish for less.

use super::Metrics;
use crate::health::BackendHealth;
use postern_shared::message::BackendName;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

/// The upper bounds of a wait for the rate, in seconds: 5 ms to 10 min.
const WAITS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 600.0];

/// The metrics. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    breaker_open: IntGaugeVec,
    breaker_opened: IntCounterVec,
    throttled: IntCounterVec,
    rate_wait: HistogramVec,
    rate_share: GaugeVec,
    concurrency: IntGaugeVec,
    ready: IntGaugeVec,
}

impl Flow {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let backend = &["backend"];
        let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), backend);
        let waits = HistogramOpts::new("rate_wait_seconds", "From a request's turn until the rate let it go");
        let flow = Self {
            breaker_open: IntGaugeVec::new(
                Opts::new("breaker_open", "1 while the backend's circuit breaker is open"),
                backend,
            )?,
            breaker_opened: counter(
                "breaker_opened_total",
                "How often the backend's circuit breaker opened: its provider was down",
            )?,
            throttled: counter("throttled_total", "Answers by which the provider asked for less")?,
            rate_wait: HistogramVec::new(waits.buckets(WAITS.to_vec()), backend)?,
            rate_share: GaugeVec::new(
                Opts::new("rate_share", "What this process may send of the backend's rate, a second"),
                backend,
            )?,
            concurrency: IntGaugeVec::new(
                Opts::new("dispatch_concurrency", "How many messages may be sent at a time"),
                backend,
            )?,
            ready: IntGaugeVec::new(
                Opts::new("backend_ready", "1 while the backend sends, 0 while it pauses or is not bound"),
                backend,
            )?,
        };
        registry.register(Box::new(flow.ready.clone()))?;
        registry.register(Box::new(flow.breaker_open.clone()))?;
        registry.register(Box::new(flow.breaker_opened.clone()))?;
        registry.register(Box::new(flow.throttled.clone()))?;
        registry.register(Box::new(flow.rate_wait.clone()))?;
        registry.register(Box::new(flow.rate_share.clone()))?;
        registry.register(Box::new(flow.concurrency.clone()))?;
        Ok(flow)
    }

    /// Those of `backend`, there from the start; `rated`: it has a rate.
    pub(super) fn of(&self, backend: &BackendName, rated: bool) -> FlowMetrics {
        let name = backend.as_str();
        self.breaker_open.with_label_values(&[name]);
        self.breaker_opened.with_label_values(&[name]);
        self.throttled.with_label_values(&[name]);
        let rate_wait = rated.then(|| self.rate_wait.with_label_values(&[name]));
        FlowMetrics { backend: backend.clone(), rate_wait, all: self.clone() }
    }
}

impl Metrics {
    /// The metrics of what holds `backend`'s messages back, there from the start; `rated`: it has a
    /// rate.
    pub fn flow(&self, backend: &BackendName, rated: bool) -> FlowMetrics {
        self.flow.of(backend, rated)
    }

    /// Notes the health of each backend that this process serves.
    pub fn backend_health(&self, backends: &[(BackendName, BackendHealth)]) {
        for (backend, health) in backends {
            let ready = *health == BackendHealth::Ready;
            self.flow.ready.with_label_values(&[backend.as_str()]).set(i64::from(ready));
        }
    }
}

/// What holds one backend's messages back.
#[derive(Debug, Clone)]
pub struct FlowMetrics {
    backend: BackendName,
    /// Absent for a backend without a rate.
    rate_wait: Option<Histogram>,
    all: Flow,
}

impl FlowMetrics {
    /// Notes how long one request waited for the rate.
    pub fn waited(&self, seconds: f64) {
        if let Some(rate_wait) = &self.rate_wait {
            rate_wait.observe(seconds);
        }
    }

    /// Notes what this process may send of the rate, a second.
    pub fn share(&self, per_second: f64) {
        self.all.rate_share.with_label_values(&[self.backend.as_str()]).set(per_second);
    }

    /// Notes how many messages may be sent at a time.
    pub fn concurrency(&self, messages: u32) {
        self.all.concurrency.with_label_values(&[self.backend.as_str()]).set(i64::from(messages));
    }

    /// Notes an answer by which the provider asked for less.
    pub fn throttled(&self) {
        self.all.throttled.with_label_values(&[self.backend.as_str()]).inc();
    }

    /// Notes whether the circuit breaker is open.
    pub fn breaker(&self, open: bool) {
        self.all.breaker_open.with_label_values(&[self.backend.as_str()]).set(i64::from(open));
        if open {
            self.all.breaker_opened.with_label_values(&[self.backend.as_str()]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_messages_back_is_shown_from_the_start() {
        let metrics = Metrics::new("postern", "0").unwrap();
        let backend: BackendName = "demo".parse().unwrap();
        let flow = metrics.flow(&backend, true);
        flow.share(12.5);
        flow.breaker(true);
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
    }
}
