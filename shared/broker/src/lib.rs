//! The queue between the two services: the trait [`Broker`], what is declared ([`Topology`]), what is
//! published ([`Envelope`]), consumed ([`Consumer`]) and looked at ([`Browse`]), what a backend's queue holds
//! ([`queued`]), and what of it happened to a message ([`events`]). RabbitMQ is `postern-rabbitmq`, the store in
//! the process itself `postern-store`; tests have `memory`. No caller may rely on what the suite `conformance`
//! does not say about all of them.

mod browse;
mod consumer;
pub mod dead_letter;
mod envelope;
pub mod events;
pub mod queued;
pub mod refused;
pub mod topology;

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod memory;
#[cfg(feature = "testing")]
pub mod testing;

pub use browse::{Browse, BrowsedMessage, Replacement};
pub use consumer::{Consumer, Delivery, Feed, Settle, SettleRequest, subscription};
pub use envelope::{CUT_BODY, Envelope, HeaderValue, Headers, header};
pub use topology::{Address, LogRoute, QueueName, Topology};

use async_trait::async_trait;
use std::{fmt, time::Duration};
use tokio::sync::watch;

/// A durable message queue.
///
/// Every operation ends within its own deadline: none hangs while the broker is blocked or gone.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug {
    /// Publishes all of `messages`, in order. When it returns `Ok`, every one of them is stored
    /// durably in each queue that its address leads to; an address that leads to none (an
    /// undeclared backend) is stored in `postern.unrouted`.
    ///
    /// # Errors
    /// Whatever stopped it. Some of the messages may be stored all the same: their ids make a
    /// second publish recognisable.
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError>;

    /// Takes messages from `queue`, at most `prefetch` (at least 1) of them unsettled at a time, in
    /// the order in which they were published. The consumer outlives a lost connection: it goes on
    /// when the broker is back. Of the log `postern.control` each consumer takes every record, from the
    /// first on, each once.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a queue that no topology declared, and for a log that the broker does
    /// not let this process declare.
    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError>;

    /// Declares what of `topology` is not there yet. What was declared before stays: a process that takes over
    /// another configuration may still have messages for it. Where the broker cannot be reached, it is declared
    /// before the next publish. Nothing to do for a broker whose queues are there as soon as they are named.
    ///
    /// # Errors
    /// The broker does not let this process declare it, or cannot store it.
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        let _ = topology;
        Ok(())
    }

    /// How much waits in `queue`, which an earlier topology may have declared.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a queue that no topology declared.
    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError>;

    /// Begins to look at what waits in `queue`, without taking it: at all of it, or, if `named` names any, at
    /// the messages whose `message_id` is one of `named`, and those without one. `None` if the broker can only
    /// hand messages out, as RabbitMQ does.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a queue that no topology declared.
    async fn browse<'b>(
        &'b self,
        queue: &QueueName,
        named: &[String],
    ) -> Result<Option<Box<dyn Browse + 'b>>, BrokerError> {
        let _ = (queue, named);
        Ok(None)
    }

    /// Whether it can be used now, and each change of that.
    fn status(&self) -> watch::Receiver<BrokerStatus>;

    /// What an operator should know although it can be used, a sentence each: a queue that
    /// somebody declared otherwise.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Queues with messages that the topology does not declare, as far as the broker can tell by itself.
    fn undeclared(&self) -> Vec<QueueName> {
        Vec::new()
    }

    /// Settles what is settled, hands back what is not, and lets go of connection and files.
    /// Consumers should be closed before. Later calls fail with [`BrokerError::Closed`].
    async fn close(&self);
}

/// How much waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages that wait for a consumer; leased ones and delayed ones do not count.
    pub ready: u64,
    /// Consumers of the queue, in all processes.
    pub consumers: u32,
    /// Messages that come to it when their delay has passed. `None` where the broker does not tell the
    /// queues apart in which such messages wait: RabbitMQ has them by delay.
    pub delayed: Option<u64>,
}

/// Whether the broker can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerStatus {
    /// The first attempt to connect is under way, and to where.
    Starting(String),
    /// Not connected, and why: at least one attempt has failed, or the connection is lost. It goes on trying.
    Connecting(String),
    /// Connected, topology declared.
    Ready,
    /// Connected, but it takes no publishes (a memory or disk alarm, a full disk), and why.
    /// Consuming goes on.
    Blocked(String),
    /// The broker behind cannot be used, and why, but what is published is stored on this machine
    /// and forwarded when it can: see `postern_store::spool`.
    Spooling(String),
    /// Closed by us.
    Closed,
}

impl BrokerStatus {
    /// `None` when messages can be published, else what is wrong.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Ready | Self::Spooling(_) => None,
            Self::Starting(why) | Self::Connecting(why) => Some(format!("not connected: {why}")),
            Self::Blocked(why) => Some(format!("blocked: {why}")),
            Self::Closed => Some("closed".to_owned()),
        }
    }
}

/// Why a broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection, or it was lost underway.
    #[error("the broker cannot be reached: {0}")]
    Unavailable(String),
    /// It takes no publishes now.
    #[error("the broker accepts no messages now: {0}")]
    Blocked(String),
    /// The queue is at its limit.
    #[error("the queue is full: {0}")]
    Full(String),
    /// The queue does not take it now, and is at no limit that anybody knows of.
    #[error("the queue accepts no messages now: {0}")]
    Rejected(String),
    /// No answer in time. The message may be stored all the same.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It will never take this: an unknown queue, a body over its limit.
    #[error("refused: {0}")]
    Refused(String),
    /// The embedded store's folder is in use by another process.
    #[error("{path} is in use by another process; stop it, or set broker.url to another folder")]
    Locked {
        /// The folder.
        path: String,
    },
    /// The embedded store cannot be read or written.
    #[error("the store in {path} {why}")]
    Store {
        /// The folder.
        path: String,
        /// What happened, and what can be done about it.
        why: String,
    },
    /// `broker.url` is of no known kind.
    #[error("broker.url: {0}; allowed are amqp://…, amqps://… and embedded:DIR")]
    Url(String),
    /// [`Broker::close`] was called.
    #[error("the broker connection was closed")]
    Closed,
}

/// What a broker needs to know when it is opened.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Everything to declare; declaring again what exists does no harm.
    pub topology: Topology,
    /// The deadline of one publish with its confirm.
    pub publish_timeout: Duration,
    /// How this process calls itself to the broker: shown in RabbitMQ's management pages.
    pub client_name: String,
    /// Free bytes on the embedded store's file system below which publishes are refused.
    pub min_free_disk: u64,
    /// How often a message may be lost with a process before it is given up:
    /// `dispatcher.max_deliveries`. [`Delivery::returned`] is exact from half of it on.
    pub max_deliveries: u32,
}
