//! What Prometheus sees. Every label comes from a closed set: backends, outcomes, classes, queues,
//! methods, statuses; never an identity, a text or an id.

mod refused;

pub use refused::Refused;
mod flow;
mod spool;

pub use flow::FlowMetrics;

use flow::Flow;
use postern_broker::{QueueName, Status};
use postern_shared::{error::FailureClass, message::BackendName};
use postern_store::spool::Figures;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector, process_collector::ProcessCollector,
};
use refused::Refusals;
use spool::SpoolMetrics;
use std::sync::Arc;

/// The upper bounds of the time buckets, in seconds: 0.5 ms to 30 s.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The upper bounds of a message's age, in seconds: 10 ms to a day.
const AGES: [f64; 14] =
    [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// What became of a queued message, or of one of its recipients, in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The provider took it over (a message: for all its recipients).
    Sent,
    /// It will be tried again (a message: for at least one recipient).
    Retrying,
    /// It was dead-lettered (a message: for at least one recipient, and is not tried again).
    Failed,
    /// It expired before it was sent.
    Expired,
    /// The body was not a message.
    Malformed,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Sent, Self::Retrying, Self::Failed, Self::Expired, Self::Malformed];

    /// The name in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
        }
    }
}

/// Every metric of a process, in a registry of its own. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    publish_duration: HistogramVec,
    publish_failures: IntCounterVec,
    messages: IntCounterVec,
    recipients: IntCounterVec,
    segments: IntCounterVec,
    send_duration: HistogramVec,
    in_flight: IntGaugeVec,
    retries: IntCounterVec,
    dead_letters: IntCounterVec,
    message_age: HistogramVec,
    deliveries: IntCounterVec,
    delivery_duration: HistogramVec,
    deliveries_in_flight: IntGaugeVec,
    duplicates: IntCounterVec,
    refusals: Refusals,
    dead_waiting: IntGauge,
    flow: Flow,
    connected: IntGauge,
    blocked: IntGauge,
    spool: SpoolMetrics,
}

impl Metrics {
    /// A registry with every metric in it. `program` and `version` go into `postern_build_info`.
    ///
    /// # Errors
    /// Never in practice: a metric's name is wrong or given twice.
    pub fn new(program: &str, version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("postern".to_owned()), None)?;
        let build = IntGaugeVec::new(
            Opts::new("build_info", "1; the labels say what runs"),
            &["program", "version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[program, version]).set(1);
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = HistogramVec::new(options, labels)?;
            registry.register(Box::new(histogram.clone())).map(|()| histogram)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let in_flight =
            IntGaugeVec::new(Opts::new("dispatch_in_flight", "Messages being sent"), &["backend"])?;
        registry.register(Box::new(in_flight.clone()))?;
        let help = "Messages on their way to the application's webhook, callbacks on theirs";
        let deliveries_in_flight = IntGaugeVec::new(Opts::new("application_in_flight", help), &["queue"])?;
        registry.register(Box::new(deliveries_in_flight.clone()))?;
        Ok(Self {
            requests: counter(
                "ingress_requests_total",
                "Requests on the public port; backend is empty for all but a configured backend's, compat is empty for all but a compatibility listener's",
                &["backend", "compat", "method", "status"],
            )?,
            request_duration: histogram(
                "ingress_request_duration_seconds",
                "From a request's first byte to its answer",
                &["backend"],
                &SECONDS,
            )?,
            publish_duration: histogram(
                "publish_duration_seconds",
                "From a publish to the broker's confirm, or to its place in the spool",
                &["queue"],
                &SECONDS,
            )?,
            publish_failures: counter(
                "publish_failures_total",
                "Publishes that were neither confirmed nor spooled",
                &["queue"],
            )?,
            messages: counter(
                "dispatch_messages_total",
                "Queued messages by what became of them",
                &["backend", "outcome"],
            )?,
            recipients: counter(
                "dispatch_recipients_total",
                "Recipients of queued messages by what became of them",
                &["backend", "outcome"],
            )?,
            segments: counter(
                "dispatch_segments_total",
                "Segments of texts for each recipient by what became of them; of backends that count in them",
                &["backend", "outcome"],
            )?,
            send_duration: histogram(
                "send_duration_seconds",
                "One call of a backend's sender",
                &["backend"],
                &SECONDS,
            )?,
            in_flight,
            retries: counter("retries_total", "Recipients queued again, by why", &["backend", "class"])?,
            dead_letters: counter("dead_letters_total", "Dead letters, by why", &["backend", "class"])?,
            message_age: histogram("message_age_seconds", "From created to sent", &["backend"], &AGES)?,
            deliveries: counter(
                "application_deliveries_total",
                "Attempts to deliver to the application's webhook, or by a callback to a client of a compatibility listener, by what became of the message",
                &["queue", "outcome"],
            )?,
            delivery_duration: histogram(
                "application_duration_seconds",
                "One call of the application's webhook, or one callback",
                &["queue"],
                &SECONDS,
            )?,
            deliveries_in_flight,
            duplicates: counter(
                "ingress_duplicates_total",
                "Messages that a provider repeated: acknowledged, not queued again",
                &["backend"],
            )?,
            refusals: Refusals::new(&registry)?,
            flow: Flow::register(&registry)?,
            connected: gauge("broker_connected", "1 while the broker is connected")?,
            blocked: gauge("broker_blocked", "1 while the broker takes no messages")?,
            spool: SpoolMetrics::new(&registry)?,
            dead_waiting: gauge("dead_letters_waiting", "Messages in postern.dead when it was last asked")?,
            registry,
        })
    }

    /// Adds a metric that a connector of one's own counts. Its name gets the prefix `postern_`.
    ///
    /// # Errors
    /// There is a metric of that name already.
    pub fn register(&self, metric: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(metric))
    }

    /// The text that `/metrics` answers with.
    pub fn text(&self) -> String {
        let mut families = self.registry.gather();
        // Named process_*, as every exporter's: without our prefix.
        families.extend(ProcessCollector::for_self().collect());
        let mut text = Vec::new();
        match TextEncoder::new().encode(&families, &mut text) {
            Ok(()) => String::from_utf8(text).unwrap_or_default(),
            Err(error) => format!("# {error}\n"),
        }
    }

    /// Notes a request on the public port. `backend` is `None` where it named none that is configured.
    /// `compat` is the compatibility listener that took the request, else empty.
    pub fn request(
        &self,
        backend: Option<&BackendName>,
        compat: &'static str,
        method: &'static str,
        status: u16,
        seconds: f64,
    ) {
        let backend = backend.map_or("", BackendName::as_str);
        self.requests.with_label_values(&[backend, compat, method, &status.to_string()]).inc();
        self.request_duration.with_label_values(&[backend]).observe(seconds);
    }

    /// Notes a publish to `queue`.
    pub fn publish(&self, queue: &QueueName, confirmed: bool, seconds: f64) {
        self.publish_duration.with_label_values(&[queue.as_str()]).observe(seconds);
        if !confirmed {
            self.publish_failures.with_label_values(&[queue.as_str()]).inc();
        }
    }

    /// Notes whether the broker can be used.
    pub fn broker(&self, status: &Status) {
        self.connected.set(i64::from(matches!(status, Status::Ready | Status::Blocked(_))));
        self.blocked.set(i64::from(matches!(status, Status::Blocked(_))));
    }

    /// Notes what the spool holds and has done; one process has one spool.
    pub fn spool(&self, figures: &Figures) {
        self.spool.set(figures);
    }

    /// Notes how many dead letters wait.
    pub fn dead_waiting(&self, number: u64) {
        self.dead_waiting.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// The queues that this process publishes to: their metrics are there from the start.
    pub fn declare_queue(&self, queue: &QueueName) {
        self.publish_failures.with_label_values(&[queue.as_str()]);
        self.publish_duration.with_label_values(&[queue.as_str()]);
    }

    /// The doubles of `backend`, there from the start.
    pub fn declare_duplicates(&self, backend: &BackendName) {
        self.duplicates.with_label_values(&[backend.as_str()]);
    }

    /// Notes that a message which `backend`'s provider repeated was not queued again.
    pub fn duplicate(&self, backend: &BackendName) {
        self.duplicates.with_label_values(&[backend.as_str()]).inc();
    }

    /// The metrics of the webhook, or of the callbacks, that take from `queues`, there from the start.
    pub fn application(&self, queues: &[&QueueName]) -> ApplicationMetrics {
        for queue in queues {
            for outcome in [Outcome::Sent, Outcome::Retrying, Outcome::Failed, Outcome::Malformed] {
                self.deliveries.with_label_values(&[queue.as_str(), outcome.as_str()]);
            }
            self.delivery_duration.with_label_values(&[queue.as_str()]);
            self.deliveries_in_flight.with_label_values(&[queue.as_str()]);
        }
        ApplicationMetrics { all: Arc::new(self.clone()) }
    }

    /// The metrics of one backend's sending, there from the start.
    pub fn sending(&self, backend: &BackendName) -> SendingMetrics {
        let name = backend.as_str();
        for outcome in Outcome::ALL {
            self.messages.with_label_values(&[name, outcome.as_str()]);
            self.recipients.with_label_values(&[name, outcome.as_str()]);
        }
        for class in FailureClass::ALL {
            self.retries.with_label_values(&[name, class.as_str()]);
            self.dead_letters.with_label_values(&[name, class.as_str()]);
        }
        SendingMetrics {
            backend: backend.clone(),
            send_duration: self.send_duration.with_label_values(&[name]),
            message_age: self.message_age.with_label_values(&[name]),
            in_flight: self.in_flight.with_label_values(&[name]),
            all: Arc::new(self.clone()),
        }
    }
}

/// The metrics of one backend's sending.
#[derive(Debug, Clone)]
pub struct SendingMetrics {
    backend: BackendName,
    /// Seconds of one call of the sender.
    pub send_duration: Histogram,
    /// Seconds from created to sent.
    pub message_age: Histogram,
    /// Messages being sent.
    pub in_flight: IntGauge,
    all: Arc<Metrics>,
}

impl SendingMetrics {
    /// Notes what became of a queued message.
    pub fn message(&self, outcome: Outcome) {
        self.all.messages.with_label_values(&[self.backend.as_str(), outcome.as_str()]).inc();
    }

    /// Notes what became of so many of its recipients.
    pub fn recipients(&self, outcome: Outcome, number: usize) {
        self.all
            .recipients
            .with_label_values(&[self.backend.as_str(), outcome.as_str()])
            .inc_by(number as u64);
    }

    /// Notes what became of so many segments.
    pub fn segments(&self, outcome: Outcome, number: usize) {
        if number > 0 {
            let labels = [self.backend.as_str(), outcome.as_str()];
            self.all.segments.with_label_values(&labels).inc_by(number as u64);
        }
    }

    /// The segments of a backend that counts in them, there from the start.
    pub fn declare_segments(&self) {
        for outcome in [Outcome::Sent, Outcome::Retrying, Outcome::Failed, Outcome::Expired] {
            self.all.segments.with_label_values(&[self.backend.as_str(), outcome.as_str()]);
        }
    }

    /// Notes that so many recipients are queued again.
    pub fn retries(&self, class: FailureClass, number: usize) {
        self.all.retries.with_label_values(&[self.backend.as_str(), class.as_str()]).inc_by(number as u64);
    }

    /// Notes a dead letter.
    pub fn dead_letter(&self, class: FailureClass) {
        self.all.dead_letters.with_label_values(&[self.backend.as_str(), class.as_str()]).inc();
    }
}

/// The metrics of the application's webhook, or of the callbacks.
#[derive(Debug, Clone)]
pub struct ApplicationMetrics {
    all: Arc<Metrics>,
}

impl ApplicationMetrics {
    /// Notes what became of a message from `queue` in one attempt.
    pub fn delivery(&self, queue: &QueueName, outcome: Outcome) {
        self.all.deliveries.with_label_values(&[queue.as_str(), outcome.as_str()]).inc();
    }

    /// Notes how long one call took.
    pub fn duration(&self, queue: &QueueName, seconds: f64) {
        self.all.delivery_duration.with_label_values(&[queue.as_str()]).observe(seconds);
    }

    /// Notes that a message from `queue` is on its way, until the value is dropped.
    pub fn begun(&self, queue: &QueueName) -> InFlight {
        let gauge = self.all.deliveries_in_flight.with_label_values(&[queue.as_str()]);
        gauge.inc();
        InFlight(gauge)
    }
}

/// A message on its way: see [`ApplicationMetrics::begun`].
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
