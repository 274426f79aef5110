//! The broker in the process itself: a durable queue on an embedded store.
//!
//! One thread (`writer`) owns the store. Publishes, acks and due delays that have queued up during a write go into
//! the next write together, with one `fdatasync`; only then are they answered. Which consumer holds which message
//! is known only in memory, so a crash releases everything. A publish that the writer has not begun when its caller
//! gives up is not stored: the caller may publish the messages again.
//!
//! It does more than the suite `conformance` requires: a publish is stored as a whole or not at all, limits are
//! kept exactly, any delay is possible, and a delayed message whose queue was never declared goes to
//! `postern.unrouted` when it is due. After a restart, `redelivered` is true for every message that was delivered
//! before the last change of its queue; after a crash, it may be false for those that were delivered since. `lost`
//! counts the processes that crashed while they held the message, except the process that it was published to:
//! notes are kept only of messages that were there when the store was opened, so that a message that is sent at
//! once costs nothing.

mod browse;
mod check;
mod commit;
mod consumer_task;
mod disk;
mod log;
mod op;
mod open;
mod queue;
mod queues;
mod record;
mod recorded_log;
mod recording;
mod store;
mod write;
mod writer;

use crate::message_log::{Keeping, MessageLog};
use async_trait::async_trait;
pub(crate) use check::problems;
use log::Log;
use op::{NewConsumer, Op, Ops, WriteRequest};
use postern_broker::{
    Address, Broker, BrokerError, BrokerOptions, BrokerStatus, Browse, Consumer, Depth, Envelope, QueueName,
    Topology, events::events, subscription, topology::QueueSpec,
};
use postern_shared::clock;
use record::Record;
use recorded_log::recorded_log;
pub use recording::RecordedEvents;
use recording::Recording;
use std::{
    collections::HashMap,
    future::Future,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use write::{Publish, QueueEntry, Write};

/// The largest message, with its properties. RabbitMQ 4 has the same limit.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The most bytes of publishes that wait for the writer. A disk that does not take them within
/// `broker.publish_timeout`, by default 5 seconds, is too slow for what is published: beyond that, refusing at once
/// costs no memory.
const WAITING: u32 = 64 * 1024 * 1024;

/// The bytes that a publish takes while it waits, besides its messages.
const OVERHEAD: u64 = 1024;

/// The bytes that `envelope` takes in a store.
pub fn stored_bytes(envelope: &Envelope) -> u64 {
    record::size(envelope)
}

/// The contents of a queue when its store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundQueue {
    /// The queue, which the present topology need not declare.
    pub queue: QueueName,
    /// The number of its messages.
    pub messages: u64,
    /// Their bytes: each message's [`stored_bytes`].
    pub bytes: u64,
}

/// How long [`Broker::close`] waits for the writer's last write.
const CLOSING: Duration = Duration::from_secs(60);

/// A [`Broker`] in a folder of this machine, for this process only.
#[derive(Debug)]
pub struct EmbeddedBroker {
    path: String,
    ops: Ops,
    /// The bytes of publishes that may still be added to those that wait for the writer.
    room: Arc<Semaphore>,
    queues: RwLock<Indexes>,
    unrouted: usize,
    log: Log,
    recording: Option<Recording>,
    found: Vec<FoundQueue>,
    next_consumer: AtomicU64,
    publish_timeout: Duration,
    status: watch::Receiver<BrokerStatus>,
}

/// The writer's index of each queue.
#[derive(Debug)]
struct Indexes {
    declared: HashMap<QueueName, usize>,
    /// The queues of backends that only an earlier topology declared.
    undeclared: HashMap<QueueName, usize>,
}

impl EmbeddedBroker {
    /// Opens the store in the folder `dir`. Creates the folder and the store if they are missing.
    ///
    /// # Errors
    /// [`BrokerError::Locked`] if another broker uses the folder, [`BrokerError::Blocked`] if the disk is full,
    /// [`BrokerError::Store`] if the store cannot be created, read or written, or is damaged.
    pub async fn open(dir: impl AsRef<Path>, options: BrokerOptions) -> Result<Self, BrokerError> {
        Self::open_with(dir.as_ref(), options, None).await
    }

    /// Like [`open`](Self::open), but also records what happens to messages in a message log in the same store,
    /// in the transaction of the change itself.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); and [`BrokerError::Store`] if the message log was written with another key.
    pub async fn open_recording(
        dir: impl AsRef<Path>,
        options: BrokerOptions,
        keeping: Keeping,
    ) -> Result<Self, BrokerError> {
        Self::open_with(dir.as_ref(), options, Some(Recording::new(keeping))).await
    }

    async fn open_with(
        dir: &Path,
        options: BrokerOptions,
        recording: Option<Recording>,
    ) -> Result<Self, BrokerError> {
        let path = dir.to_owned();
        let shown = path.display().to_string();
        let opening = tokio::task::spawn_blocking(move || open::open(&path, &options, recording));
        match opening.await {
            Ok(Ok(broker)) => Ok(broker),
            Ok(Err(store_error)) => Err(store_error.explain(shown)),
            Err(_) => Err(BrokerError::Store {
                path: shown,
                why: "could not be opened; see the error line in the log output".to_owned(),
            }),
        }
    }

    /// The queues that held messages when the store was opened.
    pub fn found(&self) -> &[FoundQueue] {
        &self.found
    }

    /// The message log in the store. `None` unless it was [opened to record](Self::open_recording).
    pub fn message_log(&self) -> Option<Arc<dyn MessageLog>> {
        self.recording.as_ref().map(|recording| recorded_log(recording, Path::new(&self.path), &self.ops))
    }

    /// How many events were recorded, and how many were not, since the store was opened.
    pub fn recorded_events(&self) -> RecordedEvents {
        self.recording.as_ref().map(Recording::events).unwrap_or_default()
    }

    /// Sends `op` to the writer and waits for its answer, within the deadline.
    async fn ask<T>(&self, op: Op, answer: oneshot::Receiver<T>) -> Result<T, BrokerError> {
        self.ops.send(op).map_err(|_| self.gone())?;
        within(self.publish_timeout, answer).await?.map_err(|_| self.gone())
    }

    /// The error for a writer that has ended.
    fn gone(&self) -> BrokerError {
        match &*self.status.borrow() {
            BrokerStatus::Closed => BrokerError::Closed,
            _ => BrokerError::Store {
                path: self.path.clone(),
                why: "stopped working after an internal error (see the log output); restart the process"
                    .to_owned(),
            },
        }
    }

    fn indexes(&self) -> RwLockReadGuard<'_, Indexes> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, queue: &QueueName) -> Result<usize, BrokerError> {
        if *self.status.borrow() == BrokerStatus::Closed {
            return Err(BrokerError::Closed);
        }
        let queues = self.indexes();
        let index = queues.declared.get(queue).or_else(|| queues.undeclared.get(queue)).copied();
        drop(queues);
        index.ok_or_else(|| BrokerError::Refused(format!("there is no queue {queue}: configure its backend")))
    }

    /// `messages` as the store's entries, with the events for the message log.
    ///
    /// # Errors
    /// One of them is too large.
    fn to_be_stored(&self, messages: Vec<(Address, Envelope)>) -> Result<Publish, BrokerError> {
        let happened = match self.recording {
            // A body that is not a message has no events; it is dead-lettered when it is consumed.
            Some(_) => {
                let of = |(address, envelope): &_| events(address, envelope).unwrap_or_default();
                messages.iter().flat_map(of).collect()
            }
            None => Vec::new(),
        };
        // A message for the message log only goes into no queue.
        let messages = messages.into_iter().filter(|(address, _)| *address != Address::Log);
        let entries = messages.map(|(address, envelope)| self.entry(address, envelope));
        Ok(Publish { entries: entries.collect::<Result<_, _>>()?, events: happened })
    }

    /// Publishes `messages`, unless the writer cannot begin to store them within `patience`.
    ///
    /// # Errors
    /// Those of [`Broker::publish`].
    pub(crate) async fn publish_begun_within(
        &self,
        patience: Duration,
        messages: Vec<(Address, Envelope)>,
    ) -> Result<(), BrokerError> {
        if *self.status.borrow() == BrokerStatus::Closed {
            return Err(BrokerError::Closed);
        }
        let publish = self.to_be_stored(messages)?;
        if publish.is_empty() {
            return Ok(());
        }
        self.write(Write::Publish(publish), patience).await.map(drop)
    }

    /// Has `write` written if the writer can begin it within `patience`.
    async fn write(&self, write: Write, patience: Duration) -> Result<Vec<u64>, BrokerError> {
        let room = self.reserve(&write)?;
        let (answer, answered) = oneshot::channel();
        let request = WriteRequest { write, answer, since: Instant::now(), patience };
        self.ask(Op::Write(request, room), answered).await?
    }

    /// Reserves room for `write` among those that wait. A write with more than [`WAITING`] bytes waits alone.
    ///
    /// # Errors
    /// [`BrokerError::Blocked`] if there is no room.
    fn reserve(&self, write: &Write) -> Result<OwnedSemaphorePermit, BrokerError> {
        let bytes = u32::try_from(write.size() + OVERHEAD).map_or(WAITING, |bytes| bytes.min(WAITING));
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| {
            BrokerError::Blocked(format!(
                "{} is written too slowly (more than {WAITING} bytes would wait for its disk); check the disk's \
                 health and load; Postern continues by itself",
                self.path
            ))
        })
    }

    fn entry(&self, address: Address, envelope: Envelope) -> Result<QueueEntry, BrokerError> {
        let entry = match address {
            Address::Later { queue, delay } => {
                let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                let due = clock::now_ms().saturating_add(delay);
                QueueEntry::Later(due, queue.as_str().to_owned(), Record::of(envelope))
            }
            _ => {
                let index = self.indexes().declared.get(&address.queue()).copied().unwrap_or(self.unrouted);
                QueueEntry::Now(index, Record::of(envelope))
            }
        };
        let size = entry.size();
        if size > MAX_MESSAGE_BYTES as u64 {
            return Err(BrokerError::Refused(format!(
                "a message of {size} bytes; the limit is {MAX_MESSAGE_BYTES}"
            )));
        }
        Ok(entry)
    }
}

async fn within<T>(time: Duration, doing: impl Future<Output = T>) -> Result<T, BrokerError> {
    tokio::time::timeout(time, doing).await.map_err(|_| BrokerError::TimedOut(time))
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        self.publish_begun_within(self.publish_timeout, messages).await
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
        let index = self.known(queue)?;
        let prefetch = prefetch.max(1);
        let (consumer, feed) = subscription(queue.clone(), prefetch);
        if *queue == QueueName::control() {
            tokio::spawn(self.log.feed(feed, usize::from(prefetch), self.status()));
            return Ok(consumer);
        }
        #[expect(clippy::disallowed_methods, reason = "holds no more than the prefetch")]
        let (out, leased) = tokio::sync::mpsc::unbounded_channel();
        let id = self.next_consumer.fetch_add(1, Ordering::Relaxed);
        let new = NewConsumer { id, queue: index, prefetch: usize::from(prefetch), out };
        self.ops.send(Op::Consume(new)).map_err(|_| self.gone())?;
        tokio::spawn(consumer_task::feed_consumer(id, feed, leased, self.ops.clone()));
        Ok(consumer)
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        let known = |spec: &QueueSpec| self.indexes().declared.contains_key(&spec.name);
        let new: Vec<_> = topology.queues().into_iter().filter(|spec| !known(spec)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let declared = self.ask(Op::Declare(new, answer), answered).await?;
        let declared = declared.map_err(|store_error| store_error.explain(self.path.clone()))?;
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        for (name, index) in declared {
            queues.undeclared.remove(&name);
            queues.declared.insert(name, index);
        }
        Ok(())
    }

    async fn browse<'b>(
        &'b self,
        queue: &QueueName,
        named: &[String],
    ) -> Result<Option<Box<dyn Browse + 'b>>, BrokerError> {
        Ok(Some(Box::new(browse::StoreBrowse::begin(self, queue, named).await?)))
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        let index = self.known(queue)?;
        let (answer, answered) = oneshot::channel();
        self.ask(Op::Depth(index, answer), answered).await
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.clone()
    }

    fn undeclared(&self) -> Vec<QueueName> {
        self.indexes().undeclared.keys().cloned().collect()
    }

    async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        // If the writer is gone already, there is nothing to wait for.
        if self.ops.send(Op::Close(answer)).is_ok() && within(CLOSING, answered).await.is_err() {
            tracing::error!(path = self.path, "the embedded store is still busy; its folder stays locked");
        }
    }
}

/// Dropping the broker without [`Broker::close`] lets the writer finish by itself.
impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        let _ = self.ops.send(Op::Close(oneshot::channel().0));
    }
}
