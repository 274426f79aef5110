//! Applies a changed configuration while the program runs: on SIGHUP and on `POST /v1/reload`. Reloads are
//! carried out one after the other. The whole configuration is checked first, and nothing is changed unless
//! all of it can be.
//!
//! The program reads and builds the whole configuration again. `postern_config` compares digests of each
//! key's value, and [`Changes`] says which changes a running process can apply. The broker declares what is
//! new; nothing is ever undeclared. The dispatcher begins to drain each part that changed, and starts the
//! new part at the same time. The ingress replaces its state; a request keeps the state with which it
//! began.

use crate::{configured::Configured, current::Current, metrics::Metrics, shutdown::Shutdown};
use jiff::Timestamp;
use postern_broker::{Broker, QueueName};
use postern_config::{Changes, Config, Problem};
use postern_shared::message::{BackendName, Priority};
use postern_store::spool::Spool;
use prometheus::{Error, IntCounterVec, IntGauge};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, mpsc, oneshot};

/// How many reloads may wait while one is carried out.
const WAITING: usize = 8;

/// A program that can apply a configuration while it runs.
pub trait Reload {
    /// A configuration with what was built from it.
    type Read;

    /// Reads the configuration again and checks all of it, as at the start.
    ///
    /// # Errors
    /// Every mistake.
    fn read(&self) -> Result<Self::Read, Vec<Problem>>;

    /// The configuration that was read.
    fn config(read: &Self::Read) -> &Arc<Config>;

    /// Replaces what differs from what runs. The broker already has the queues for it.
    ///
    /// # Errors
    /// Why nothing was changed.
    fn apply(&self, read: Self::Read) -> impl Future<Output = Result<(), String>>;
}

/// What a reload changed, by key: backends as `backends.NAME`, API keys as `api.keys.NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys that are new.
    pub added: Vec<String>,
    /// Keys that were replaced.
    pub changed: Vec<String>,
    /// Keys that no longer exist.
    pub removed: Vec<String>,
    /// How many backends, API keys and users have not changed.
    pub unchanged: usize,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// How many messages wait for each backend that was removed. They stay in its queues.
    pub waiting: BTreeMap<BackendName, u64>,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The configuration has these mistakes.
    #[error("the configuration is not valid, nothing was changed: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Problem>),
    /// These keys changed, and a running process cannot apply that.
    #[error("nothing was changed: a restart is needed for {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// The program is about to end.
    #[error("nothing was changed: the program is draining")]
    Draining,
    /// The program has not begun its work.
    #[error("nothing was changed: the program is still starting, with the current configuration")]
    Starting,
    /// A change could not be made, for this reason.
    #[error("nothing was changed: {0}")]
    Failed(String),
}

/// Asks for a reload. Clones ask the same program.
#[derive(Debug, Clone)]
pub struct ReloadClient {
    commands: mpsc::Sender<PendingReload>,
    started: Arc<AtomicBool>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct PendingReload {
    dry_run: bool,
    by: String,
    answer: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

impl ReloadClient {
    /// Reloads the configuration; a `dry_run` only checks it. `by` is who asks for it.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing was changed.
    pub async fn reload(&self, dry_run: bool, by: String) -> Result<Reloaded, ReloadError> {
        if self.shutdown.is_draining() {
            return Err(ReloadError::Draining);
        }
        if !self.started.load(Ordering::Relaxed) {
            return Err(ReloadError::Starting);
        }
        let (answer, answered) = oneshot::channel();
        let command = PendingReload { dry_run, by, answer };
        self.commands.send(command).await.map_err(|_| ReloadError::Draining)?;
        answered.await.map_err(|_| ReloadError::Draining)?
    }
}

/// Carries out reloads.
#[derive(Debug)]
pub struct Reloads {
    commands: mpsc::Receiver<PendingReload>,
    hang_up: Arc<Notify>,
    shutdown: Shutdown,
    broker: Arc<dyn Broker>,
    spool: Arc<OnceLock<Arc<Spool>>>,
    configured: Current<Configured>,
    metrics: ReloadMetrics,
}

/// What reloads need.
pub(crate) struct ReloadParts {
    /// Notified by SIGHUP.
    pub(crate) hang_up: Arc<Notify>,
    /// Set once the program has begun its work.
    pub(crate) started: Arc<AtomicBool>,
    pub(crate) shutdown: Shutdown,
    pub(crate) broker: Arc<dyn Broker>,
    /// The spool in front of the broker, once it is open; empty if there is none.
    pub(crate) spool: Arc<OnceLock<Arc<Spool>>>,
    /// Replaced by each reload.
    pub(crate) configured: Current<Configured>,
}

impl Reloads {
    /// The reloads, and the client that asks for them.
    ///
    /// # Errors
    /// This process has declared the metrics already.
    pub(crate) fn new(parts: ReloadParts, metrics: &Metrics) -> Result<(Self, ReloadClient), Error> {
        let ReloadParts { hang_up, started, shutdown, broker, spool, configured } = parts;
        let (sender, commands) = mpsc::channel(WAITING);
        let metrics = ReloadMetrics::declare(metrics)?;
        let client = ReloadClient { commands: sender, started, shutdown: shutdown.clone() };
        Ok((Self { commands, hang_up, shutdown, broker, spool, configured, metrics }, client))
    }

    /// Carries out the reloads that are asked for, one after the other, until the future is dropped.
    /// `program` runs with `config`.
    pub async fn serve<R: Reload>(mut self, mut config: Arc<Config>, program: &R) -> Infallible {
        loop {
            let (dry_run, by, answer) = tokio::select! {
                Some(PendingReload { dry_run, by, answer }) = self.commands.recv() => (dry_run, by, Some(answer)),
                () = self.hang_up.notified() => (false, "SIGHUP".to_owned(), None),
            };
            let done = self.carry_out(&mut config, program, dry_run, &by).await;
            if !dry_run {
                self.metrics.count(&done);
                log(&done, &by);
            }
            if let Some(answer) = answer {
                // The client that asked may be gone.
                let _ = answer.send(done);
            }
        }
    }

    async fn carry_out<R: Reload>(
        &self,
        running: &mut Arc<Config>,
        program: &R,
        dry_run: bool,
        by: &str,
    ) -> Result<Reloaded, ReloadError> {
        if self.shutdown.is_draining() {
            return Err(ReloadError::Draining);
        }
        if !dry_run {
            tracing::info!(by, "reloading the configuration");
        }
        let read = program.read().map_err(ReloadError::Invalid)?;
        let new = Arc::clone(R::config(&read));
        let changes = new.changes_from(running);
        let needing_restart = changes.needing_restart();
        if !needing_restart.is_empty() {
            return Err(ReloadError::NeedsRestart(needing_restart));
        }
        if !changes.is_empty() && !dry_run {
            let failed = |error: postern_broker::BrokerError| {
                ReloadError::Failed(format!("the queues cannot be declared: {error}"))
            };
            let configured = Configured::of(&new);
            let declared = match self.spool.get() {
                Some(spool) => spool.declare(&configured.topology).await,
                None => self.broker.declare(&configured.topology).await,
            };
            declared.map_err(failed)?;
            program.apply(read).await.map_err(ReloadError::Failed)?;
            self.configured.set(configured);
            log_warnings(&new);
        }
        let before = std::mem::replace(running, if dry_run { Arc::clone(running) } else { Arc::clone(&new) });
        let removed = before.backends.keys().filter(|name| !new.backends.contains_key(*name));
        let mut waiting = BTreeMap::new();
        for backend in removed {
            waiting.extend(self.waiting(backend).await.map(|messages| (backend.clone(), messages)));
        }
        let Changes { added, changed, removed, unchanged } = changes;
        Ok(Reloaded { added, changed, removed, unchanged, dry_run, waiting })
    }

    /// How many messages wait for `backend`. `None` if the broker does not say, or if there are none.
    async fn waiting(&self, backend: &BackendName) -> Option<u64> {
        let mut messages = 0;
        for lane in [Priority::Normal, Priority::Bulk] {
            let depth = self.broker.depth(&QueueName::outbound(backend, lane)).await.ok()?;
            messages += depth.ready + depth.delayed.unwrap_or_default();
        }
        (messages > 0).then_some(messages)
    }
}

/// Logs what should be changed in `config`, one line each.
pub(crate) fn log_warnings(config: &Config) {
    let unread = config.unread_messages();
    for problem in config.warnings.iter().chain(&unread) {
        let key = (!problem.key.is_empty()).then_some(problem.key.as_str());
        tracing::warn!(key, line = problem.line, "configuration: {}", problem.at_key());
    }
}

/// Logs the outcome of a reload, one line for each mistake.
fn log(done: &Result<Reloaded, ReloadError>, by: &str) {
    match done {
        Ok(Reloaded { added, changed, removed, unchanged, waiting, .. }) => {
            let (added, changed, removed) = (added.join(" "), changed.join(" "), removed.join(" "));
            let is_same = [&added, &changed, &removed].iter().all(|keys| keys.is_empty());
            let what = if is_same { "configuration unchanged" } else { "configuration reloaded" };
            tracing::info!(by, added, changed, removed, unchanged, "{what}");
            for (backend, messages) in waiting {
                let backend = backend.as_str();
                tracing::warn!(
                    backend,
                    messages,
                    "backend removed: its messages stay in its queue; `postern queue move` moves them to \
                     another backend"
                );
            }
        }
        Err(ReloadError::Invalid(problems)) => {
            for problem in problems {
                let (key, line) = (&*problem.key, problem.line);
                tracing::error!(key, line, "configuration not reloaded: {}", problem.at_key());
            }
            let problems = problems.len();
            tracing::error!(by, problems, "configuration not reloaded, nothing was changed");
        }
        Err(error) => tracing::error!(by, "configuration not reloaded: {error}"),
    }
}

/// The metrics of reloads.
#[derive(Debug, Clone)]
struct ReloadMetrics {
    reloads: IntCounterVec,
    loaded: IntGauge,
    successful: IntGauge,
}

impl ReloadMetrics {
    fn declare(metrics: &Metrics) -> Result<Self, Error> {
        let declared = Self {
            reloads: metrics.counter(
                "config_reloads_total",
                "Reloads of the configuration, by outcome",
                &["outcome"],
            )?,
            loaded: metrics.declare(IntGauge::new(
                "config_loaded_timestamp_seconds",
                "Unix time at which the active configuration was read",
            )?)?,
            successful: metrics.declare(IntGauge::new(
                "config_last_reload_successful",
                "0 if the last reload failed and an earlier configuration is active, otherwise 1",
            )?)?,
        };
        for outcome in ["changed", "unchanged", "invalid", "restart_needed", "failed"] {
            declared.reloads.with_label_values(&[outcome]);
        }
        declared.holds();
        Ok(declared)
    }

    fn holds(&self) {
        self.loaded.set(Timestamp::now().as_second());
        self.successful.set(1);
    }

    fn count(&self, done: &Result<Reloaded, ReloadError>) {
        let outcome = match done {
            Ok(done) if done.added.is_empty() && done.changed.is_empty() && done.removed.is_empty() => {
                "unchanged"
            }
            Ok(_) => "changed",
            Err(ReloadError::Invalid(_)) => "invalid",
            Err(ReloadError::NeedsRestart(_)) => "restart_needed",
            Err(ReloadError::Failed(_)) => "failed",
            Err(ReloadError::Draining | ReloadError::Starting) => return,
        };
        self.reloads.with_label_values(&[outcome]).inc();
        if done.is_ok() { self.holds() } else { self.successful.set(0) }
    }
}
