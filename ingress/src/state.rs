//! What every view works with, made ready at the start.

use super::{doors::Doors, openapi, receive::Receiver, status::Reporter};
use crate::{
    auth::{ApiKeys, Clients},
    body::BodyLimits,
    duplicates::Duplicates,
    forms::{Forms, ParameterLimits},
    limit::Limit,
    publish::Publisher,
};
use bytes::Bytes;
use jiff::Timestamp;
use postern_shared::{
    broker::{Broker, QueueName},
    config::{Config, Problem},
    message::Lane,
    metrics::{Metrics, Refused},
};
use std::{collections::HashMap, sync::Arc};

/// What every view works with. Shared by all threads; nothing in it is ever locked or changed, but
/// for what `duplicates`, `keys`, `limit` and `doors` remember.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) receivers: HashMap<String, Receiver>,
    pub(crate) reporters: HashMap<String, Reporter>,
    pub(crate) doors: Doors,
    pub(crate) publisher: Publisher,
    pub(crate) duplicates: Duplicates,
    pub(crate) metrics: Metrics,
    pub(crate) keys: ApiKeys,
    pub(crate) clients: Clients,
    pub(crate) limit: Option<Limit>,
    pub(crate) body: BodyLimits,
    pub(crate) limits: ParameterLimits,
    pub(crate) openapi: Bytes,
}

impl Gateway {
    /// # Errors
    /// Every key that is wrong.
    pub(crate) fn new(
        config: Arc<Config>,
        broker: Arc<dyn Broker>,
        metrics: Metrics,
        forms: &Forms,
    ) -> Result<Self, Vec<Problem>> {
        let (receivers, reporters) = providers(&config, forms)?;
        let outbound = config
            .backends
            .keys()
            .flat_map(|backend| [Lane::Normal, Lane::Bulk].map(|lane| QueueName::outbound(backend, lane)));
        let told = config.doors.call_back().then(QueueName::callbacks);
        let queues: Vec<_> =
            outbound.chain([QueueName::inbound(), QueueName::reports()]).chain(told).collect();
        config.backends.keys().for_each(|backend| metrics.declare_duplicates(backend));
        for receiver in receivers.values() {
            receiver.declare(&metrics);
        }
        let keys = ApiKeys::new(&config.api.keys);
        for key in keys.expired(Timestamp::now()) {
            tracing::warn!(name = key.name, "an API key has expired and is refused: take it out of api.keys");
        }
        metrics.declare_refused(None, &[Refused::Key, Refused::Expired, Refused::Backend, Refused::Rate]);
        if config.doors.kannel.is_some() || config.doors.vumi.is_some() {
            metrics.declare_refused(None, &[Refused::Password, Refused::Address]);
        }
        Ok(Self {
            receivers,
            reporters,
            doors: Doors::new(&config.doors),
            duplicates: Duplicates::new(config.ingress.dedupe_window.0),
            publisher: Publisher::new(broker, metrics.clone(), &queues),
            metrics,
            keys,
            clients: Clients::from(&config.ingress),
            limit: config.ingress.rate_limit.map(Limit::from),
            body: BodyLimits { max: config.ingress.max_body, timeout: config.ingress.read_timeout.0 },
            limits: ParameterLimits::from(&config.ingress),
            openapi: openapi::render(&config),
            config,
        })
    }
}

/// What is wrong with the receiving side of any backend.
pub(crate) fn problems(config: &Config, forms: &Forms) -> Vec<Problem> {
    providers(config, forms).err().unwrap_or_default()
}

type Providers = (HashMap<String, Receiver>, HashMap<String, Reporter>);

/// The routes of every backend, by its name.
fn providers(config: &Config, forms: &Forms) -> Result<Providers, Vec<Problem>> {
    let (mut receivers, mut reporters) = (HashMap::new(), HashMap::new());
    let mut problems = Vec::new();
    let public_url = config.ingress.public_url.as_deref();
    for (name, backend) in &config.backends {
        let mut wrong = Vec::new();
        match Receiver::new(backend, public_url, forms) {
            Ok(receiver) => {
                receivers.insert(name.as_str().to_owned(), receiver);
            }
            Err(keys) => wrong = keys,
        }
        match Reporter::new(backend, public_url) {
            Ok(reporter) => {
                reporters.extend(reporter.map(|reporter| (name.as_str().to_owned(), reporter)));
            }
            Err(key) => wrong.push(key),
        }
        problems.extend(wrong.into_iter().map(|(key, what)| Problem {
            key: format!("backends.{name}.{key}"),
            line: None,
            what,
        }));
    }
    if problems.is_empty() { Ok((receivers, reporters)) } else { Err(problems) }
}
