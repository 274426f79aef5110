//! What the writer is asked to do.

use super::{queue::Leased, write::Write};
use crate::{
    message_log::{LogError, sqlite::WriteJob},
    sqlite::StoreError,
};
use postern_broker::{BrokerError, Depth, QueueName, SettleRequest, topology::QueueSpec};
use std::{collections::BTreeSet, sync::mpsc};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

/// The way to the writer.
pub(super) type Ops = mpsc::Sender<Op>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Op {
    /// Write all of it, or nothing.
    Write(Write, WriteAnswer),
    /// Hand out messages.
    Consume(NewConsumer),
    /// What a consumer settled.
    Settle(u64, Vec<SettleRequest>),
    /// A consumer wants no more.
    Stop(u64),
    /// A consumer's task is over.
    Ended(u64),
    /// Declare these queues, in the store too. Their indexes.
    Declare(Vec<QueueSpec>, oneshot::Sender<Result<Vec<(QueueName, usize)>, StoreError>>),
    /// How much waits in this queue.
    Depth(usize, oneshot::Sender<Depth>),
    /// Which messages wait in this queue.
    Waiting(usize, oneshot::Sender<Waiting>),
    /// Work on the message log.
    Log(WriteJob, oneshot::Sender<Result<u64, LogError>>),
    /// Finish.
    Close(oneshot::Sender<()>),
}

impl Op {
    /// The bytes of the messages that it holds.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Write(write, _) => write.size(),
            _ => 0,
        }
    }
}

/// Who asked for a write learns when it is done, and the numbers of the messages that were to be replaced and
/// did not wait any more.
pub(super) type WriteAnswer = oneshot::Sender<Result<Vec<u64>, BrokerError>>;

/// What waits in a queue: the messages of the queue `id` with numbers below `tail`, but for those that are `out`.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The queue's id.
    pub(super) id: u32,
    /// Above the last number.
    pub(super) tail: u64,
    /// The numbers of those that consumers hold, that are about to go, or that the disk does not give.
    pub(super) out: BTreeSet<u64>,
    /// How many wait.
    pub(super) messages: u64,
}

/// A consumer to be.
#[derive(Debug)]
pub(super) struct NewConsumer {
    /// Its number, never used before.
    pub(super) id: u64,
    /// The index of its queue.
    pub(super) queue: usize,
    /// The most messages it holds.
    pub(super) prefetch: usize,
    /// The way to its task; closed when it is finished.
    pub(super) out: UnboundedSender<Vec<Leased>>,
}
