//! The parts of a running dispatcher. Each has a separate task and drain, so that one can be replaced while
//! the others go on.

use crate::{
    backend_part::BackendPart,
    builder::{Builder, PartsPlan},
    connectors::Connectors,
    drain::Drain,
    flow::RatedQueues,
    part::{Shared, WorkerPart},
    validated::Validated,
};
use postern_broker::BrokerError;
use postern_config::{ApplicationSection, Config, backend::BackendConfig};
use postern_shared::message::BackendName;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
};
use tokio::task::{JoinError, JoinSet};

/// The running parts, and what they were made from.
pub(crate) struct Running {
    config: Arc<Config>,
    builder: Builder,
    shared: Shared,
    drain: Drain,
    rated: RatedQueues,
    tasks: JoinSet<Ended>,
    backends: BTreeMap<BackendName, Drain>,
    application: Vec<Drain>,
    callbacks: Vec<Drain>,
}

/// A part that ended.
pub(crate) struct Ended {
    /// The part's name in log lines and errors.
    pub(crate) name: String,
    /// Whether it was told to end.
    pub(crate) drained: bool,
    /// The result with which it ended.
    pub(crate) result: Result<(), BrokerError>,
}

impl Running {
    /// A dispatcher of which no part runs yet.
    pub(crate) fn new(
        config: Arc<Config>,
        builder: Builder,
        shared: Shared,
        drain: Drain,
        rated: RatedQueues,
    ) -> Self {
        Self {
            config,
            builder,
            shared,
            drain,
            rated,
            tasks: JoinSet::new(),
            backends: BTreeMap::new(),
            application: Vec::new(),
            callbacks: Vec::new(),
        }
    }

    /// Runs `part` as `name`, with a separate drain, which is returned.
    pub(crate) fn spawn<F>(&mut self, name: &str, part: impl FnOnce(Drain) -> F) -> Drain
    where
        F: Future<Output = Result<(), BrokerError>> + Send + 'static,
    {
        let (name, drain) = (name.to_owned(), self.drain.part(name));
        let (run, own) = (part(drain.clone()), drain.clone());
        let heartbeats = self.builder.monitoring.heartbeats.clone();
        self.tasks.spawn(async move {
            let result = heartbeats.keep(name.clone(), run).await;
            Ended { name, drained: own.has_begun(), result }
        });
        drain
    }

    /// Serves a backend.
    pub(crate) fn serve(&mut self, part: BackendPart) {
        let (name, shared) = (part.name().clone(), self.shared.clone());
        self.rated.note(&name, &part.queues.normal, &part.queues.flow);
        let drain = self.spawn(name.as_str(), |drain| part.run(shared, drain));
        self.backends.insert(name, drain);
    }

    /// Serves the application, if it is served here.
    pub(crate) fn serve_application(&mut self, part: Option<WorkerPart>) {
        self.application = part.into_iter().map(|part| self.work(part)).collect();
    }

    /// Calls clients back, if there are any.
    pub(crate) fn serve_callbacks(&mut self, parts: impl IntoIterator<Item = WorkerPart>) {
        self.callbacks = parts.into_iter().map(|part| self.work(part)).collect();
    }

    fn work(&mut self, part: WorkerPart) -> Drain {
        let (name, shared) = (part.name.clone(), self.shared.clone());
        self.spawn(&name, |drain| part.run(shared, drain))
    }

    /// The next part that ends. `None` if none runs. Safe to cancel.
    pub(crate) async fn next_ended(&mut self) -> Option<Result<Ended, JoinError>> {
        self.tasks.join_next().await
    }

    /// Serves the configuration `validated`: see
    /// [`DispatcherReload::apply`](crate::DispatcherReload::apply).
    pub(crate) fn take_over(&mut self, validated: Validated) {
        let Validated { config, connectors, webhook, callbacks } = validated;
        let before = std::mem::replace(&mut self.config, Arc::clone(&config));
        let plan = PartsPlan::new(&config);
        self.builder.keys.set(config.compat.callback_keys());
        self.builder.metrics.dead_letters.declare_backends(config.backends.keys());
        self.rated.configured(plan.rated());
        self.replace_backends(&plan, &before, connectors);
        if !application_is_same(&config, &before) {
            self.application.iter().for_each(Drain::begin);
            let part = self.builder.application(&plan, webhook);
            self.serve_application(part);
        }
        if !["compat", "retry"].iter().all(|key| config.is_same_at(&before, key)) {
            self.callbacks.iter().for_each(Drain::begin);
            let parts = callbacks.map(|clients| self.builder.callbacks(&plan, clients));
            self.serve_callbacks(parts.into_iter().flatten());
        }
    }

    fn replace_backends(&mut self, plan: &PartsPlan<'_>, before: &Config, mut connectors: Connectors) {
        let served: BTreeSet<&BackendName> = plan.served().map(|backend| &backend.name).collect();
        let gone: Vec<_> = self.backends.keys().filter(|name| !served.contains(name)).cloned().collect();
        for name in gone {
            if let Some(drain) = self.backends.remove(&name) {
                drain.begin();
            }
            self.rated.forget(&name);
            self.builder.forget(&name);
            tracing::info!(
                backend = name.as_str(),
                "backend no longer served: requests in flight finish, other messages wait in the queue"
            );
        }
        let is_same =
            |backend: &BackendConfig| plan.config.is_same_at(before, &format!("backends.{}", backend.name));
        for backend in plan.served() {
            let old = self.backends.get(&backend.name);
            if old.is_some() && is_same(backend) {
                continue;
            }
            let Some(connector) = connectors.remove(&backend.name) else { continue };
            let name = backend.name.as_str();
            match old {
                Some(old) => {
                    old.begin();
                    tracing::info!(
                        backend = name,
                        "backend replaced: requests in flight finish with the old settings"
                    );
                }
                None => tracing::info!(backend = name, "backend served"),
            }
            let part = self.builder.backend(plan, backend, connector);
            self.serve(part);
        }
    }
}

/// Whether everything that the application's part is made from is the same in both configurations.
fn application_is_same(config: &Config, before: &Config) -> bool {
    let keys: &[&str] = match &config.application {
        // The echo worker must know which backends only receive.
        ApplicationSection::Echo => &["application", "backends"],
        ApplicationSection::None | ApplicationSection::Webhook(_) => &["application", "retry", "breaker"],
    };
    keys.iter().all(|key| config.is_same_at(before, key))
}
