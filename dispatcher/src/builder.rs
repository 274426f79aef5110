//! Makes the parts of the dispatcher, at the start and at each reload.

use crate::{
    backend_part::BackendPart,
    callbacks::{self, CallbackClients},
    connectors::Connector,
    consume::Queues,
    echo::EchoWorker,
    flow::{FlowControl, FlowShown, Rated, settling},
    metrics::DispatcherMetrics,
    part::WorkerPart,
    polls::PollSchedule,
    publish::Publisher,
    retry::Schedule,
    settle::Settling,
    webhook::{WebhookCaller, WebhookWorker},
};
use postern_broker::{QueueName, Topology};
use postern_config::{ApplicationSection, Config, backend::BackendConfig};
use postern_service::{Monitoring, current::Current, tls::not_after};
use postern_shared::{
    callback::CallbackKeys,
    message::{BackendName, Priority},
};
use std::sync::Arc;
use tokio::sync::Notify;

/// The most inbound messages that the echo application answers at a time.
const ECHO_CONCURRENCY: u16 = 128;

/// Everything that the parts need besides a configuration.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) keys: Current<CallbackKeys>,
    pub(crate) recount: Arc<Notify>,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: DispatcherMetrics,
    pub(crate) monitoring: Monitoring,
}

/// A configuration that parts are made for.
pub(crate) struct PartsPlan<'a> {
    pub(crate) config: &'a Config,
    /// The exchanges and queues of this configuration.
    pub(crate) topology: Arc<Topology>,
}

impl<'a> PartsPlan<'a> {
    /// The plan for `config`.
    pub(crate) fn new(config: &'a Config) -> Self {
        Self { config, topology: Arc::new(postern_service::topology(config)) }
    }

    /// How many backends have a rate, including those that are not served here.
    pub(crate) fn rated(&self) -> usize {
        self.config.backends.values().filter(|backend| backend.definition.rate.is_some()).count()
    }

    /// The backends that this process serves.
    pub(crate) fn served(&self) -> impl Iterator<Item = &'a Arc<BackendConfig>> {
        let config = self.config;
        config.backends.values().filter(|backend| config.dispatcher.backends.contains(&backend.name))
    }
}

impl Builder {
    /// Removes `backend`, which this process no longer serves, from the metrics and the health.
    pub(crate) fn forget(&self, backend: &BackendName) {
        self.metrics.flow.forget(backend);
        self.monitoring.health.end(backend);
        self.monitoring.waiting.forget(backend);
        self.monitoring.metrics.client_tls_not_after(backend, None);
    }

    /// A new part that serves `backend`. The backend's health starts again.
    pub(crate) fn backend(
        &self,
        plan: &PartsPlan<'_>,
        backend: &Arc<BackendConfig>,
        connector: Arc<dyn Connector>,
    ) -> BackendPart {
        self.metrics.flow.forget(&backend.name);
        self.monitoring.health.begin(&backend.name);
        // Validating the connector has already reported any error in these files.
        let tls = backend.definition.connector.http().and_then(|send| send.tls.as_ref());
        let shown = tls.and_then(|tls| tls.shown().ok().flatten());
        let ends = shown.as_ref().and_then(not_after);
        self.monitoring.metrics.client_tls_not_after(&backend.name, ends);
        let rated = if backend.definition.rate.is_some() { Rated::Yes } else { Rated::No };
        let shown = FlowShown {
            metrics: self.metrics.flow.of(&backend.name, rated),
            health: self.monitoring.health.reporter(&backend.name),
        };
        let flow = FlowControl::new(backend, settling(plan.rated()), self.recount.clone(), shown);
        let metrics = self.metrics.sending(&backend.name);
        if backend.definition.text.segments {
            metrics.declare_segments();
        }
        BackendPart {
            backend: backend.clone(),
            connector,
            queues: Queues {
                normal: QueueName::outbound(&backend.name, Priority::Normal),
                bulk: Some(QueueName::outbound(&backend.name, Priority::Bulk)),
                flow: Arc::new(flow),
            },
            schedule: Schedule::new(backend, plan.topology.clone()),
            settling: Settling {
                keys: self.keys.clone(),
                publisher: self.publisher.clone(),
                metrics,
                control: self.monitoring.control.clone(),
                polls: PollSchedule::new(backend, &plan.topology),
            },
            polls: backend.definition.poll.as_ref().map(|_| self.metrics.polls(&backend.name)),
            taken: self.monitoring.waiting.follow(&backend.name),
            monitoring: self.monitoring.clone(),
        }
    }

    /// A new part that serves the application. `None` if no application is served here.
    pub(crate) fn application(
        &self,
        plan: &PartsPlan<'_>,
        caller: Option<WebhookCaller>,
    ) -> Option<WorkerPart> {
        let PartsPlan { config, topology } = plan;
        self.monitoring.health.end_application();
        let normal = QueueName::inbound();
        match (&config.application, caller) {
            (ApplicationSection::Echo, _) => {
                let worker = Arc::new(EchoWorker::new(config, self.publisher.clone()));
                let flow = Arc::new(FlowControl::fixed(ECHO_CONCURRENCY));
                let queues = Queues { normal, bulk: None, flow };
                Some(WorkerPart { name: "application echo".to_owned(), worker, queues })
            }
            (ApplicationSection::Webhook(webhook), Some(caller)) => {
                let (topology, publisher) = (topology.clone(), self.publisher.clone());
                let metrics = &self.metrics;
                let worker = WebhookWorker::new(config, (webhook, caller), topology, publisher, metrics);
                // Inbound messages go first, but never hold up reports completely.
                let bulk = webhook.wants_reports().then(QueueName::reports);
                let breaker = webhook.breaker_over(config.breaker);
                self.monitoring.health.begin_application();
                let health = self.monitoring.health.application_reporter();
                let flow = FlowControl::of_receiver("application", webhook.concurrency, breaker, health);
                let flow = Arc::new(flow);
                let queues = Queues { normal, bulk, flow };
                let name = "application webhook".to_owned();
                Some(WorkerPart { name, worker: Arc::new(worker), queues })
            }
            (ApplicationSection::None | ApplicationSection::Webhook(_), _) => None,
        }
    }

    /// The parts that call clients back.
    pub(crate) fn callbacks(&self, plan: &PartsPlan<'_>, clients: CallbackClients) -> [WorkerPart; 2] {
        let workers =
            callbacks::workers(plan.config, clients, &plan.topology, &self.publisher, &self.metrics);
        workers.map(|(worker, concurrency)| {
            let normal = worker.queue().clone();
            let name = normal.to_string();
            let flow = Arc::new(FlowControl::fixed(concurrency));
            let queues = Queues { normal, bulk: None, flow };
            WorkerPart { name, worker: Arc::new(worker), queues }
        })
    }
}
