//! The dispatcher as a whole: built from a configuration, run until the drain is over. The configuration
//! can be replaced while it runs.

use crate::{
    backend_part::BackendPart,
    builder::{Builder, PartsPlan},
    drain::Drain,
    flow::RatedQueues,
    metrics::DispatcherMetrics,
    part::{Shared, WorkerPart},
    publish::Publisher,
    quarantine::empty_quarantine,
    recorder::{Recorder, expire},
    reload::{DispatcherReload, Takeover},
    running::{Ended, Running},
    screen::Screening,
    validated::Validated,
};
use postern_broker::{Broker, BrokerError, LogRoute, QueueName, topology::LOG};
use postern_config::Config;
use postern_service::{
    Monitoring, current::Current, message_log::OpenLog, metrics::LogMetrics, shutdown::Shutdown,
};
use postern_shared::message::BackendName;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet, time::timeout_at};

/// How often the drain logs what it still waits for.
const DRAIN_SAYS: Duration = Duration::from_secs(5);

/// Why a running dispatcher ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The broker was closed.
    #[error("{part}: {error}")]
    Broker {
        /// The part that ended, such as a backend or the application.
        part: String,
        /// The broker's error.
        error: BrokerError,
    },
    /// A part panicked, which is a bug.
    #[error("a part of the dispatcher panicked")]
    Panicked,
}

/// Takes outbound messages from their queues and sends them.
pub struct Dispatcher {
    config: Arc<Config>,
    backends: Vec<BackendPart>,
    application: Option<WorkerPart>,
    callbacks: Vec<WorkerPart>,
    /// Writes the message log, and removes old entries from it.
    recording: LogWork,
    builder: Builder,
    shared: Shared,
    reload: DispatcherReload,
    takeovers: mpsc::Receiver<Takeover>,
}

/// The work on the message log.
#[derive(Default)]
struct LogWork {
    /// Writes the log. `None` if its events do not come through a queue.
    recorder: Option<Recorder>,
    log: Option<OpenLog>,
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
        metrics.dead_letters.declare_backends(config.backends.keys());
        let publisher = Publisher::new(broker.clone(), &metrics);
        let builder = Builder {
            keys: Current::new(config.compat.callback_keys()),
            recount: Arc::default(),
            publisher: publisher.clone(),
            metrics: metrics.clone(),
            monitoring: monitoring.clone(),
        };
        let plan = PartsPlan::new(&config);
        let backends = plan.served().filter_map(|backend| {
            let connector = connectors.remove(&backend.name)?;
            Some(builder.backend(&plan, backend, connector))
        });
        let backends = backends.collect();
        let route = plan.topology.log;
        let log = monitoring.log.clone();
        let recorder = match (&log, route) {
            (Some(open), LogRoute::Queue(_)) => {
                Some(Recorder::new(open.clone(), LogMetrics::declare(&monitoring.metrics)?))
            }
            _ => None,
        };
        let called_back =
            config.compat.call_back().then(|| [QueueName::callbacks(), QueueName::bulk_callbacks()]);
        let called_back = called_back.into_iter().flatten();
        let logged = matches!(route, LogRoute::Queue(_)).then(QueueName::log);
        let queues = [QueueName::reports(), QueueName::dead()].into_iter().chain(called_back).chain(logged);
        for queue in queues {
            metrics.publish.declare_queue(&queue);
        }
        metrics.publish.declare_outcomes();
        let application = builder.application(&plan, webhook);
        let callbacks = callbacks.map(|clients| builder.callbacks(&plan, clients)).into_iter().flatten();
        let callbacks = callbacks.collect();
        let max = config.dispatcher.max_deliveries;
        let screening = Screening::new(max, publisher, metrics, monitoring.traces.clone());
        let (reload, takeovers) = DispatcherReload::new();
        Ok(Self {
            backends,
            application,
            callbacks,
            recording: LogWork { recorder, log },
            builder,
            shared: Shared { broker, screening: Arc::new(screening) },
            reload,
            takeovers,
            config,
        })
    }

    /// The backends that are served.
    pub fn backends(&self) -> impl Iterator<Item = &BackendName> {
        self.backends.iter().map(BackendPart::name)
    }

    /// A handle that replaces the configuration while the dispatcher runs.
    pub fn reload(&self) -> DispatcherReload {
        self.reload.clone()
    }

    /// Sends until `shutdown` begins, then drains: takes nothing more, requeues what is not begun, gives
    /// what is in flight `shutdown.deadline` to finish and to be stored, requeues the rest, and returns.
    /// The caller must then close the broker. Returns `true` if all that was in flight was finished.
    ///
    /// Each backend has its own task, so that a provider that hangs slows no other backend.
    ///
    /// # Errors
    /// [`RunError`]: a part ended before `shutdown` began. The others were drained.
    pub async fn run(self, shutdown: Shutdown) -> Result<bool, RunError> {
        let Self { config, backends, application, callbacks, builder, shared, mut takeovers, .. } = self;
        let drain = Drain::new(config.shutdown.deadline.0);
        let rated = RatedQueues::default();
        rated.configured(PartsPlan::new(&config).rated());
        let mut counting = JoinSet::new();
        counting.spawn(rated.clone().count_processes(shared.broker.clone(), builder.recount.clone()));
        let (broker, publisher) = (shared.broker.clone(), builder.publisher.clone());
        let mut running = Running::new(config, builder, shared, drain.clone(), rated);
        backends.into_iter().for_each(|part| running.serve(part));
        running.serve_application(application);
        running.serve_callbacks(callbacks);
        let LogWork { recorder, log } = self.recording;
        if let Some(recorder) = recorder {
            running.spawn(LOG, |drain| recorder.run(broker.clone(), drain));
        }
        let expiring = log.map(|log| tokio::spawn(expire(log, drain.clone())));
        let draining = drain.clone();
        let emptying = tokio::spawn(async move { empty_quarantine(&*broker, &publisher, &draining).await });
        let ended = loop {
            tokio::select! {
                () = shutdown.started() => break Ok(()),
                Some(ended) = running.next_ended() => match ended {
                    // A part that was replaced or removed.
                    Ok(Ended { drained: true, .. }) => {}
                    Ok(ended) => break outcome(ended),
                    Err(_) => break Err(RunError::Panicked),
                },
                Some(Takeover { validated, done }) = takeovers.recv() => {
                    running.take_over(validated);
                    let _ = done.send(());
                }
            }
        };
        drop(takeovers);
        tracing::info!("draining: no more messages are consumed");
        drain.begin();
        let drained = drained(running, &drain).await;
        let _ = timeout_at(drain.deadline(), emptying).await;
        if let Some(expiring) = expiring {
            let _ = timeout_at(drain.deadline(), expiring).await;
        }
        ended.and(drained).map(|()| drain.was_clean())
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends: Vec<&BackendName> = self.backends().collect();
        f.debug_struct("Dispatcher").field("backends", &backends).finish_non_exhaustive()
    }
}

/// The result of the dispatcher after the first part that ended by itself.
fn outcome(Ended { name: part, result, .. }: Ended) -> Result<(), RunError> {
    result.map_err(|error| RunError::Broker { part, error })
}

/// Waits until every part has ended, and logs from time to time what is still in progress.
async fn drained(mut running: Running, drain: &Drain) -> Result<(), RunError> {
    let mut result = Ok(());
    let mut says = tokio::time::interval(DRAIN_SAYS);
    loop {
        tokio::select! {
            ended = running.next_ended() => match ended {
                None => return result,
                Some(Err(_)) => result = Err(RunError::Panicked),
                // Also an error: a broker that is closed while parts drain ends them.
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
