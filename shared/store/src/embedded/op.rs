//! The requests to the writer.

use super::{queue::Leased, write::Write};
use crate::{
    message_log::{LogError, sqlite::WriteJob},
    sqlite::StoreError,
};
use postern_broker::{BrokerError, Depth, QueueName, SettleRequest, topology::QueueSpec};
use std::{
    collections::BTreeSet,
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender, oneshot};

/// The sender of requests to the writer.
pub(super) type Ops = mpsc::Sender<Op>;

/// A request to the writer.
#[derive(Debug)]
pub(super) enum Op {
    /// Write everything in it, or nothing. The permit is its share of the bytes that may wait.
    Write(WriteRequest, OwnedSemaphorePermit),
    /// Deliver messages to a new consumer.
    Consume(NewConsumer),
    /// Settle messages of a consumer.
    Settle(u64, Vec<SettleRequest>),
    /// Stop delivering to a consumer.
    Stop(u64),
    /// Remove a consumer, whose task has ended.
    Ended(u64),
    /// Declare these queues, also in the store. The answer is their indexes.
    Declare(Vec<QueueSpec>, oneshot::Sender<Result<Vec<(QueueName, usize)>, StoreError>>),
    /// Answer how many messages wait in this queue.
    Depth(usize, oneshot::Sender<Depth>),
    /// Answer which messages wait in this queue.
    Waiting(usize, oneshot::Sender<Waiting>),
    /// Do a job on the message log.
    Log(WriteJob, oneshot::Sender<Result<u64, LogError>>),
    /// Finish and close the store.
    Close(oneshot::Sender<()>),
}

impl Op {
    /// The bytes of the messages in the request.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Write(request, _) => request.write.size(),
            _ => 0,
        }
    }
}

/// A write that was requested.
#[derive(Debug)]
pub(super) struct WriteRequest {
    /// The changes.
    pub(super) write: Write,
    /// The sender of the answer.
    pub(super) answer: WriteAnswer,
    /// When it was requested.
    pub(super) since: Instant,
    /// How long after that the write may begin.
    pub(super) patience: Duration,
}

impl WriteRequest {
    /// Whether its caller has given up, and may have published the messages again.
    pub(super) fn is_given_up(&self) -> bool {
        self.answer.is_closed() || self.since.elapsed() >= self.patience
    }
}

/// The answer to a write, sent when it is done: the numbers of the messages that were to be replaced but did
/// not wait any more.
pub(super) type WriteAnswer = oneshot::Sender<Result<Vec<u64>, BrokerError>>;

/// The messages that wait in the queue `id`: those with numbers below `tail`, except those in `out`.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The queue's id.
    pub(super) id: u32,
    /// One more than the last number.
    pub(super) tail: u64,
    /// The numbers of messages that consumers hold, that are about to be removed, or that cannot be read from
    /// the disk.
    pub(super) out: BTreeSet<u64>,
    /// How many wait.
    pub(super) messages: u64,
}

/// A consumer to add.
#[derive(Debug)]
pub(super) struct NewConsumer {
    /// Its number, never used before.
    pub(super) id: u64,
    /// The index of its queue.
    pub(super) queue: usize,
    /// The most messages that it may hold.
    pub(super) prefetch: usize,
    /// The sender of messages to its task. Closed when the consumer is to end.
    pub(super) out: UnboundedSender<Vec<Leased>>,
}
