//! What the tasks of one broker have in common.

use super::{
    declare::Declarer,
    endpoint::{Endpoint, Link, NOT_FOUND, code, late},
    properties::MAX_BODY,
};
use lapin::{
    Channel,
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};
use postern_broker::{BrokerError, BrokerOptions, BrokerStatus, Depth, QueueName, Topology};
use postern_shared::backoff::Backoff;
use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// The shortest time between two declarations of the topology that failing consumers ask for.
const RESTORE_INTERVAL: Duration = Duration::from_secs(1);

/// The state of one of the two connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// The first attempt to open it is under way.
    Starting,
    /// It works.
    Up,
    /// It works, but the broker takes no publishes on it, for this reason.
    Blocked(String),
    /// It does not work, for this reason.
    Down(String),
}

/// The connection that is used for everything except publishing.
#[derive(Debug)]
pub(super) struct ConsumerConnection {
    pub(super) link: Link,
    /// The channel for questions about queues. The broker closes it if the queue is unknown.
    questions: tokio::sync::Mutex<Option<Channel>>,
}

impl ConsumerConnection {
    pub(super) fn new(link: Link) -> Self {
        Self { link, questions: tokio::sync::Mutex::default() }
    }

    /// The depth of `queue`.
    async fn depth(&self, queue: &QueueName) -> lapin::Result<Depth> {
        let mut kept = self.questions.lock().await;
        // The channel is kept only after an answer: after an interruption, a late answer could be taken for
        // that to the next question.
        let channel = match kept.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.link.channel().await?,
        };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await?;
        *kept = Some(channel);
        Ok(Depth { ready: found.message_count().into(), consumers: found.consumer_count(), delayed: None })
    }
}

/// The state that the tasks of one broker share.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) endpoint: Endpoint,
    pub(super) options: BrokerOptions,
    /// The topology to declare: `options.topology`, and what was added to it.
    topology: RwLock<Arc<Topology>>,
    pub(super) status: watch::Sender<BrokerStatus>,
    pub(super) publishing: watch::Sender<ConnectionState>,
    pub(super) consuming: watch::Sender<ConnectionState>,
    /// `Some` while [`Self::consuming`] is up; the topology is declared by then.
    pub(super) consumer_connection: watch::Sender<Option<Arc<ConsumerConnection>>>,
    /// Cancelled when the broker is to be closed.
    pub(super) closing: CancellationToken,
    /// The tasks that keep the connections open.
    pub(super) connection_tasks: TaskTracker,
    /// The tasks that feed consumers.
    pub(super) consumer_tasks: TaskTracker,
    declarer: tokio::sync::Mutex<(Declarer, Option<Instant>)>,
    /// The declarer's remarks on what differs from the topology, one sentence each.
    remarks: Mutex<Vec<String>>,
    /// Why the broker closed the publishing channel, if it said that we may not publish.
    denied: Mutex<Option<String>>,
    /// The largest body that the broker is known to take, in bytes.
    max_body: AtomicUsize,
    /// Held while the status is computed from the states, so that an older status never replaces a newer one.
    ordering: Mutex<()>,
}

impl Connections {
    pub(super) fn new(endpoint: Endpoint, options: BrokerOptions) -> Self {
        let status = BrokerStatus::Starting(format!("connecting to {endpoint}"));
        Self {
            endpoint,
            topology: RwLock::new(Arc::new(options.topology.clone())),
            options,
            status: watch::Sender::new(status),
            publishing: watch::Sender::new(ConnectionState::Starting),
            consuming: watch::Sender::new(ConnectionState::Starting),
            consumer_connection: watch::Sender::new(None),
            closing: CancellationToken::new(),
            connection_tasks: closed_tracker(),
            consumer_tasks: closed_tracker(),
            declarer: tokio::sync::Mutex::default(),
            remarks: Mutex::default(),
            denied: Mutex::default(),
            max_body: AtomicUsize::new(MAX_BODY),
            ordering: Mutex::new(()),
        }
    }

    /// The largest body that the broker is known to take, in bytes.
    pub(super) fn max_body(&self) -> usize {
        self.max_body.load(Ordering::Relaxed)
    }

    /// Records that the broker takes bodies of at most `bytes`. It closes the channel at a larger one, with
    /// everything in flight on it.
    pub(super) fn limit_body(&self, bytes: usize) {
        self.max_body.store(bytes.min(MAX_BODY), Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves when the broker is to be closed.
    pub(super) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Records the state of one connection.
    pub(super) fn set(&self, of: &watch::Sender<ConnectionState>, state: ConnectionState) {
        let _ordering = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        log_change(&of.borrow(), &state);
        of.send_replace(state);
        self.tell();
    }

    /// Sets the status to closed.
    pub(super) fn set_closed(&self) {
        let _ordering = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        self.status.send_replace(BrokerStatus::Closed);
    }

    fn tell(&self) {
        let now = match (&*self.consuming.borrow(), &*self.publishing.borrow()) {
            (ConnectionState::Down(why), _) | (_, ConnectionState::Down(why)) => {
                BrokerStatus::Connecting(why.clone())
            }
            (ConnectionState::Starting, _) | (_, ConnectionState::Starting) => return,
            (ConnectionState::Blocked(why), _) | (_, ConnectionState::Blocked(why)) => {
                BrokerStatus::Blocked(why.clone())
            }
            (ConnectionState::Up, ConnectionState::Up) => BrokerStatus::Ready,
        };
        self.status.send_if_modified(|status| {
            let changed = *status != now && *status != BrokerStatus::Closed;
            if changed {
                *status = now;
            }
            changed
        });
    }

    /// Waits until the first attempt to open a connection is over, at most until `deadline`.
    ///
    /// # Errors
    /// Why the connection cannot be used.
    pub(super) async fn usable(
        &self,
        of: &watch::Sender<ConnectionState>,
        deadline: Instant,
    ) -> Result<(), BrokerError> {
        if self.is_closing() {
            return Err(BrokerError::Closed);
        }
        if *of.borrow() == ConnectionState::Up {
            return Ok(());
        }
        let mut states = of.subscribe();
        let begun = timeout_at(deadline, states.wait_for(|state| *state != ConnectionState::Starting));
        let state = tokio::select! {
            () = self.closed() => return Err(BrokerError::Closed),
            state = begun => state.map_or(ConnectionState::Starting, |state| state.map_or(ConnectionState::Starting, |state| state.clone())),
        };
        match state {
            ConnectionState::Up => Ok(()),
            ConnectionState::Blocked(why) => Err(BrokerError::Blocked(why)),
            ConnectionState::Down(why) => Err(BrokerError::Unavailable(why)),
            ConnectionState::Starting => {
                Err(BrokerError::Unavailable(format!("still connecting to {}", self.endpoint)))
            }
        }
    }

    /// The depth of `queue`.
    pub(super) async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        let limit = self.options.publish_timeout;
        let deadline = Instant::now() + limit;
        self.usable(&self.consuming, deadline).await?;
        let connection = self.consumer_connection.borrow().clone();
        let Some(connection) = connection else {
            return Err(BrokerError::Unavailable(format!("the connection to {} was lost", self.endpoint)));
        };
        match timeout_at(deadline, connection.depth(queue)).await {
            Ok(Ok(depth)) => Ok(depth),
            Ok(Err(error)) if code(&error) == Some(NOT_FOUND) => {
                Err(BrokerError::Refused(format!("{} has no queue {queue}", self.endpoint)))
            }
            Ok(Err(error)) => Err(BrokerError::Unavailable(self.endpoint.explain(&error))),
            Err(_) => Err(BrokerError::TimedOut(limit)),
        }
    }

    /// Declares the topology on `link`.
    pub(super) async fn declare(&self, link: &Link) -> lapin::Result<()> {
        self.declare_unless(link, |_| false).await
    }

    /// Declares the topology on `link` because a part of it is missing, unless that was done a moment ago.
    pub(super) async fn restore(&self, link: &Link) -> lapin::Result<()> {
        self.declare_unless(link, |last| last.elapsed() <= RESTORE_INTERVAL).await
    }

    async fn declare_unless(&self, link: &Link, recent: impl FnOnce(Instant) -> bool) -> lapin::Result<()> {
        let mut declarer = self.declarer.lock().await;
        if declarer.1.is_some_and(recent) {
            return Ok(());
        }
        let done = declarer.0.run(link, &self.topology()).await;
        *self.remarks.lock().unwrap_or_else(PoisonError::into_inner) = declarer.0.remarks();
        done?;
        declarer.1 = Some(Instant::now());
        Ok(())
    }

    /// The topology to declare.
    pub(super) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_topology(&self, topology: Arc<Topology>) {
        *self.topology.write().unwrap_or_else(PoisonError::into_inner) = topology;
    }

    /// Declares what `more` adds to the topology: now if there is a connection, else with the next one.
    ///
    /// # Errors
    /// The broker does not let this process declare it, or does not answer. The declaration is not retried.
    pub(super) async fn declare_more(&self, more: &Topology) -> Result<(), BrokerError> {
        let mut declarer = self.declarer.lock().await;
        let before = self.topology();
        let both = before.with(more);
        if both == *before {
            return Ok(());
        }
        self.set_topology(Arc::new(both));
        let connection = self.consumer_connection.borrow().clone();
        let Some(connection) = connection else { return Ok(()) };
        match declarer.0.run(&connection.link, &more.without(&before)).await {
            // If the connection is lost, the next one declares all of it.
            Err(error) if connection.link.is_up() => {
                self.set_topology(before);
                Err(BrokerError::Unavailable(self.endpoint.explain(&error)))
            }
            _ => Ok(()),
        }
    }

    /// What is used although it differs from the topology, one sentence each.
    pub(super) fn remarks(&self) -> Vec<String> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that the broker closed the publishing channel because we may not publish.
    pub(super) fn deny(&self, why: String) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the broker closed the publishing channel, if [`deny`](Self::deny) was called since the last call.
    pub(super) fn take_denied(&self) -> Option<String> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A connection's name for RabbitMQ's management pages, short enough for AMQP.
    pub(super) fn name(&self, role: &str) -> ShortString {
        let client: String = self.options.client_name.chars().take(40).collect();
        ShortString::try_new(format!("{client} ({role})")).unwrap_or_default()
    }
}

/// Waits for the answer to `asked`, for at most `patience`.
pub(super) async fn soon<T>(
    patience: Duration,
    asked: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    timeout(patience, asked).await.unwrap_or_else(|_| Err(late()))
}

/// The pauses between attempts: they grow, are jittered, and never end.
pub(super) struct Pauses {
    backoff: Backoff,
    since: Instant,
}

impl Pauses {
    /// The longest pause before the jitter, which may double it.
    const LONGEST: Duration = Duration::from_secs(3);
    /// A connection or channel that worked for longer than this is retried quickly.
    const WORKED: Duration = Duration::from_secs(5);

    pub(super) fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Self::LONGEST).with_jitter();
        Self { backoff, since: Instant::now() }
    }

    /// Records that an attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        self.since = Instant::now();
    }

    /// Records that what the last attempt opened is lost.
    pub(super) fn lost(&mut self) {
        if self.since.elapsed() > Self::WORKED {
            self.backoff.reset();
        }
    }

    /// Waits before the next attempt.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.backoff.pause()).await;
    }
}

/// Logs what has become of a connection that was in the state `before`.
fn log_change(before: &ConnectionState, state: &ConnectionState) {
    use ConnectionState::{Blocked, Down, Starting, Up};
    match (before, state) {
        (Up | Blocked(_), Down(reason)) => {
            warn!(error = reason.as_str(), "broker connection lost, retrying");
        }
        (Starting | Down(_), Down(reason)) if before != state => {
            warn!(error = reason.as_str(), "broker connection failed, retrying");
        }
        (Starting | Up | Down(_), Blocked(reason)) => {
            warn!(error = reason.as_str(), "broker blocked, nothing is published");
        }
        (Blocked(_), Up) => info!("broker unblocked"),
        _ => {}
    }
}

/// A tracker whose `wait` ends when no task is running. Tasks can still be added.
fn closed_tracker() -> TaskTracker {
    let tracker = TaskTracker::new();
    tracker.close();
    tracker
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After hours of attempts the next one still comes within seconds, and the pauses are not all alike.
    #[test]
    fn pauses_grow_to_a_bound_and_never_end() {
        let mut pauses = Pauses::new();
        let all: Vec<_> = (0..10_000).map(|_| pauses.backoff.pause()).collect();
        assert!(all[0] < Duration::from_secs(1), "{:?}", all[0]);
        assert!(all.iter().all(|pause| !pause.is_zero() && *pause <= Pauses::LONGEST * 2));
        let late: std::collections::BTreeSet<_> = all[5_000..].iter().collect();
        assert!(late.len() > 100 && *late.first().unwrap() >= &Pauses::LONGEST, "{late:?}");
    }
}
