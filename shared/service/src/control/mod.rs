//! What operators have commanded, as this process knows it, and the commands themselves.
//!
//! `postern pause` and similar commands, and `POST /v1/backends/NAME/…` of the admin port, are two ways to
//! [`Operator`], which publishes one record to `postern.control`. That is a stream, not a queue: each
//! process reads all records, from the first on, and takes none from the others. [`Control`] follows the
//! stream and folds the records into a `ControlState`, a pure value.
//!
//! The dispatcher waits until the stream is read, stops a backend's flow control while the backend is
//! paused, and asks [`Control`] before each request whether its message is cancelled. `cancel`
//! settles what waits at the moment of the command, so that a paused backend's messages are reported, too.
//! `queues` lists queues, and moves or purges their messages. RabbitMQ lists no queues over AMQP, so each
//! process records its backends' names in the stream, and `unconfigured` asks about the backends that its
//! configuration does not have. All of them go through a queue with `scan`.

mod cancel;
mod cancelled;
mod operator;
mod queues;
mod unconfigured;

pub use cancel::{CancelCommand, Cancellation};
pub use cancelled::{CANCELLED, cancelled};
pub use operator::{CommandError, Operator, Paused, PlainCommand};
pub use queues::{MoveCommand, Moved, Purged, QueueList, QueueShown};
pub use unconfigured::Unconfigured;

use crate::health::HealthRegistry;
use jiff::SignedDuration;
use postern_broker::{Broker, BrokerError, BrokerStatus, Envelope, QueueName, queued::Queued};
use postern_shared::{
    backoff::Backoff,
    clock::{self, Written},
    control::{ControlCommand, ControlRecord, ControlState, Pause},
    message::BackendName,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How many records are taken at a time.
const PREFETCH: u16 = 256;
/// How long a record that was counted may take to arrive while the broker can be used.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long no record must arrive before all count as read. RabbitMQ counts a stream's records every five
/// seconds, so its count may lack the last ones.
const QUIET: Duration = Duration::from_millis(100);
/// How often reading the stream may fail, on a broker that can be used, before the process goes on without it.
const ATTEMPTS: u32 = 5;
/// The time after which a broker without the stream is asked for it again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What operators have commanded, as this process knows it. Clones share it.
#[derive(Debug, Clone)]
pub struct Control {
    known: watch::Sender<KnownRecords>,
    health: HealthRegistry,
}

/// What is known of the control stream.
#[derive(Debug, Clone)]
struct KnownRecords {
    state: Arc<ControlState>,
    /// Whether everything that the stream held at the start was read, or cannot be read.
    is_read: bool,
    /// Why the stream cannot be read.
    problem: Option<String>,
}

impl Control {
    /// The state without any command, until this is told to [follow](Self::follow) the stream. Pauses are
    /// noted in `health`.
    pub fn new(health: HealthRegistry) -> Self {
        let known = KnownRecords { state: Arc::default(), is_read: true, problem: None };
        Self { known: watch::Sender::new(known), health }
    }

    /// The state after all commands up to now.
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

    /// What an operator should know: that the stream cannot be read.
    pub fn remark(&self) -> Option<String> {
        let problem = self.known.borrow().problem.clone()?;
        Some(format!(
            "pauses and cancellations are unknown, because postern.control cannot be read: {problem}"
        ))
    }

    /// Waits until everything that the stream held at the start was read, or turned out to be unreadable.
    pub async fn until_read(&self) {
        // Cannot fail: the sender is in `self`.
        let _ = self.known.subscribe().wait_for(|known| known.is_read).await;
    }

    /// Whether everything that the stream held at the start was read.
    pub(crate) fn is_known(&self) -> bool {
        let known = self.known.borrow();
        known.is_read && known.problem.is_none()
    }

    /// Waits until the operator's pause of `backend` differs from `pause`. Returns the new one.
    pub async fn pause_changes(&self, backend: &BackendName, pause: Option<&Pause>) -> Option<Pause> {
        let mut known = self.known.subscribe();
        let changed = known.wait_for(|known| known.state.pauses().get(backend) != pause).await;
        // Cannot fail: the sender is in `self`.
        changed.ok().and_then(|known| known.state.pauses().get(backend).cloned())
    }

    /// Follows the stream of `broker`, from its first record on, until the broker is closed.
    pub fn follow(&self, broker: Arc<dyn Broker>) -> impl Future<Output = ()> + use<> {
        let control = self.clone();
        control.known.send_modify(|known| known.is_read = false);
        async move {
            let (mut attempts, mut backoff) = (0, Backoff::new(Duration::from_millis(200), PATIENCE));
            loop {
                let error = match control.read(&*broker, PATIENCE).await {
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

    /// Reads the stream until the broker is closed. A record that was counted may take `patience` to arrive while the
    /// broker can be used.
    ///
    /// # Errors
    /// The stream cannot be read.
    async fn read(&self, broker: &dyn Broker, patience: Duration) -> Result<(), BrokerError> {
        let (log, begun) = (QueueName::control(), clock::now());
        let mut left = broker.depth(&log).await?.ready;
        let mut consumer = broker.consume(&log, PREFETCH).await?;
        let (counted, mut state) = (left, ControlState::default());
        loop {
            match timeout(if left > 0 { patience } else { QUIET }, consumer.next()).await {
                Ok(Some(delivery)) => {
                    if let Some(record) = record(&delivery.envelope) {
                        // Given while this process starts: logged like any later command.
                        if record.at >= begun {
                            log_command(&record);
                        }
                        state.fold(&record);
                    }
                    delivery.ack();
                    left = left.saturating_sub(1);
                }
                Ok(None) => return Ok(()),
                Err(_) if left > 0 && *broker.status().borrow() != BrokerStatus::Ready => {}
                // Not one of them came, so the broker does not deliver: perhaps this process may not read them.
                Err(_) if left > 0 && left == counted => return Err(BrokerError::TimedOut(patience)),
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
                    "postern.control cannot be read: pauses and cancellations have no effect, so messages \
                     may be sent that should not be; remove the cause, or stop the dispatchers");
            }
            known.is_read = true;
            known.problem = Some(problem);
            new
        });
    }

    fn set(&self, state: ControlState) {
        self.health.paused_by_operators(state.pauses());
        self.known.send_replace(KnownRecords { state: Arc::new(state), is_read: true, problem: None });
    }

    /// Applies the command in `record`, and logs it.
    pub fn apply(&self, record: &ControlRecord) {
        log_command(record);
        let mut state = (*self.state()).clone();
        state.fold(record);
        self.set(state);
    }
}

/// The name of this machine, for the record of who gave a command.
pub fn this_machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn record(envelope: &Envelope) -> Option<ControlRecord> {
    let record = ControlRecord::from_json(&envelope.body);
    record.inspect_err(|error| tracing::warn!(%error, "invalid record in postern.control ignored")).ok()
}

fn log_command(ControlRecord { by, command, .. }: &ControlRecord) {
    match command {
        ControlCommand::Pause { backend } => {
            let backend = backend.as_str();
            tracing::warn!(backend, by, "backend paused by an operator: its messages wait in their queue");
        }
        ControlCommand::Resume { backend } => {
            tracing::info!(
                backend = backend.as_str(),
                by,
                "backend resumed by an operator: its messages are sent again"
            );
        }
        ControlCommand::Cancel(rule) => {
            let (backend, until) = (rule.backend.as_str(), Written(rule.until));
            let since = rule.since.map(Written).map(tracing::field::display);
            let priority = rule.priority.map(tracing::field::debug);
            tracing::warn!(backend, since, %until, priority, by, "messages cancelled by an operator");
        }
        ControlCommand::Done(action) => {
            let (done, queue, to) = (&*action.done, &*action.queue, action.to.as_deref());
            tracing::info!(queue, to, messages = action.messages, by, "messages {done} by an operator");
        }
        ControlCommand::Unknown => {
            tracing::warn!(by, "a command from a later version is ignored: update this process");
        }
        ControlCommand::Known { .. } => {}
    }
}

#[cfg(test)]
mod tests;
