//! Store and forward: while the broker takes nothing, what is published is stored in a folder of
//! this machine, and forwarded in order when the broker is back.
//!
//! A [`Spool`] is a [`Broker`] around the broker. The modules, in the order in which a message meets
//! them: this one decides whether it goes to the broker at once, `usage` whether there is room,
//! `routing_headers` notes on it where it is to go, `store` has the embedded broker keep it, `queue` remembers
//! which queues have something in the spool, `forward` hands it on. `condition` says how all that
//! fares.
//!
//! The order: each queue of the broker gets its messages in the order in which they were accepted.
//! Once the spool holds one for a queue, whatever else goes there is stored behind it, until the
//! last of them has been confirmed. A message that the broker did not confirm in time is stored as
//! well, under the same id: the broker may have both.
//!
//! The store is the embedded broker's, with the same queues, and one task forwards from each: each queue
//! keeps its order, and one that is full or lost its majority holds up no other. That a queue with
//! something in the spool is published to by way of the spool only is also a circuit breaker: a broker
//! that confirms nothing costs one time-out and not one for each request. A queue at `max_messages` is
//! answered 503 and not spooled, since the limit tells publishers to slow down. A process that
//! spools is ready: it keeps what it accepts, and a load balancer that took it out would leave providers
//! with nobody.

mod condition;
mod forward;
mod queue;
mod routing_headers;
mod store;
#[cfg(test)]
mod tests;
mod usage;

pub use usage::{SpoolLimits, SpoolUsage};

use crate::embedded::EmbeddedBroker;
use async_trait::async_trait;
use postern_broker::{
    Address, Broker, BrokerError, BrokerStatus, Consumer, Depth, Envelope, QueueName, Topology,
    refused::NO_BACKEND, topology::OUTBOUND,
};
use postern_shared::message::BackendName;
use queue::{SpoolQueue, SpoolQueues};
use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use usage::UsageCounter;

/// How long the store may take. Callers wait for `publish_timeout` only; what becomes of the message
/// is counted all the same.
const STORE_PATIENCE: Duration = Duration::from_secs(600);
/// How long a publish under way when the broker becomes unusable may still succeed.
const GRACE: Duration = Duration::from_millis(300);
/// How long closing waits for what is being forwarded.
const PARTING: Duration = Duration::from_secs(3);

/// What [`Spool::open`] needs to know.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The folder; made where it is missing.
    pub dir: PathBuf,
    /// How much it may hold.
    pub limits: SpoolLimits,
    /// The backends for which messages are published.
    pub backends: BTreeSet<BackendName>,
    /// How long a publish may wait for the disk.
    pub publish_timeout: Duration,
    /// Free bytes on the folder's file system below which nothing more is stored.
    pub min_free_disk: u64,
}

/// What the spool has done since it was opened, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// What it holds.
    pub usage: SpoolUsage,
    /// For how long the oldest message has waited; nothing where none does.
    pub oldest: Option<Duration>,
    /// Messages taken into it.
    pub stored: u64,
    /// Messages that the broker has taken from it.
    pub forwarded: u64,
    /// Messages that it did not take: full, or its disk cannot be written.
    pub refused: u64,
    /// Messages that the broker will never take: among the dead letters.
    pub dead: u64,
}

/// A broker that takes messages also while the one behind it takes none.
pub struct Spool(Arc<Core>);

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("dir", &self.0.dir).finish_non_exhaustive()
    }
}

/// What the spool's tasks have in common.
struct Core {
    broker: Arc<dyn Broker>,
    store: EmbeddedBroker,
    /// The folder, for messages to people.
    dir: String,
    publish_timeout: Duration,
    declared: RwLock<BTreeSet<QueueName>>,
    /// Whose dead letters those are that say no backend.
    nobody: BackendName,
    usage: UsageCounter,
    spool_queues: SpoolQueues,
    status: watch::Sender<BrokerStatus>,
    closing: CancellationToken,
    tasks: TaskTracker,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    stored: AtomicU64,
    forwarded: AtomicU64,
    refused: AtomicU64,
    dead: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }
}

impl Spool {
    /// Opens the spool in front of `broker`, and begins to forward what it holds. Within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`BrokerError::Locked`], [`BrokerError::Blocked`] or [`BrokerError::Store`], as
    /// [`EmbeddedBroker::open`].
    pub async fn open(options: SpoolOptions, broker: Arc<dyn Broker>) -> Result<Self, BrokerError> {
        let nobody = NO_BACKEND.parse().map_err(|_| BrokerError::Closed)?;
        let store = open_store(&options).await?;
        let declared = topology(&options.backends).queues().into_iter().map(|spec| spec.name);
        let found = store.found().to_vec();
        let core = Arc::new(Core {
            status: watch::Sender::new(broker.status().borrow().clone()),
            broker,
            store,
            dir: options.dir.display().to_string(),
            publish_timeout: options.publish_timeout,
            declared: RwLock::new(declared.chain(found.iter().map(|found| found.queue.clone())).collect()),
            nobody,
            usage: UsageCounter::new(options.limits, &found),
            spool_queues: SpoolQueues::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            counters: Counters::default(),
        });
        for found in found {
            core.spool_queue(&found.queue).enter(found.messages);
        }
        core.tell();
        core.tasks.spawn(condition::watch(Arc::clone(&core)));
        Ok(Self(core))
    }

    /// What it has done, and what it holds.
    pub fn figures(&self) -> Figures {
        let Counters { stored, forwarded, refused, dead } = &self.0.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            usage: self.0.usage.usage(),
            oldest: self.0.spool_queues.oldest(),
            stored: read(stored),
            forwarded: read(forwarded),
            refused: read(refused),
            dead: read(dead),
        }
    }
}

/// The limits are the spool's own: no queue of its store drops or refuses anything by itself.
fn topology(backends: &BTreeSet<BackendName>) -> Topology {
    Topology {
        backends: backends.clone(),
        polled: [].into(),
        delays: BTreeSet::new(),
        max_reports: u64::MAX,
        max_callbacks: u64::MAX,
        max_messages: None,
        log: postern_broker::LogRoute::None,
    }
}

/// Opens the store with the queues of the configured backends, and of those that are no longer
/// configured and have messages in it: the broker has a place for them.
async fn open_store(options: &SpoolOptions) -> Result<EmbeddedBroker, BrokerError> {
    let open = async |backends: &BTreeSet<BackendName>| {
        let store = postern_broker::BrokerOptions {
            topology: topology(backends),
            publish_timeout: STORE_PATIENCE,
            client_name: "spool".to_owned(),
            min_free_disk: options.min_free_disk,
            // What is stored here is only forwarded.
            max_deliveries: u32::MAX,
        };
        EmbeddedBroker::open(&options.dir, store).await
    };
    let store = open(&options.backends).await?;
    let mut backends = options.backends.clone();
    for found in store.found() {
        let key = found.queue.as_str().strip_prefix(OUTBOUND).map(|key| key.trim_start_matches('.'));
        if let Some(Address::Outbound(backend, _)) = key.and_then(|key| Address::parse(OUTBOUND, key)) {
            backends.insert(backend);
        }
    }
    if backends == options.backends {
        return Ok(store);
    }
    store.close().await;
    open(&backends).await
}

impl Core {
    fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves once the spool is to be closed.
    async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Resolves while the broker can be used.
    async fn usable(&self) {
        if self.broker.status().wait_for(|status| *status == BrokerStatus::Ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The spool's queue for `queue`; the first time, with a task that forwards from it.
    fn spool_queue(self: &Arc<Self>, queue: &QueueName) -> Arc<SpoolQueue> {
        let begin = |spool_queue: &Arc<SpoolQueue>| {
            self.tasks.spawn(forward::run(Arc::clone(self), Arc::clone(spool_queue)));
        };
        self.spool_queues.get_or_begin(queue, begin)
    }

    /// The queue of the store in which messages to `address` wait.
    fn waiting_place(&self, address: &Address) -> QueueName {
        let queue = address.queue();
        let is_declared = self.declared.read().unwrap_or_else(PoisonError::into_inner).contains(&queue);
        if is_declared { queue } else { QueueName::unrouted() }
    }

    /// Publishes to the broker, and does not wait for it long when it becomes unusable meanwhile.
    async fn direct(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let mut status = self.broker.status();
        let given_up = async {
            loop {
                let lost = status.wait_for(|status| *status != BrokerStatus::Ready).await;
                let why =
                    lost.map_or(BrokerStatus::Closed, |status| status.clone()).problem().unwrap_or_default();
                tokio::time::sleep(GRACE).await;
                if *status.borrow() != BrokerStatus::Ready {
                    return why;
                }
            }
        };
        tokio::select! {
            outcome = self.broker.publish(messages) => outcome,
            why = given_up => Err(BrokerError::Unavailable(why)),
        }
    }
}

/// Whether another try may succeed, and the spool is to keep the message until then. A full queue is
/// no such case: it tells whoever publishes to slow down.
fn may_pass(error: &BrokerError) -> bool {
    use BrokerError::{Blocked, Closed, Full, Locked, Refused, Rejected, Store, TimedOut, Unavailable, Url};
    match error {
        Unavailable(_) | Blocked(_) | Rejected(_) | TimedOut(_) | Store { .. } => true,
        Full(_) | Refused(_) | Locked { .. } | Url(_) | Closed => false,
    }
}

#[async_trait]
impl Broker for Spool {
    /// `Ok` when the broker has confirmed, or the messages are on this machine's disk: all of them,
    /// or none. What says when, or names a queue, is the dispatcher's business, and not spooled.
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let core = &self.0;
        if core.is_closing() {
            return Err(BrokerError::Closed);
        }
        let not_ours = |address: &Address| matches!(address, Address::Later { .. } | Address::Queue(_));
        if messages.iter().any(|(address, _)| not_ours(address)) {
            return core.broker.publish(messages).await;
        }
        let busy =
            |(address, _): &(Address, Envelope)| core.spool_queues.is_busy(&core.waiting_place(address));
        let behind = core.usage.usage().messages > 0 && messages.iter().any(busy);
        let problem = core.broker.status().borrow().problem();
        let why = match problem {
            Some(why) => why,
            None if behind => "earlier messages wait in the spool".to_owned(),
            None => match core.direct(messages.clone()).await {
                Err(error) if may_pass(&error) => error.to_string(),
                outcome => return outcome,
            },
        };
        if messages.is_empty() { Ok(()) } else { core.store(messages, why).await }
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
        self.0.broker.consume(queue, prefetch).await
    }

    /// In the spool first: a message that the broker takes needs no place here.
    async fn declare(&self, declared: &Topology) -> Result<(), BrokerError> {
        let core = &self.0;
        let own = topology(&declared.backends);
        core.store.declare(&own).await?;
        core.broker.declare(declared).await?;
        let names = own.queues().into_iter().map(|spec| spec.name);
        core.declared.write().unwrap_or_else(PoisonError::into_inner).extend(names);
        Ok(())
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        self.0.broker.depth(queue).await
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.0.status.subscribe()
    }

    fn remarks(&self) -> Vec<String> {
        self.0.broker.remarks()
    }

    /// Closes the spool, not the broker behind it. What it holds stays, for the next time.
    async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        let _ = timeout(PARTING + PARTING, self.0.tasks.wait()).await;
        self.0.store.close().await;
        self.0.status.send_replace(BrokerStatus::Closed);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.0.closing.cancel();
    }
}
