//! The queue between the two services: the trait [`Broker`], what is declared ([`Topology`]), published
//! ([`Envelope`]), consumed ([`Consumer`]) and browsed ([`Browse`]), a backend's messages as a queue
//! holds them ([`queued`]), and the events that follow from what is published ([`events`]).
//! `postern-rabbitmq` is RabbitMQ, `postern-store` a store in the process itself, and `memory` is for
//! tests. Callers may rely only on what the suite `conformance` says about all of them.

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
/// Every call ends within its own deadline, a publish within [`BrokerOptions::publish_timeout`]: none
/// hangs while the broker is blocked or gone.
///
/// ```
/// use postern_broker::{Address, Broker, Envelope};
/// use postern_shared::message::Inbound;
///
/// async fn hand_over(broker: &dyn Broker) -> Result<(), Box<dyn std::error::Error>> {
///     let message = Inbound::new("clinic".parse()?, "+15551234567".parse()?, "ping");
///     let address = Address::Inbound("clinic".parse()?);
///     broker.publish(vec![(address.clone(), Envelope::from(&message))]).await?;
///
///     let mut consumer = broker.consume(&address.queue(), 1).await?;
///     let delivery = consumer.next().await.ok_or("the broker is closed")?;
///     assert_eq!(Inbound::from_json(&delivery.envelope.body)?, message);
///     delivery.ack();
///     Ok(())
/// }
/// # #[cfg(feature = "testing")]
/// # {
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(hand_over(&postern_broker::memory::MemoryBroker::default())).unwrap();
/// # }
/// ```
///
/// # Errors
/// Any call may fail with [`BrokerError::Closed`] after [`close`](Self::close), with
/// [`BrokerError::Unavailable`], [`BrokerError::Blocked`] or [`BrokerError::TimedOut`] if the broker
/// cannot be used now or does not answer in time, and with [`BrokerError::Store`] if the embedded store
/// cannot be used. Each method names only what it adds.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug {
    /// Publishes all of `messages`, in order. When it returns `Ok`, each of them is stored durably in
    /// every queue that its address leads to. If an address leads to none (an undeclared backend), its
    /// message is stored in `postern.unrouted`.
    ///
    /// # Errors
    /// [`BrokerError::Full`] or [`BrokerError::Rejected`] if a queue does not accept a message now,
    /// [`BrokerError::Refused`] if the broker will never accept it. On any error, some of the messages
    /// may be stored all the same: their ids make a second publish recognizable.
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError>;

    /// Consumes messages from `queue` in the order in which they were published, with at most `prefetch`
    /// (at least 1) of them unsettled at a time. The consumer outlives a lost connection: it continues
    /// when the broker is back. Each consumer of the stream `postern.control` gets every record once,
    /// from the first one on.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for a queue that no topology declared, and for a stream that the broker
    /// does not let this process declare.
    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError>;

    /// Declares the part of `topology` that does not exist yet. Nothing that was declared before is
    /// removed: a process that loads another configuration may still have messages for it. If the broker
    /// cannot be reached, it is declared before the next publish. The default does nothing, for a broker
    /// whose queues exist as soon as they are named.
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

    /// Begins to browse the messages that wait in `queue`, without consuming them: all of them or, if
    /// `named` is not empty, those whose `message_id` is in `named` and those without one. `None` if the
    /// broker can only deliver messages, as RabbitMQ does.
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

    /// The status of the broker, and each change of it.
    fn status(&self) -> watch::Receiver<BrokerStatus>;

    /// What an operator should know although the broker can be used, one sentence each: for example,
    /// that somebody declared a queue with other properties.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// The queues with messages that the topology does not declare, as far as the broker can tell by itself.
    fn undeclared(&self) -> Vec<QueueName> {
        Vec::new()
    }

    /// Completes pending settlements, requeues unsettled messages, and closes connections and files.
    /// Close consumers first. Later calls fail with [`BrokerError::Closed`].
    async fn close(&self);
}

/// How much waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages that wait for a consumer, without the leased and the delayed ones.
    pub ready: u64,
    /// Consumers of the queue, in all processes.
    pub consumers: u32,
    /// Messages that come to it when their delay has passed. `None` if the broker does not count them by
    /// queue: RabbitMQ holds them by delay.
    pub delayed: Option<u64>,
}

/// Whether the broker can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerStatus {
    /// The first attempt to connect is under way. The text says where to.
    Starting(String),
    /// Not connected, and why: an attempt failed or the connection was lost. The broker keeps retrying.
    Connecting(String),
    /// Connected, with the topology declared.
    Ready,
    /// Connected, but the broker accepts no publishes, and why (a memory or disk alarm, a full disk).
    /// Consuming goes on.
    Blocked(String),
    /// The broker cannot be used, and why, but what is published is stored on this machine and forwarded
    /// when the broker can be used again: see `postern_store::spool`.
    Spooling(String),
    /// [`Broker::close`] was called.
    Closed,
}

impl BrokerStatus {
    /// What is wrong. `None` if messages can be published.
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
    /// The broker accepts no messages now.
    #[error("the broker accepts no messages now: {0}")]
    Blocked(String),
    /// The queue is at its limit.
    #[error("the queue is full: {0}")]
    Full(String),
    /// The queue does not accept the message now, although it has no known limit.
    #[error("the queue accepts no messages now: {0}")]
    Rejected(String),
    /// No answer in time. The message may be stored all the same.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The broker will never do this: an unknown queue, a body over its limit.
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
    /// `broker.url` is not of a known kind.
    #[error("broker.url: {0}; allowed: amqp://…, amqps://… and embedded:DIR")]
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
    /// The name that this process gives itself, which RabbitMQ's management pages show.
    pub client_name: String,
    /// The free bytes on the embedded store's file system below which publishes are refused.
    pub min_free_disk: u64,
    /// How often a message may be lost with a process before it is given up:
    /// `dispatcher.max_deliveries`. [`Delivery::lost`] is exact from half of it on.
    pub max_deliveries: u32,
}
