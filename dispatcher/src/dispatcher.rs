//! The dispatcher as a whole: built from a configuration, run until the drain is over.

use crate::{
    attempt::Sending,
    backends::{EngineError, Engines},
    callbacks::{self, CallbackWorker},
    consume::{Queues, consume},
    deliver::BackendWorker,
    drain::Drain,
    echo::EchoWorker,
    flow::{FlowControl, PacedSender, count_processes, settling},
    poison::DeliveryLimit,
    publish::Publisher,
    quarantine::empty_quarantine,
    retry::Schedule,
    settle::Settling,
    webhook::{self, WebhookWorker},
    worker::Worker,
};
use postern_broker::{Broker, BrokerError, QueueName};
use postern_config::{ApplicationSection, Config};
use postern_service::{metrics::Metrics, shutdown::Shutdown};
use postern_shared::message::{BackendName, Priority};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet, time::timeout_at};

/// How often the drain says what it still waits for.
const DRAIN_SAYS: Duration = Duration::from_secs(5);
/// How many inbound messages the application here answers at a time.
const ECHO_CONCURRENCY: u16 = 128;

/// Why a dispatcher cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A backend has no sender.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The webhook cannot be called as the configuration says.
    #[error("application.{0}")]
    Application(String),
    /// Clients cannot be called back as the configuration says.
    #[error("compat.callbacks.{0}")]
    Callbacks(String),
    /// A backend to be served is not configured.
    #[error("dispatcher.backends: unknown backend `{name}`; configured are: {known}")]
    UnknownBackend {
        /// The backend.
        name: BackendName,
        /// Those that are configured, comma-separated.
        known: String,
    },
}

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
    workers: Vec<(Arc<BackendWorker>, Queues)>,
    rates: Rates,
    application: Option<Application>,
    /// With their concurrency.
    callbacks: Option<(Arc<CallbackWorker>, u16)>,
    broker: Arc<dyn Broker>,
    publisher: Publisher,
    limit: Arc<DeliveryLimit>,
    patience: Duration,
}

/// The rates that are kept, together with other processes.
struct Rates {
    /// How many backends of the configuration have one, also those that are not served here.
    number: usize,
    recount: Arc<Notify>,
}

/// The application that is served here.
enum Application {
    Echo(Arc<EchoWorker>),
    /// With its concurrency, and whether it wants reports.
    Webhook(Arc<WebhookWorker>, u16, bool),
}

impl Application {
    /// # Errors
    /// [`BuildError::Application`]
    fn new(config: &Config, publisher: Publisher, metrics: &Metrics) -> Result<Option<Self>, BuildError> {
        Ok(match &config.application {
            ApplicationSection::None => None,
            ApplicationSection::Echo => Some(Self::Echo(Arc::new(EchoWorker::new(config, publisher)))),
            ApplicationSection::Webhook(webhook) => {
                let topology = Arc::new(postern_service::topology(config));
                let worker = WebhookWorker::new(config, webhook, topology, publisher, metrics);
                let worker = Arc::new(worker.map_err(BuildError::Application)?);
                Some(Self::Webhook(worker, webhook.concurrency, webhook.wants_reports()))
            }
        })
    }
}

/// Everything that would keep a dispatcher of `config` from being built; for `check`, and for
/// programs that look before they connect.
pub fn problems(config: &Config, engines: &Engines) -> Vec<BuildError> {
    let unknown = config.dispatcher.backends.names().iter().filter_map(|name| unknown_backend(config, name));
    let refused = config.backends.values().filter_map(|backend| engines.build(backend).err());
    let application = match &config.application {
        ApplicationSection::Webhook(webhook) => webhook::problem(webhook).map(BuildError::Application),
        ApplicationSection::None | ApplicationSection::Echo => None,
    };
    let callbacks = callbacks::problem(config).map(BuildError::Callbacks);
    unknown.chain(refused.map(BuildError::Engine)).chain(application).chain(callbacks).collect()
}

fn unknown_backend(config: &Config, name: &BackendName) -> Option<BuildError> {
    if config.backends.contains_key(name) {
        return None;
    }
    let known = config.backends.keys().map(BackendName::as_str).collect::<Vec<_>>().join(", ");
    Some(BuildError::UnknownBackend { name: name.clone(), known })
}

impl Dispatcher {
    /// The dispatcher of the backends that `dispatcher.backends` names, with senders from
    /// `engines`. It does nothing until it is [`run`](Self::run).
    ///
    /// # Errors
    /// [`BuildError`] with the key and what is allowed.
    pub fn new(
        config: &Config,
        broker: Arc<dyn Broker>,
        metrics: &Metrics,
        engines: &Engines,
    ) -> Result<Self, BuildError> {
        let chosen = &config.dispatcher.backends;
        if let Some(unknown) = chosen.names().iter().find_map(|name| unknown_backend(config, name)) {
            return Err(unknown);
        }
        let publisher = Publisher::new(broker.clone(), metrics.clone());
        let topology = Arc::new(postern_service::topology(config));
        let keys = config.compat.callback_keys();
        let mut workers = Vec::new();
        let rated = config.backends.values().filter(|backend| backend.definition.rate.is_some());
        let rates = Rates { number: rated.count(), recount: Arc::default() };
        for backend in config.backends.values().filter(|backend| chosen.contains(&backend.name)) {
            let flow = metrics.flow(&backend.name, backend.definition.rate.is_some());
            let flow = FlowControl::new(backend, settling(rates.number), rates.recount.clone(), flow);
            let sending = metrics.sending(&backend.name);
            if backend.definition.text.segments {
                sending.declare_segments();
            }
            let sender = PacedSender::new(backend, engines.build(backend)?, sending.clone());
            let schedule = Schedule::new(backend, topology.clone());
            let (backend_name, text) = (backend.name.clone(), backend.definition.text.clone());
            let worker = BackendWorker::new(
                Sending { backend: backend_name, sender, text, schedule },
                Settling { keys: keys.clone(), publisher: publisher.clone(), metrics: sending },
            );
            let queues = Queues {
                normal: QueueName::outbound(&backend.name, Priority::Normal),
                bulk: Some(QueueName::outbound(&backend.name, Priority::Bulk)),
                flow: Arc::new(flow),
            };
            workers.push((Arc::new(worker), queues));
        }
        let told = config.compat.call_back().then(QueueName::callbacks);
        for queue in [QueueName::reports(), QueueName::dead()].into_iter().chain(told) {
            metrics.declare_queue(&queue);
        }
        let callbacks = config.compat.call_back().then(|| {
            let callbacks = CallbackWorker::new(config, topology, publisher.clone(), metrics);
            callbacks.map(|callbacks| (Arc::new(callbacks), config.compat.callbacks.concurrency))
        });
        let callbacks = callbacks.transpose().map_err(BuildError::Callbacks)?;
        let application = Application::new(config, publisher.clone(), metrics)?;
        let max = config.dispatcher.max_deliveries;
        let limit = Arc::new(DeliveryLimit::new(max, publisher.clone(), metrics.clone()));
        let patience = config.shutdown.deadline.0;
        Ok(Self { workers, rates, application, callbacks, broker, publisher, limit, patience })
    }

    /// The backends that are served.
    pub fn backends(&self) -> impl Iterator<Item = &BackendName> {
        self.workers.iter().map(|(worker, _)| worker.name())
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
        let rated = self.workers.iter().filter(|(_, queues)| queues.flow.is_rated());
        let rated = rated.map(|(_, queues)| (queues.normal.clone(), queues.flow.clone())).collect();
        let served: Vec<_> = self.workers.into_iter().map(served_backend).collect();
        let others = self.application.map(served_application).into_iter();
        let others = others.chain(self.callbacks.map(served_callbacks));
        let mut parts = JoinSet::new();
        let mut counting = JoinSet::new();
        counting.spawn(count_processes(self.broker.clone(), rated, self.rates.number, self.rates.recount));
        for served in served.into_iter().chain(others) {
            spawn(&mut parts, &self.broker, &drain, served, &self.limit);
        }
        let (broker, publisher, draining) = (self.broker, self.publisher, drain.clone());
        let emptying = tokio::spawn(async move { empty_quarantine(&*broker, &publisher, &draining).await });
        let ended = tokio::select! {
            () = shutdown.started() => Ok(()),
            ended = parts.join_next(), if !parts.is_empty() => outcome(ended),
        };
        tracing::info!("no more messages are taken");
        drain.begin();
        let drained = drained(parts, &drain).await;
        let _ = timeout_at(drain.deadline(), emptying).await;
        ended.and(drained)
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends: Vec<&BackendName> = self.backends().collect();
        f.debug_struct("Dispatcher").field("backends", &backends).finish_non_exhaustive()
    }
}

/// A part's name, who works in it, and on which queues.
type Served = (String, Arc<dyn Worker>, Queues);

fn served_backend((worker, queues): (Arc<BackendWorker>, Queues)) -> Served {
    (worker.name().to_string(), worker, queues)
}

fn served_application(application: Application) -> Served {
    let normal = QueueName::inbound();
    match application {
        Application::Echo(echo) => {
            let flow = Arc::new(FlowControl::fixed(ECHO_CONCURRENCY));
            let queues = Queues { normal, bulk: None, flow };
            ("application echo".to_owned(), echo, queues)
        }
        Application::Webhook(worker, concurrency, reports) => {
            // People go first, reports never stand still.
            let (bulk, flow) = (reports.then(QueueName::reports), Arc::new(FlowControl::fixed(concurrency)));
            let queues = Queues { normal, bulk, flow };
            ("application webhook".to_owned(), worker, queues)
        }
    }
}

fn served_callbacks((callbacks, concurrency): (Arc<CallbackWorker>, u16)) -> Served {
    let flow = Arc::new(FlowControl::fixed(concurrency));
    let queues = Queues { normal: QueueName::callbacks(), bulk: None, flow };
    ("callbacks".to_owned(), callbacks, queues)
}

fn spawn(
    parts: &mut JoinSet<Result<(), RunError>>,
    broker: &Arc<dyn Broker>,
    drain: &Drain,
    (part, worker, queues): Served,
    limit: &Arc<DeliveryLimit>,
) {
    let (broker, drain, limit) = (broker.clone(), drain.part(&part), limit.clone());
    let names: Arc<Vec<_>> = Arc::new(worker.queues());
    let work = move |lane, delivery, permit| {
        let (limit, worker, names) = (limit.clone(), worker.clone(), names.clone());
        async move {
            if let Some((_, queue)) = names.iter().find(|(of, _)| *of == lane) {
                limit.work(worker, queue, lane, delivery, permit).await;
            }
        }
    };
    parts.spawn(async move {
        let ended = consume(&*broker, &queues, drain, work).await;
        ended.map_err(|error| RunError::Broker { part, error })
    });
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
