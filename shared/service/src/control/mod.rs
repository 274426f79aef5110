//! What operators ordered, as this process knows it, and the orders themselves.
//!
//! `postern pause` and its kin, and `POST /v1/backends/NAME/…` of the admin port, are two ways to
//! [`Operator`], which publishes one record to `postern.control`. That is a stream and no queue: each
//! process reads all records, from the first on, and takes none from the others. [`Control`] follows it
//! and folds the records into a `ControlState`, a pure value.
//!
//! The dispatcher waits until the log is read, holds a backend's flow control while a pause holds, and
//! asks [`Control`] of each message whether it is cancelled before it is attempted. `cancel` settles what
//! waits at the moment of the order, so that a paused backend's messages are reported too. `queues` lists
//! queues and moves or purges what is in them. RabbitMQ lists no queues over AMQP, so each process notes
//! its backends' names in the log, and `unconfigured` asks about those that its configuration does not
//! have. All of them go through a queue by `scan`.

mod cancel;
mod cancelled;
mod operator;
mod queues;
mod unconfigured;

pub use cancel::{CancelOrder, Cancellation};
pub use cancelled::{CANCELLED, cancelled};
pub use operator::{Operator, OrderError, Paused};
pub use queues::{MoveOrder, Moved, PurgeOrder, Purged, QueueList, QueueShown};
pub use unconfigured::Unconfigured;

use crate::health::HealthRegistry;
use jiff::SignedDuration;
use postern_broker::{Broker, BrokerError, BrokerStatus, Envelope, QueueName, queued::Queued};
use postern_shared::{
    backoff::Backoff,
    clock::{self, Written},
    control::{ControlOrder, ControlRecord, ControlState, Pause},
    message::BackendName,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How many records are taken at a time.
const PREFETCH: u16 = 256;
/// How long a record that was counted may take to come while the broker can be used.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long no record comes once all are read. RabbitMQ counts those of a stream every five seconds: of the last
/// ones the count does not say that they are there.
const QUIET: Duration = Duration::from_millis(100);
/// How often a broker that can be used may fail to show the log before the process goes on without.
const ATTEMPTS: u32 = 5;
/// When a broker without the log is asked for it again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What operators ordered, as this process knows it. Clones share it.
#[derive(Debug, Clone)]
pub struct Control {
    known: watch::Sender<KnownLog>,
    health: HealthRegistry,
}

/// What is known of the log.
#[derive(Debug, Clone)]
struct KnownLog {
    state: Arc<ControlState>,
    /// Whether all that the log held at the start was read, or cannot be.
    is_read: bool,
    /// Why the log cannot be read.
    problem: Option<String>,
}

impl Control {
    /// Nothing is ordered, until this is told to [follow](Self::follow) the log. Pauses are noted in
    /// `health`.
    pub fn new(health: HealthRegistry) -> Self {
        let known = KnownLog { state: Arc::default(), is_read: true, problem: None };
        Self { known: watch::Sender::new(known), health }
    }

    /// What all orders up to now come to.
    pub fn state(&self) -> Arc<ControlState> {
        self.known.borrow().state.clone()
    }

    /// Whether an operator cancelled `queued`, which this process has held for `held`.
    pub fn cancels(&self, queued: Queued<'_>, held: Duration) -> bool {
        let Queued { message, lane, .. } = queued;
        let state = self.state();
        if !state.has_cancelled(&message.backend) {
            return false;
        }
        let seen = SignedDuration::try_from(held).ok().and_then(|held| clock::now().checked_sub(held).ok());
        let counts_from = queued.counts_from(seen.unwrap_or_else(clock::now));
        state.cancels(&message.backend, counts_from, lane)
    }

    /// What an operator should know: that the log cannot be read.
    pub fn remark(&self) -> Option<String> {
        let problem = self.known.borrow().problem.clone()?;
        Some(format!(
            "pauses and cancellations are unknown, because the log postern.control cannot be read: {problem}"
        ))
    }

    /// Waits until what the log held at the start is known, or it turned out that it cannot be read.
    pub async fn until_read(&self) {
        // The sender is in `self`.
        let _ = self.known.subscribe().wait_for(|known| known.is_read).await;
    }

    /// Waits until an operator's pause of `backend` began or ended: until it is other than `pause`. Returns
    /// what it is then.
    pub async fn pause_changes(&self, backend: &BackendName, pause: Option<&Pause>) -> Option<Pause> {
        let mut known = self.known.subscribe();
        let changed = known.wait_for(|known| known.state.pauses().get(backend) != pause).await;
        // The sender is in `self`.
        changed.ok().and_then(|known| known.state.pauses().get(backend).cloned())
    }

    /// Follows the log of `broker`, from its first record on, until the broker is closed.
    pub fn follow(&self, broker: Arc<dyn Broker>) -> impl Future<Output = ()> + use<> {
        let control = self.clone();
        control.known.send_modify(|known| known.is_read = false);
        async move {
            let (mut attempts, mut backoff) = (0, Backoff::new(Duration::from_millis(200), PATIENCE));
            loop {
                let error = match control.read(&*broker).await {
                    Ok(()) | Err(BrokerError::Closed) => return,
                    Err(error) => error,
                };
                let there_is_none = matches!(error, BrokerError::Refused(_));
                attempts += u32::from(*broker.status().borrow() == BrokerStatus::Ready);
                if there_is_none || attempts >= ATTEMPTS {
                    control.go_on_without(&error);
                }
                sleep(if there_is_none { ASK_AGAIN } else { backoff.pause() }).await;
            }
        }
    }

    /// # Errors
    /// The log cannot be read.
    async fn read(&self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let (log, begun) = (QueueName::control(), clock::now());
        let mut left = broker.depth(&log).await?.ready;
        let mut consumer = broker.consume(&log, PREFETCH).await?;
        let mut state = ControlState::default();
        loop {
            match timeout(if left > 0 { PATIENCE } else { QUIET }, consumer.next()).await {
                Ok(Some(delivery)) => {
                    if let Some(record) = record(&delivery.envelope) {
                        // Ordered while this process starts: of interest by itself, as any later one.
                        if record.at >= begun {
                            log_order(&record);
                        }
                        state.fold(&record);
                    }
                    delivery.ack();
                    left = left.saturating_sub(1);
                }
                Ok(None) => return Ok(()),
                Err(_) if left > 0 && *broker.status().borrow() != BrokerStatus::Ready => {}
                Err(_) => break,
            }
        }
        for (backend, Pause { since, by }) in state.pauses().iter().filter(|(_, pause)| pause.since < begun) {
            let (backend, since) = (backend.as_str(), Written(*since));
            tracing::warn!(backend, %since, by, "backend paused by an operator: its messages wait in their queue");
        }
        self.set(state);
        while let Some(delivery) = consumer.next().await {
            if let Some(record) = record(&delivery.envelope) {
                self.apply(&record);
            }
            delivery.ack();
        }
        Ok(())
    }

    fn go_on_without(&self, error: &BrokerError) {
        let problem = error.to_string();
        self.known.send_if_modified(|known| {
            let new = !known.is_read || known.problem.as_ref() != Some(&problem);
            if new {
                tracing::error!(%error,
                    "the log postern.control cannot be read: messages that operators paused or cancelled \
                     may be sent");
            }
            known.is_read = true;
            known.problem = Some(problem);
            new
        });
    }

    fn set(&self, state: ControlState) {
        self.health.paused_by_operators(state.pauses());
        self.known.send_replace(KnownLog { state: Arc::new(state), is_read: true, problem: None });
    }

    /// Takes over what `record` orders, and logs it.
    pub fn apply(&self, record: &ControlRecord) {
        log_order(record);
        let mut state = (*self.state()).clone();
        state.fold(record);
        self.set(state);
    }
}

/// The name of this machine, for who gave an order.
pub fn this_machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn record(envelope: &Envelope) -> Option<ControlRecord> {
    let record = ControlRecord::from_json(&envelope.body);
    record
        .inspect_err(|error| tracing::warn!(%error, "invalid record in the log postern.control ignored"))
        .ok()
}

fn log_order(ControlRecord { by, order, .. }: &ControlRecord) {
    match order {
        ControlOrder::Pause { backend } => {
            let backend = backend.as_str();
            tracing::warn!(backend, by, "backend paused by an operator: its messages wait in their queue");
        }
        ControlOrder::Resume { backend } => {
            tracing::info!(
                backend = backend.as_str(),
                by,
                "backend resumed by an operator: its messages are sent again"
            );
        }
        ControlOrder::Cancel(rule) => {
            let (backend, until) = (rule.backend.as_str(), Written(rule.until));
            let since = rule.since.map(Written).map(tracing::field::display);
            let priority = rule.priority.map(tracing::field::debug);
            tracing::warn!(backend, since, %until, priority, by, "messages cancelled by an operator");
        }
        ControlOrder::Done(action) => {
            let (done, queue, to) = (&*action.done, &*action.queue, action.to.as_deref());
            tracing::info!(queue, to, messages = action.messages, by, "messages {done} by an operator");
        }
        ControlOrder::Unknown => {
            tracing::warn!(by, "an order from a later version is ignored: update this process");
        }
        ControlOrder::Known { .. } => {}
    }
}
