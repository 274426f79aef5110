//! Store and forward: while the broker takes nothing, published messages are stored in a folder of this
//! machine, and forwarded in order when the broker is back.
//!
//! A [`Spool`] is a [`Broker`] around the broker. A message passes through the modules in this order: this one
//! decides whether it goes to the broker at once, `usage` whether there is room, `routing_headers` adds headers
//! that say where it is to go, `store` stores it in the embedded broker, `queue` knows which queues have
//! messages in the spool, and `forward` publishes it to the broker. `condition` combines the status of all
//! this.
//!
//! Each queue of the broker gets its messages in the order in which they were accepted. While the spool holds a
//! message for a queue, all others for this queue are stored behind it, until the last one is confirmed. A message
//! that the broker did not confirm in time is stored, too, under the same id: the broker may get it twice.
//!
//! The store is the embedded broker's, with the same queues, and one task forwards from each: each queue keeps its
//! order, and one that is full or has lost its majority holds up no other. A queue with messages in the spool is
//! published to only through the spool, which is also a circuit breaker: a broker that confirms nothing costs one
//! timeout, not one for each request. A queue at `max_messages` is answered 503 and not spooled, since the limit
//! tells publishers to slow down. A process that spools is ready: it keeps what it accepts, and if a load balancer
//! removed it, providers could reach nobody.

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

/// How long the store may take. Callers wait only for `publish_timeout`, and what the store has not begun to write by
/// then is not stored; but the outcome of a write that it has begun is counted even if it comes later.
const STORE_PATIENCE: Duration = Duration::from_secs(600);
/// How long a publish that is under way may still succeed after the broker has become unusable.
const GRACE: Duration = Duration::from_millis(300);
/// How long closing waits for messages that are being forwarded.
const PARTING: Duration = Duration::from_secs(3);

/// The options of [`Spool::open`].
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The folder. It is created if it is missing.
    pub dir: PathBuf,
    /// How much it may hold.
    pub limits: SpoolLimits,
    /// The backends for which messages are published.
    pub backends: BTreeSet<BackendName>,
    /// How long a publish may wait for the disk.
    pub publish_timeout: Duration,
    /// The free bytes on the folder's file system below which nothing more is stored.
    pub min_free_disk: u64,
}

/// What the spool holds, and what it has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// The messages and bytes that it holds.
    pub usage: SpoolUsage,
    /// How long the oldest message has waited. `None` if none waits.
    pub oldest: Option<Duration>,
    /// The number of messages that were stored.
    pub stored: u64,
    /// The number of messages that were forwarded to the broker.
    pub forwarded: u64,
    /// The number of messages that were refused because the spool was full or its disk could not be written.
    pub refused: u64,
    /// The number of messages that the broker will never accept, and that were dead-lettered.
    pub dead: u64,
}

/// A broker that accepts messages even while the broker behind it accepts none.
pub struct Spool(Arc<Core>);

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("dir", &self.0.dir).finish_non_exhaustive()
    }
}

/// The state that the spool's tasks share.
struct Core {
    broker: Arc<dyn Broker>,
    store: EmbeddedBroker,
    /// The folder, for error texts and log lines.
    dir: String,
    publish_timeout: Duration,
    declared: RwLock<BTreeSet<QueueName>>,
    /// The backend name used for dead letters that name none.
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
    /// Opens the spool in front of `broker`, and begins to forward what it holds. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`BrokerError::Locked`], [`BrokerError::Blocked`] or [`BrokerError::Store`], as for
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
        // The store dead-letters here what it cannot decode.
        core.spool_queue(&QueueName::dead());
        core.tell();
        core.tasks.spawn(condition::watch(Arc::clone(&core)));
        Ok(Self(core))
    }

    /// What the spool holds, and what it has done since it was opened.
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

/// The topology of the store. Only the spool's own limits apply: no queue of the store drops or refuses a message.
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

/// Opens the store with the queues of the configured backends, and of those that are no longer configured but have
/// messages in it: the broker has a queue for them.
async fn open_store(options: &SpoolOptions) -> Result<EmbeddedBroker, BrokerError> {
    let open = async |backends: &BTreeSet<BackendName>| {
        let store = postern_broker::BrokerOptions {
            topology: topology(backends),
            publish_timeout: STORE_PATIENCE,
            client_name: "spool".to_owned(),
            min_free_disk: options.min_free_disk,
            // A message here is only forwarded, so it cannot crash the process.
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

    /// Resolves when the spool is to be closed.
    async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Resolves as soon as the broker can be used.
    async fn usable(&self) {
        if self.broker.status().wait_for(|status| *status == BrokerStatus::Ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The spool's queue for `queue`. The first call also starts a task that forwards from it.
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

    /// Publishes to the broker. If the broker becomes unusable meanwhile, gives up after [`GRACE`].
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

/// Whether a retry may succeed, so that the spool is to store the message until then. A full queue does not count:
/// the publisher must slow down.
fn may_pass(error: &BrokerError) -> bool {
    use BrokerError::{Blocked, Closed, Full, Locked, Refused, Rejected, Store, TimedOut, Unavailable, Url};
    match error {
        Unavailable(_) | Blocked(_) | Rejected(_) | TimedOut(_) | Store { .. } => true,
        Full(_) | Refused(_) | Locked { .. } | Url(_) | Closed => false,
    }
}

#[async_trait]
impl Broker for Spool {
    /// Returns `Ok` when the broker has confirmed all messages, or all of them are on this machine's disk.
    /// Messages with a delay, or to a queue by name, come from a dispatcher and are not spooled.
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

    /// Declares the queues in the spool's store first, so that it can store a message for any queue that the
    /// broker has.
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

    /// Closes the spool, but not the broker behind it. Spooled messages stay until the next start.
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
