//! What the writer is asked to do.

use super::{commit::Publish, queue::Leased};
use crate::{
    message_log::{LogError, sqlite::Job},
    sqlite::StoreError,
};
use postern_broker::{BrokerError, Depth, QueueName, SettleRequest, topology::QueueSpec};
use std::sync::mpsc;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

/// The way to the writer.
pub(super) type Ops = mpsc::Sender<Op>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Op {
    /// Store all of it, or none.
    Publish(Publish, oneshot::Sender<Result<(), BrokerError>>),
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
    /// Work on the message log.
    Log(Job, oneshot::Sender<Result<u64, LogError>>),
    /// Finish.
    Close(oneshot::Sender<()>),
}

impl Op {
    /// The bytes of the messages that it holds.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Publish(publish, _) => publish.size(),
            _ => 0,
        }
    }
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
