//! What outlives a configuration: a reload leaves it unchanged.

use crate::{
    accept::Submissions, compat::UserBuckets, dedup::Dedup, log_lookup::LogLookup, log_reader::LogReader,
    metrics::IngressMetrics, publish::MeteredPublisher,
};
use postern_broker::Broker;
use postern_config::Config;
use postern_service::{
    Monitoring, health::HealthRegistry, rates::Buckets, shutdown::Shutdown, telemetry::LineLimit,
    traces::Traces,
};
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tracing::Level;

/// What is remembered from request to request, and what requests use besides the configuration. Clones share
/// it.
#[derive(Debug, Clone)]
pub(crate) struct Lasting {
    pub(crate) publisher: MeteredPublisher,
    pub(crate) metrics: IngressMetrics,
    pub(crate) health: HealthRegistry,
    pub(crate) log: Arc<LogReader>,
    /// Look-ups in the message log whose answers requests can do without.
    pub(crate) lookup: Arc<LogLookup>,
    pub(crate) traces: Traces,
    /// The signal to stop; set once the ingress runs.
    pub(crate) shutdown: Arc<OnceLock<Shutdown>>,
    /// Limits the log lines about requests that store nothing.
    pub(crate) request_lines: LineLimit,
    /// Limits the log lines about callbacks that no configured user asked for.
    pub(crate) report_lines: LineLimit,
    /// The messages of providers, by which repetitions are recognized.
    pub(crate) dedup: Dedup,
    /// The requests of providers with a signed time, by which repetitions are recognized. How long depends on
    /// the request.
    pub(crate) signed_requests: Dedup,
    /// The messages of applications, by which repetitions are recognized.
    pub(crate) submissions: Submissions,
    /// What each address has left of its rate. Then the same for API keys, and for users of other gateways'
    /// protocols.
    pub(crate) addresses: Buckets<IpAddr>,
    pub(crate) keys: Buckets<String>,
    pub(crate) users: UserBuckets,
}

impl Lasting {
    /// Starts with nothing remembered.
    pub(crate) fn new(
        config: &Config,
        broker: Arc<dyn Broker>,
        metrics: IngressMetrics,
        monitoring: Monitoring,
    ) -> Self {
        let log = monitoring.log.map(|open| open.log);
        let window = config.ingress.dedupe_window.0;
        let lookup = Arc::new(LogLookup::new(log.clone(), metrics.lookups.clone()));
        Self {
            publisher: MeteredPublisher::new(broker, metrics.publish.clone()),
            metrics,
            health: monitoring.health,
            log: Arc::new(LogReader::new(config, log)),
            submissions: Submissions::new(window, Arc::clone(&lookup)),
            lookup,
            traces: monitoring.traces,
            shutdown: Arc::default(),
            request_lines: LineLimit::new("requests", Level::INFO),
            report_lines: LineLimit::new("delivery reports", Level::WARN),
            dedup: Dedup::new(window),
            signed_requests: Dedup::new(Duration::ZERO),
            addresses: Buckets::default(),
            keys: Buckets::default(),
            users: UserBuckets::default(),
        }
    }
}
