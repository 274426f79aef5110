//! What outlives a configuration: what a reload leaves as it is.

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

/// What requests remember, and what they work with besides the configuration. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Lasting {
    pub(crate) publisher: MeteredPublisher,
    pub(crate) metrics: IngressMetrics,
    pub(crate) health: HealthRegistry,
    pub(crate) log: Arc<LogReader>,
    /// The message log, as far as requests can do without its answer.
    pub(crate) lookup: Arc<LogLookup>,
    pub(crate) traces: Traces,
    /// When to stop, once the ingress runs.
    pub(crate) shutdown: Arc<OnceLock<Shutdown>>,
    /// Of requests that store nothing.
    pub(crate) request_lines: LineLimit,
    /// Of reports whose callback nobody asked for.
    pub(crate) report_lines: LineLimit,
    /// The messages that providers may repeat.
    pub(crate) dedup: Dedup,
    /// The requests of providers that were signed at a time.
    pub(crate) signed_requests: Dedup,
    /// The messages that applications may repeat.
    pub(crate) submissions: Submissions,
    /// What each address has left of its rate, each API key, and each user of another gateway's protocol.
    pub(crate) addresses: Buckets<IpAddr>,
    pub(crate) keys: Buckets<String>,
    pub(crate) users: UserBuckets,
}

impl Lasting {
    /// Nothing is remembered yet.
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
