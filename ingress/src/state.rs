//! What every handler works with, made ready at the start.

use crate::auth::RefusalReason;
use crate::metrics::IngressMetrics;
use crate::{
    accept::Acceptor, auth::ApiKeys, compat::Compat, dedup::Dedup, forms::Forms, limits::RequestLimits,
    log_lookup::LogLookup, log_reader::LogReader, openapi, provider::Provider, publish::MeteredPublisher,
};
use bytes::Bytes;
use jiff::Timestamp;
use postern_broker::{Broker, QueueName};
use postern_config::{Config, Problem};
use postern_service::{
    Monitoring, health::HealthRegistry, retries::RetryCount, shutdown::Shutdown, telemetry::LineLimit,
    traces::Traces,
};
use postern_shared::{callback::CallbackKeys, message::Priority};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};
use tracing::Level;

/// What every handler works with. All threads share it; nothing in it is ever locked or changed,
/// except what `dedup`, `keys`, `limits` and `compat` remember.
#[derive(Debug)]
pub(crate) struct IngressState {
    pub(crate) config: Arc<Config>,
    /// The backends' providers, by the backends' names.
    pub(crate) providers: HashMap<String, Provider>,
    pub(crate) compat: Compat,
    pub(crate) acceptor: Acceptor,
    /// What callbacks are sealed with.
    pub(crate) callback_keys: CallbackKeys,
    pub(crate) publisher: MeteredPublisher,
    pub(crate) dedup: Dedup,
    /// The message log, as far as requests can do without its answer.
    pub(crate) lookup: Arc<LogLookup>,
    pub(crate) metrics: IngressMetrics,
    pub(crate) health: HealthRegistry,
    pub(crate) retries: RetryCount,
    pub(crate) log: LogReader,
    pub(crate) keys: ApiKeys,
    pub(crate) limits: RequestLimits,
    /// Of requests that store nothing.
    pub(crate) request_lines: LineLimit,
    /// Of reports whose callback nobody asked for.
    pub(crate) report_lines: LineLimit,
    pub(crate) traces: Traces,
    pub(crate) openapi: Bytes,
    /// When to stop, once the ingress runs.
    pub(crate) shutdown: OnceLock<Shutdown>,
}

impl IngressState {
    /// # Errors
    /// Every key that is wrong.
    pub(crate) fn new(
        config: Arc<Config>,
        broker: Arc<dyn Broker>,
        metrics: IngressMetrics,
        monitoring: Monitoring,
        forms: &Forms,
    ) -> Result<Self, Vec<Problem>> {
        let providers = providers(&config, forms)?;
        let log = monitoring.log.map(|open| open.log);
        let keys = ApiKeys::new(&config.api.keys);
        for key in keys.expired(Timestamp::now()) {
            tracing::warn!(name = key.name, "an API key has expired and is refused: take it out of api.keys");
        }
        declare(&config, &providers, &metrics);
        let publisher =
            MeteredPublisher::new(broker, metrics.publish.clone(), &queues(&config, log.is_some()));
        let callback_keys = config.compat.callback_keys();
        let lookup = Arc::new(LogLookup::new(log.clone(), metrics.lookups.clone()));
        Ok(Self {
            providers,
            compat: Compat::new(&config.compat),
            acceptor: Acceptor::new(
                Arc::clone(&config),
                publisher.clone(),
                callback_keys.clone(),
                Arc::clone(&lookup),
            ),
            callback_keys,
            publisher,
            dedup: Dedup::new(config.ingress.dedupe_window.0),
            log: LogReader::new(&config, log),
            lookup,
            metrics,
            health: monitoring.health,
            keys,
            limits: RequestLimits::from(&config.ingress),
            request_lines: LineLimit::new("requests", Level::INFO),
            report_lines: LineLimit::new("delivery reports", Level::WARN),
            openapi: openapi::render(&config),
            retries: RetryCount::new(&config),
            traces: monitoring.traces,
            shutdown: OnceLock::new(),
            config,
        })
    }

    /// Whether the drain has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.shutdown.get().is_some_and(Shutdown::is_draining)
    }
}

/// The queues that are published to; that of the message log if there is one (`logged`).
fn queues(config: &Config, logged: bool) -> Vec<QueueName> {
    let outbound = config.backends.keys().flat_map(|backend| {
        [Priority::Normal, Priority::Bulk].map(|lane| QueueName::outbound(backend, lane))
    });
    let callbacks = config.compat.call_back().then(QueueName::callbacks);
    let log = logged.then(QueueName::log);
    outbound.chain([QueueName::inbound(), QueueName::reports()]).chain(callbacks).chain(log).collect()
}

/// Makes every label of the metrics appear from the start.
fn declare(config: &Config, providers: &HashMap<String, Provider>, metrics: &IngressMetrics) {
    config.backends.keys().for_each(|backend| metrics.declare_backend(backend));
    for provider in providers.values() {
        provider.declare(metrics);
    }
    let api = [
        RefusalReason::Key,
        RefusalReason::Expired,
        RefusalReason::NotLocal,
        RefusalReason::Backend,
        RefusalReason::Right,
        RefusalReason::Rate,
    ];
    metrics.declare_refused(None, &api);
    if config.compat.kannel.is_some() || config.compat.vumi.is_some() {
        metrics.declare_refused(None, &[RefusalReason::Password, RefusalReason::Address]);
    }
}

/// What is wrong with the receiving side of any backend.
pub(crate) fn problems(config: &Config, forms: &Forms) -> Vec<Problem> {
    providers(config, forms).err().unwrap_or_default()
}

/// What receives for each backend, by its name.
fn providers(config: &Config, forms: &Forms) -> Result<HashMap<String, Provider>, Vec<Problem>> {
    let (mut providers, mut problems) = (HashMap::new(), Vec::new());
    let public_url = config.ingress.public_url.as_deref();
    for (name, backend) in &config.backends {
        match Provider::new(backend, public_url, forms) {
            Ok(provider) => {
                providers.insert(name.as_str().to_owned(), provider);
            }
            Err(wrong) => {
                let problem = |(key, what)| config.problem(format!("backends.{name}.{key}"), what);
                problems.extend(wrong.into_iter().map(problem));
            }
        }
    }
    if problems.is_empty() { Ok(providers) } else { Err(problems) }
}
