//! The dispatcher as a whole: built from a configuration, run until the drain is over.

use crate::{
    backend_part::BackendPart,
    callbacks::{self, CallbackClients},
    connectors::Connector,
    consume::Queues,
    drain::Drain,
    echo::EchoWorker,
    flow::{FlowControl, FlowShown, Rated, count_processes, settling},
    metrics::{DispatcherMetrics, RecorderMetrics},
    part::{Shared, WorkerPart},
    poison::DeliveryLimit,
    publish::Publisher,
    quarantine::empty_quarantine,
    recorder::{Recorder, expire},
    retry::Schedule,
    settle::Settling,
    validated::Validated,
    webhook::WebhookWorker,
};
use postern_broker::{Broker, BrokerError, LogRoute, QueueName, Topology, topology::LOG};
use postern_config::{ApplicationSection, Config, backend::BackendConfig};
use postern_service::{Monitoring, heartbeat::Heartbeats, message_log::OpenLog, shutdown::Shutdown};
use postern_shared::{
    callback::CallbackKeys,
    message::{BackendName, Priority},
};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet, time::timeout_at};

/// How often the drain says what it still waits for.
const DRAIN_SAYS: Duration = Duration::from_secs(5);
/// How many inbound messages the application here answers at a time.
const ECHO_CONCURRENCY: u16 = 128;

/// Why a running dispatcher ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The broker was closed.
    #[error("{part}: {error}")]
    Broker {
        /// The backend, or the application, whose queue it is.
        part: String,
        /// What the broker says.
        error: BrokerError,
    },
    /// A part ended by a panic, which is a mistake in the program.
    #[error("a part of the dispatcher panicked")]
    Panicked,
}

/// Takes outbound messages from their queues and sends them.
pub struct Dispatcher {
    backends: Vec<BackendPart>,
    /// The application that is served here, and the callbacks.
    others: Vec<WorkerPart>,
    /// What writes the message log, and what removes from it.
    recording: Recording,
    rates: Rates,
    shared: Shared,
    publisher: Publisher,
    patience: Duration,
    heartbeats: Heartbeats,
}

/// The rates that are kept, together with other processes.
struct Rates {
    /// How many backends of the configuration have one, also those that are not served here.
    number: usize,
    recount: Arc<Notify>,
}

/// The work on the message log.
#[derive(Default)]
struct Recording {
    /// If the log comes by a queue.
    recorder: Option<Recorder>,
    log: Option<OpenLog>,
}

/// What the parts are made of.
struct Builder<'a> {
    config: &'a Config,
    topology: Arc<Topology>,
    keys: CallbackKeys,
    rates: Rates,
    publisher: Publisher,
    metrics: DispatcherMetrics,
    monitoring: &'a Monitoring,
}

impl Builder<'_> {
    fn backend(&self, backend: &Arc<BackendConfig>, connector: Arc<dyn Connector>) -> BackendPart {
        let rated = if backend.definition.rate.is_some() { Rated::Yes } else { Rated::No };
        let shown = FlowShown {
            metrics: self.metrics.flow.of(&backend.name, rated),
            health: self.monitoring.health.reporter(&backend.name),
        };
        let flow = FlowControl::new(backend, settling(self.rates.number), self.rates.recount.clone(), shown);
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
            schedule: Schedule::new(backend, self.topology.clone()),
            settling: Settling {
                keys: self.keys.clone(),
                publisher: self.publisher.clone(),
                metrics,
                control: self.monitoring.control.clone(),
            },
            taken: self.monitoring.waiting.follow(&backend.name),
            monitoring: self.monitoring.clone(),
        }
    }

    fn application(&self, caller: Option<crate::webhook::Caller>) -> Option<WorkerPart> {
        let normal = QueueName::inbound();
        match (&self.config.application, caller) {
            (ApplicationSection::Echo, _) => {
                let worker = Arc::new(EchoWorker::new(self.config, self.publisher.clone()));
                let flow = Arc::new(FlowControl::fixed(ECHO_CONCURRENCY));
                let queues = Queues { normal, bulk: None, flow };
                Some(WorkerPart { name: "application echo".to_owned(), worker, queues })
            }
            (ApplicationSection::Webhook(webhook), Some(caller)) => {
                let (topology, publisher) = (self.topology.clone(), self.publisher.clone());
                let metrics = &self.metrics;
                let worker = WebhookWorker::new(self.config, (webhook, caller), topology, publisher, metrics);
                // People go first, reports never stand still.
                let bulk = webhook.wants_reports().then(QueueName::reports);
                let breaker = webhook.breaker_over(self.config.breaker);
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

    fn callbacks(&self, clients: CallbackClients) -> [WorkerPart; 2] {
        let workers =
            callbacks::workers(self.config, clients, &self.topology, &self.publisher, &self.metrics);
        workers.map(|(worker, concurrency)| {
            let normal = worker.queue().clone();
            let name = normal.to_string();
            let flow = Arc::new(FlowControl::fixed(concurrency));
            let queues = Queues { normal, bulk: None, flow };
            WorkerPart { name, worker: Arc::new(worker), queues }
        })
    }
}

impl Dispatcher {
    /// The dispatcher of the backends that `dispatcher.backends` names. It does nothing until it is
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// Another dispatcher of this process has declared its metrics.
    pub fn new(
        validated: Validated,
        broker: Arc<dyn Broker>,
        monitoring: &Monitoring,
    ) -> Result<Self, prometheus::Error> {
        let Validated { config, mut connectors, webhook, callbacks } = validated;
        let metrics = DispatcherMetrics::declare(&monitoring.metrics)?;
        let publisher = Publisher::new(broker.clone(), metrics.publish.clone());
        let rated = config.backends.values().filter(|backend| backend.definition.rate.is_some());
        let builder = Builder {
            config: &config,
            topology: Arc::new(postern_service::topology(&config)),
            keys: config.compat.callback_keys(),
            rates: Rates { number: rated.count(), recount: Arc::default() },
            publisher: publisher.clone(),
            metrics: metrics.clone(),
            monitoring,
        };
        let chosen = |backend: &&Arc<BackendConfig>| config.dispatcher.backends.contains(&backend.name);
        let backends = config.backends.values().filter(chosen);
        let backends = backends.filter_map(|backend| {
            connectors.remove(&backend.name).map(|connector| builder.backend(backend, connector))
        });
        let backends = backends.collect();
        let topology = builder.topology.clone();
        let log = monitoring.log.clone();
        let recorder = match (&log, topology.log) {
            (Some(open), LogRoute::Queue(_)) => {
                Some(Recorder::new(open.clone(), RecorderMetrics::declare(&monitoring.metrics)?))
            }
            _ => None,
        };
        let called_back =
            config.compat.call_back().then(|| [QueueName::callbacks(), QueueName::bulk_callbacks()]);
        let called_back = called_back.into_iter().flatten();
        let logged = matches!(topology.log, LogRoute::Queue(_)).then(QueueName::log);
        let queues = [QueueName::reports(), QueueName::dead()].into_iter().chain(called_back).chain(logged);
        for queue in queues {
            metrics.publish.declare_queue(&queue);
        }
        metrics.publish.declare_outcomes();
        let application = builder.application(webhook);
        let callbacks = callbacks.map(|clients| builder.callbacks(clients)).into_iter().flatten();
        let max = config.dispatcher.max_deliveries;
        let limit = Arc::new(DeliveryLimit::new(max, publisher.clone(), metrics, monitoring.traces.clone()));
        Ok(Self {
            backends,
            others: application.into_iter().chain(callbacks).collect(),
            recording: Recording { recorder, log },
            rates: builder.rates,
            shared: Shared { broker, limit },
            publisher,
            patience: config.shutdown.deadline.0,
            heartbeats: monitoring.heartbeats.clone(),
        })
    }

    /// The backends that are served.
    pub fn backends(&self) -> impl Iterator<Item = &BackendName> {
        self.backends.iter().map(BackendPart::name)
    }

    /// Sends until `shutdown` begins, then drains: takes nothing more, hands back what is not
    /// begun, gives what is in flight `shutdown.deadline` to finish and to be stored, hands back
    /// the rest, and returns. The broker is still to be closed then.
    ///
    /// Each backend has its own task: one whose provider hangs slows no other.
    ///
    /// # Errors
    /// [`RunError`]: a part ended before `shutdown` began. The others were drained.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RunError> {
        let drain = Drain::new(self.patience);
        let rated = self.backends.iter().map(|part| &part.queues).filter(|queues| queues.flow.is_rated());
        let rated = rated.map(|queues| (queues.normal.clone(), queues.flow.clone())).collect();
        let mut counting = JoinSet::new();
        counting.spawn(count_processes(
            self.shared.broker.clone(),
            rated,
            self.rates.number,
            self.rates.recount,
        ));
        let mut parts = JoinSet::new();
        for part in self.backends {
            let (name, drain) = (part.name().to_string(), drain.part(part.name().as_str()));
            parts.spawn(named(name, self.heartbeats.clone(), part.run(self.shared.clone(), drain)));
        }
        for part in self.others {
            let (name, drain) = (part.name.clone(), drain.part(&part.name));
            parts.spawn(named(name, self.heartbeats.clone(), part.run(self.shared.clone(), drain)));
        }
        let Recording { recorder, log } = self.recording;
        if let Some(recorder) = recorder {
            let (broker, drain) = (self.shared.broker.clone(), drain.part(LOG));
            parts.spawn(named(
                "message log".to_owned(),
                self.heartbeats.clone(),
                recorder.run(broker, drain),
            ));
        }
        let expiring = log.map(|log| tokio::spawn(expire(log, drain.clone())));
        let (broker, publisher, draining) = (self.shared.broker, self.publisher, drain.clone());
        let emptying = tokio::spawn(async move { empty_quarantine(&*broker, &publisher, &draining).await });
        let ended = tokio::select! {
            () = shutdown.started() => Ok(()),
            ended = parts.join_next(), if !parts.is_empty() => outcome(ended),
        };
        tracing::info!("no more messages are taken");
        drain.begin();
        let drained = drained(parts, &drain).await;
        let _ = timeout_at(drain.deadline(), emptying).await;
        if let Some(expiring) = expiring {
            let _ = timeout_at(drain.deadline(), expiring).await;
        }
        ended.and(drained)
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends: Vec<&BackendName> = self.backends().collect();
        f.debug_struct("Dispatcher").field("backends", &backends).finish_non_exhaustive()
    }
}

/// Runs a part, notes that it is alive, and names it in its error.
async fn named(
    part: String,
    heartbeats: Heartbeats,
    run: impl Future<Output = Result<(), BrokerError>>,
) -> Result<(), RunError> {
    heartbeats.keep(part.clone(), run).await.map_err(|error| RunError::Broker { part, error })
}

/// What the first part that ended by itself comes to.
fn outcome(ended: Option<Result<Result<(), RunError>, tokio::task::JoinError>>) -> Result<(), RunError> {
    match ended {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(RunError::Panicked),
        None => Ok(()),
    }
}

/// Waits for `parts`, and says now and then for what.
async fn drained(mut parts: JoinSet<Result<(), RunError>>, drain: &Drain) -> Result<(), RunError> {
    let mut result = Ok(());
    let mut says = tokio::time::interval(DRAIN_SAYS);
    loop {
        tokio::select! {
            ended = parts.join_next() => match ended {
                None => return result,
                // A broker that is closed while parts drain ends them: that is no error any more.
                Some(Err(_)) => result = Err(RunError::Panicked),
                Some(Ok(_)) => {}
            },
            _ = says.tick() => {
                let waiting = drain.waiting();
                if !waiting.is_empty() {
                    let list: Vec<String> =
                        waiting.iter().take(10).map(|(part, number)| format!("{part} {number}")).collect();
                    let (parts, messages) = (waiting.len(), waiting.iter().map(|(_, n)| n).sum::<usize>());
                    tracing::info!(parts, messages, waiting_for = list.join(", "), "draining");
                }
            }
        }
    }
}
