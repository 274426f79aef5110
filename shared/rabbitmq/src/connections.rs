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
use tracing::warn;

/// The least time between two runs over the topology that failing consumers ask for.
const RESTORE_INTERVAL: Duration = Duration::from_secs(1);

/// How one of the two connections fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// Its first attempt is under way.
    Starting,
    /// It works.
    Up,
    /// It works, but the broker takes no publishes on it, and why.
    Blocked(String),
    /// It does not work, and why.
    Down(String),
}

/// The connection on which everything but publishing is done.
#[derive(Debug)]
pub(super) struct ConsumerConnection {
    pub(super) link: Link,
    /// The channel for questions, which the broker closes at each unknown queue.
    questions: tokio::sync::Mutex<Option<Channel>>,
}

impl ConsumerConnection {
    pub(super) fn new(link: Link) -> Self {
        Self { link, questions: tokio::sync::Mutex::default() }
    }

    /// The depth of `queue`.
    async fn depth(&self, queue: &QueueName) -> lapin::Result<Depth> {
        let mut kept = self.questions.lock().await;
        // Put back only after an answer: what was interrupted may answer to the next question.
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

/// What the tasks of one broker have in common.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) endpoint: Endpoint,
    pub(super) options: BrokerOptions,
    /// What is declared: `options.topology`, and what was added to it.
    topology: RwLock<Arc<Topology>>,
    pub(super) status: watch::Sender<BrokerStatus>,
    pub(super) publishing: watch::Sender<ConnectionState>,
    pub(super) consuming: watch::Sender<ConnectionState>,
    /// There while [`Self::consuming`] is up; the topology is declared by then.
    pub(super) consumer_connection: watch::Sender<Option<Arc<ConsumerConnection>>>,
    /// Cancelled once the broker is to be closed.
    pub(super) closing: CancellationToken,
    /// How many tasks keep connections.
    pub(super) connection_tasks: TaskTracker,
    /// How many tasks feed consumers.
    pub(super) consumer_tasks: TaskTracker,
    declarer: tokio::sync::Mutex<(Declarer, Option<Instant>)>,
    /// What the declarer found different from what it should be.
    remarks: Mutex<Vec<String>>,
    /// Why the broker closed the publishing channel, where it said that we may not publish.
    denied: Mutex<Option<String>>,
    /// The largest body that the broker is known to take.
    max_body: AtomicUsize,
    /// Held while the status is made of the states, so that an older one never follows a newer.
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

    /// Takes note that the broker takes bodies of at most `bytes`: a larger one would close the channel,
    /// with everything in flight on it.
    pub(super) fn limit_body(&self, bytes: usize) {
        self.max_body.store(bytes.min(MAX_BODY), Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves once the broker is to be closed.
    pub(super) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Records how one connection fares.
    pub(super) fn set(&self, of: &watch::Sender<ConnectionState>, state: ConnectionState) {
        let _ordering = self.ordering.lock().unwrap_or_else(PoisonError::into_inner);
        if let ConnectionState::Down(reason) = &state
            && *of.borrow() != state
        {
            let reason = reason.as_str();
            match &*of.borrow() {
                ConnectionState::Up | ConnectionState::Blocked(_) => {
                    warn!(reason, "broker connection lost, retrying");
                }
                ConnectionState::Starting | ConnectionState::Down(_) => {
                    warn!(reason, "broker connection failed, retrying");
                }
            }
        }
        of.send_replace(state);
        self.tell();
    }

    /// Says that the broker is closed.
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

    /// Waits, not beyond `deadline`, while the first attempt of a connection is under way.
    ///
    /// # Errors
    /// Why it cannot be used.
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

    /// The same, unless that was done a moment ago: something turned out to be missing.
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

    /// What is to be declared.
    pub(super) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_topology(&self, topology: Arc<Topology>) {
        *self.topology.write().unwrap_or_else(PoisonError::into_inner) = topology;
    }

    /// Declares what of `more` is not there yet, now if there is a connection, else with the next one.
    ///
    /// # Errors
    /// The broker does not let this process declare it, or does not answer; it is not tried again.
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
            // The next connection begins with all of it.
            Err(error) if connection.link.is_up() => {
                self.set_topology(before);
                Err(BrokerError::Unavailable(self.endpoint.explain(&error)))
            }
            _ => Ok(()),
        }
    }

    /// What is used although it is not as it should be.
    pub(super) fn remarks(&self) -> Vec<String> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The broker closed the publishing channel because we may not publish.
    pub(super) fn deny(&self, why: String) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why, if it did so since this was last asked.
    pub(super) fn take_denied(&self) -> Option<String> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A name for the broker's pages, short enough for AMQP.
    pub(super) fn name(&self, role: &str) -> ShortString {
        let client: String = self.options.client_name.chars().take(40).collect();
        ShortString::try_new(format!("{client} ({role})")).unwrap_or_default()
    }
}

/// Something under a deadline.
pub(super) async fn soon<T>(
    patience: Duration,
    asked: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    timeout(patience, asked).await.unwrap_or_else(|_| Err(late()))
}

/// Pauses between attempts: growing, jittered, without end.
pub(super) struct Pauses {
    backoff: Backoff,
    since: Instant,
}

impl Pauses {
    /// The longest pause before the jitter, which may double it.
    const LONGEST: Duration = Duration::from_secs(3);
    /// What worked for so long has earned a quick new attempt.
    const WORKED: Duration = Duration::from_secs(5);

    pub(super) fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Self::LONGEST).with_jitter();
        Self { backoff, since: Instant::now() }
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        self.since = Instant::now();
    }

    /// What had succeeded is lost.
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

/// A tracker whose `wait` ends when no task is left. Tasks can still be added.
fn closed_tracker() -> TaskTracker {
    let tracker = TaskTracker::new();
    tracker.close();
    tracker
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours of attempts later the next one still comes within seconds, and they are not all alike.
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
