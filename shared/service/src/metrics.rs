//! The registry behind `/metrics`. Every component declares its own metrics on it, where it uses
//! them. Every label comes from a closed set: backends, outcomes, classes, queues, methods, statuses;
//! never an identity, a text or an id.

mod connections;
mod publish;
mod reports;

pub use connections::{ConnectionMetrics, RefusedConnection};
pub use publish::{PublishMetrics, Remains};
pub use reports::ReportMetrics;

use postern_shared::message::BackendName;
use prometheus::{
    Encoder, Error, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector, process_collector::ProcessCollector,
};

/// The upper bounds of the time buckets, in seconds: 0.5 ms to 30 s.
pub const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metrics of one process, each with the prefix `postern_`. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    publish: PublishMetrics,
    connections: ConnectionMetrics,
    reports: ReportMetrics,
    certificates: IntGaugeVec,
}

/// How much the message log recorded and how much it could not, whether the embedded broker or a recorder
/// writes it.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    /// Events that were written.
    pub written: IntCounter,
    /// For the embedded broker: events that its tables did not accept. For a recorder: attempts to write a
    /// batch that failed, and messages that could not be read.
    pub failures: IntCounter,
    /// How long ago the first event of the last batch happened, in seconds. Zero for the embedded broker,
    /// which writes events with the messages that they are about.
    pub lag: Gauge,
}

impl LogMetrics {
    /// Declares the metrics of the message log on `metrics`.
    ///
    /// # Errors
    /// Another part of this process writes the log.
    pub fn declare(metrics: &Metrics) -> Result<Self, Error> {
        let written = "Events that were written into the message log";
        let failures = "Events, or batches of events, that could not be written into the message log, and \
                        messages for it that cannot be read";
        let lag = "How long the first event of the last batch waited until the batch was written or tried";
        Ok(Self {
            written: metrics.declare(IntCounter::new("log_events_total", written)?)?,
            failures: metrics.declare(IntCounter::new("log_failures_total", failures)?)?,
            lag: metrics.declare(Gauge::new("log_lag_seconds", lag)?)?,
        })
    }
}

impl Metrics {
    /// A registry with the metrics of every program: `postern_build_info` with the labels `program` and
    /// `version`, and the metrics of publishing, connections, delivery reports and certificates.
    ///
    /// # Errors
    /// Never in practice: a metric's name is invalid or declared twice.
    pub fn new(program: &str, version: &str) -> Result<Self, Error> {
        let registry = Registry::new_custom(Some("postern".to_owned()), None)?;
        let help = "Always 1; the labels show the program and its version";
        let build =
            declare(&registry, IntGaugeVec::new(Opts::new("build_info", help), &["program", "version"])?)?;
        build.with_label_values(&[program, version]).set(1);
        let publish = PublishMetrics::declare(&registry)?;
        let connections = ConnectionMetrics::declare(&registry)?;
        let reports = ReportMetrics::declare(&registry)?;
        let help = "Unix time at which the certificate of a listener, or a backend's client certificate, or \
                    another certificate in its file, expires";
        let certificates = IntGaugeVec::new(Opts::new("tls_not_after_seconds", help), &["listener"])?;
        let certificates = declare(&registry, certificates)?;
        Ok(Self { registry, publish, connections, reports, certificates })
    }

    /// The metrics of connections, which all listeners of a process share.
    pub fn connections(&self) -> &ConnectionMetrics {
        &self.connections
    }

    /// The metrics of publishing, which all parts of a process share.
    pub fn publish(&self) -> &PublishMetrics {
        &self.publish
    }

    /// The metric of delivery reports, which the ingress and connectors share.
    pub fn reports(&self) -> &ReportMetrics {
        &self.reports
    }

    /// The gauge that shows when the certificate of the listener called `listener` expires, as Unix time in
    /// seconds. It is shown from the first call on.
    pub fn tls_not_after(&self, listener: &str) -> IntGauge {
        self.certificates.with_label_values(&[listener])
    }

    /// Shows when the certificate that `backend` shows to its provider expires, as Unix time in seconds.
    /// `None`: the backend shows none, or no longer does.
    pub fn client_tls_not_after(&self, backend: &BackendName, ends: Option<i64>) {
        let name = format!("backends.{backend}");
        match ends {
            Some(ends) => self.tls_not_after(&name).set(ends),
            None => drop(self.certificates.remove_label_values(&[&name])),
        }
    }

    /// Declares a counter for each combination of `labels`.
    ///
    /// # Errors
    /// `name` is declared already.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.declare(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Declares a gauge for each combination of `labels`.
    ///
    /// # Errors
    /// `name` is declared already.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.declare(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Declares a histogram for each combination of `labels`, with the upper bounds `buckets`.
    ///
    /// # Errors
    /// `name` is declared already.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, Error> {
        self.declare(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
    }

    /// Declares any other metric, such as one of a connector in Rust.
    ///
    /// # Errors
    /// Its name is declared already.
    pub fn declare<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, Error> {
        declare(&self.registry, metric)
    }

    /// The text that `/metrics` answers with.
    pub fn text(&self) -> String {
        let mut families = self.registry.gather();
        // Named process_*, as by every exporter: without our prefix.
        families.extend(ProcessCollector::for_self().collect());
        let mut text = Vec::new();
        match TextEncoder::new().encode(&families, &mut text) {
            Ok(()) => String::from_utf8(text).unwrap_or_default(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

fn declare<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, Error> {
    registry.register(Box::new(metric.clone())).map(|()| metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_shown_with_its_prefix_and_cannot_be_declared_twice() {
        let metrics = Metrics::new("postern", "0").unwrap();
        let counter = metrics.counter("things_total", "Things", &["kind"]).unwrap();
        counter.with_label_values(&["a"]).inc();
        metrics.publish().declare_queue(&postern_broker::QueueName::inbound());
        let text = metrics.text();
        for line in [
            "postern_things_total{kind=\"a\"} 1",
            "postern_build_info{program=\"postern\",version=\"0\"} 1",
            "postern_publish_duration_seconds_count{queue=\"postern.inbound\"} 0",
            "postern_publish_failures_total{queue=\"postern.inbound\"} 0",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("outcomes_refused_total"), "only where there are outcomes");
        assert!(metrics.counter("things_total", "Other things", &[]).is_err());
    }

    #[test]
    fn refused_outcomes_are_counted_and_remarked() {
        let metrics = Metrics::new("postern", "0").unwrap();
        metrics.publish().declare_outcomes();
        assert_eq!(metrics.publish().remark(), None);
        metrics.publish().refused(Remains::Smaller, "a body of 17 bytes");
        metrics.publish().refused(Remains::Nothing, "a body of 18 bytes");
        let remark = metrics.publish().remark().unwrap();
        for says in ["a body of 18 bytes", "1 stored in a smaller form", "0 dead-lettered", "1 lost"] {
            assert!(remark.contains(says), "{remark}");
        }
        let text = metrics.text();
        for (stored, count) in [("nothing", 1), ("cut", 0), ("smaller", 1)] {
            let line = format!("postern_outcomes_refused_total{{stored=\"{stored}\"}} {count}");
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }
}
