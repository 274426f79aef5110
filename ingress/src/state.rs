//! What every handler uses, prepared at the start and at each reload.

use crate::{
    accept::Acceptor, auth::ApiKeys, compat::Compat, dedup::Dedup, forms::Forms, lasting::Lasting,
    limits::RequestLimits, log_lookup::LogLookup, log_reader::LogReader, metrics::IngressMetrics, openapi,
    provider::ProviderEndpoints, publish::MeteredPublisher, refusal_reason::RefusalReason,
};
use bytes::Bytes;
use jiff::Timestamp;
use postern_broker::QueueName;
use postern_config::{Config, Problem};
use postern_service::{
    health::HealthRegistry, retries::RetryCount, shutdown::Shutdown, telemetry::LineLimit, traces::Traces,
};
use postern_shared::{callback::CallbackKeys, message::Priority};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

/// What every handler uses. All threads share it; nothing in it is ever locked or changed, except what is
/// remembered. A reload replaces it by another one with the same memory ([`Lasting`]).
#[derive(Debug)]
pub(crate) struct IngressState {
    pub(crate) config: Arc<Config>,
    /// The backends' providers, by the backends' names.
    pub(crate) providers: Providers,
    pub(crate) compat: Compat,
    pub(crate) acceptor: Acceptor,
    /// The keys with which callbacks are sealed.
    pub(crate) callback_keys: CallbackKeys,
    pub(crate) publisher: MeteredPublisher,
    pub(crate) dedup: Dedup,
    /// The requests of providers with a signed time, each for as long as its time is accepted.
    pub(crate) signed_requests: Dedup,
    /// Look-ups in the message log whose answers requests can do without.
    pub(crate) lookup: Arc<LogLookup>,
    pub(crate) metrics: IngressMetrics,
    pub(crate) health: HealthRegistry,
    pub(crate) retries: RetryCount,
    pub(crate) log: Arc<LogReader>,
    pub(crate) keys: ApiKeys,
    pub(crate) limits: RequestLimits,
    /// Limits the log lines about requests that store nothing.
    pub(crate) request_lines: LineLimit,
    /// Limits the log lines about callbacks that no configured user asked for.
    pub(crate) report_lines: LineLimit,
    pub(crate) traces: Traces,
    pub(crate) openapi: Bytes,
    /// The signal to stop; set once the ingress runs.
    pub(crate) shutdown: Arc<OnceLock<Shutdown>>,
}

/// The provider of each backend, by the backend's name.
type Providers = HashMap<String, Arc<ProviderEndpoints>>;

impl IngressState {
    /// Prepares `config`. Backends that have not changed are taken over from `before`.
    ///
    /// # Errors
    /// Every key that is wrong.
    pub(crate) fn new(
        config: Arc<Config>,
        lasting: &Lasting,
        before: Option<&Self>,
        forms: &Forms,
    ) -> Result<Self, Vec<Problem>> {
        let Lasting {
            publisher,
            metrics,
            health,
            log,
            lookup,
            traces,
            shutdown,
            request_lines,
            report_lines,
            dedup,
            signed_requests,
            submissions,
            addresses,
            keys,
            users,
        } = lasting.clone();
        let callback_keys = config.compat.callback_keys();
        Ok(Self {
            providers: providers(&config, before, forms)?,
            compat: Compat::new(&config.compat, users),
            acceptor: Acceptor::new(
                Arc::clone(&config),
                publisher.clone(),
                callback_keys.clone(),
                &lookup,
                &submissions,
            ),
            callback_keys,
            publisher,
            dedup: dedup.within(config.ingress.dedupe_window.0),
            signed_requests,
            log,
            lookup,
            metrics,
            health,
            keys: ApiKeys::new(&config.api.keys, keys),
            limits: RequestLimits::new(&config.ingress, addresses),
            request_lines,
            report_lines,
            openapi: openapi::render(&config),
            retries: RetryCount::new(&config),
            traces,
            shutdown,
            config,
        })
    }

    /// Makes the metrics appear, and logs which API keys have expired.
    pub(crate) fn announce(&self) {
        for key in self.keys.expired(Timestamp::now()) {
            tracing::warn!(name = key.name, "an API key has expired and is refused: remove it from api.keys");
        }
        declare(&self.config, &self.providers, &self.metrics);
        self.publisher.declare(&queues(&self.config, self.lookup.has_log()));
    }

    /// Whether the drain has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.shutdown.get().is_some_and(Shutdown::is_draining)
    }
}

/// The queues that are published to, with that of the message log if there is one (`logged`).
fn queues(config: &Config, logged: bool) -> Vec<QueueName> {
    let outbound = config.backends.keys().flat_map(|backend| {
        [Priority::Normal, Priority::Bulk].map(|lane| QueueName::outbound(backend, lane))
    });
    let callbacks = config.compat.call_back().then(QueueName::callbacks);
    let log = logged.then(QueueName::log);
    outbound.chain([QueueName::inbound(), QueueName::reports()]).chain(callbacks).chain(log).collect()
}

/// Makes every label of the metrics appear from the start.
fn declare(config: &Config, providers: &Providers, metrics: &IngressMetrics) {
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
    providers(config, None, forms).err().unwrap_or_default()
}

/// The provider of each backend; that of `before` if the backend did not change.
fn providers(
    config: &Config,
    before: Option<&IngressState>,
    forms: &Forms,
) -> Result<Providers, Vec<Problem>> {
    let (mut providers, mut problems) = (HashMap::new(), Vec::new());
    let public_url = config.ingress.public_url.as_deref();
    for (name, backend) in &config.backends {
        let key = format!("backends.{name}");
        let same = before.filter(|before| config.is_same_at(&before.config, &key));
        if let Some(provider) = same.and_then(|before| before.providers.get(name.as_str())) {
            providers.insert(name.as_str().to_owned(), Arc::clone(provider));
            continue;
        }
        match ProviderEndpoints::new(backend, public_url, forms) {
            Ok(provider) => {
                providers.insert(name.as_str().to_owned(), Arc::new(provider));
            }
            Err(wrong) => {
                let problem = |(below, what)| config.problem(format!("{key}.{below}"), what);
                problems.extend(wrong.into_iter().map(problem));
            }
        }
    }
    if problems.is_empty() { Ok(providers) } else { Err(problems) }
}
