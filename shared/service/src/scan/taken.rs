//! Goes through a queue whose messages can only be taken: one after the other, and held, unsettled, until
//! all that were there at the beginning were seen. Then the messages that stay are requeued, in order; if
//! the process ends before, the broker requeues them.

use futures_util::future::join_all;
use postern_broker::{Address, Broker, BrokerError, Consumer, Delivery, Envelope, QueueName};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How many messages one consumer holds; RabbitMQ prefetches at most 2,000.
const WINDOW: u16 = 1_000;
/// How long requeueing may take.
const HAND_BACK: Duration = Duration::from_secs(30);
/// How long the broker may take to count what was requeued, and how often it is asked. After that, another
/// consumer has taken some of it.
const COUNTED: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// The messages of a queue that were taken and are held.
pub(super) struct TakenMessages<'a> {
    broker: &'a dyn Broker,
    queue: QueueName,
    /// How many messages are still to be seen.
    left: u64,
    /// How long a message that was counted may take to arrive.
    patience: Duration,
    /// The consumers. Only the last one still delivers; the messages of all others are held.
    windows: Vec<HeldOfConsumer>,
}

/// A consumer with the messages of it that are held.
struct HeldOfConsumer {
    consumer: Consumer,
    size: usize,
    held: Vec<Delivery>,
    /// How many of its messages the caller has.
    out: usize,
}

impl HeldOfConsumer {
    /// How many more messages it delivers before one must be acknowledged.
    fn room(&self) -> usize {
        self.size.saturating_sub(self.held.len() + self.out)
    }
}

impl<'a> TakenMessages<'a> {
    /// Begins a scan over what waits in `queue` now. It ends when a message that was counted does not
    /// arrive within `patience`: another consumer has the rest.
    ///
    /// # Errors
    /// The broker's error.
    pub(super) async fn begin(
        broker: &'a dyn Broker,
        queue: QueueName,
        patience: Duration,
    ) -> Result<Self, BrokerError> {
        let left = broker.depth(&queue).await?.ready;
        Ok(Self { broker, queue, left, patience, windows: Vec::new() })
    }

    /// How many messages are still to be seen.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Whether the caller has as many messages as it may: it must acknowledge or hold one before the next
    /// arrives.
    pub(super) fn is_full(&self) -> bool {
        self.windows.last().is_some_and(|window| window.room() == 0 && window.out > 0)
    }

    /// The next message, to be [held](Self::hold) or [acknowledged](Self::ack). `None` when all that were
    /// there at the beginning were seen; messages that arrive in the meantime come after them. Must not be
    /// called while this [is full](Self::is_full).
    ///
    /// # Errors
    /// The broker's error.
    pub(super) async fn next(&mut self) -> Result<Option<Delivery>, BrokerError> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.windows.last().is_none_or(|window| window.room() == 0) {
            let size = u16::try_from(self.left).unwrap_or(WINDOW).min(WINDOW);
            let consumer = self.broker.consume(&self.queue, size).await?;
            self.windows.push(HeldOfConsumer { consumer, size: usize::from(size), held: Vec::new(), out: 0 });
        }
        let Some(window) = self.windows.last_mut() else { return Ok(None) };
        match timeout(self.patience, window.consumer.next()).await {
            Ok(Some(delivery)) => {
                self.left -= 1;
                window.out += 1;
                Ok(Some(delivery))
            }
            Ok(None) => Err(BrokerError::Closed),
            // Another consumer has it.
            Err(_) => Ok(None),
        }
    }

    /// Publishes each of `groups` for itself, all at the same time and in order, and waits for the confirms. The
    /// outcomes are in the order of the groups.
    pub(super) async fn publish_each(
        &self,
        groups: impl Iterator<Item = Vec<(Address, Envelope)>>,
    ) -> Vec<Result<(), BrokerError>> {
        join_all(groups.map(
            async |group| {
                if group.is_empty() { Ok(()) } else { self.broker.publish(group).await }
            },
        ))
        .await
    }

    /// Acknowledges a message, which removes it from the queue and makes room for another one.
    pub(super) fn ack(&mut self, delivery: Delivery) {
        self.settled();
        delivery.ack();
    }

    /// Holds a message until the end, so that it is not delivered again.
    pub(super) fn hold(&mut self, delivery: Delivery) {
        self.settled();
        if let Some(window) = self.windows.last_mut() {
            window.held.push(delivery);
        }
    }

    fn settled(&mut self) {
        if let Some(window) = self.windows.last_mut() {
            window.out = window.out.saturating_sub(1);
        }
    }

    /// Requeues what is held, in order. All consumers are stopped first, so that none of them gets it again.
    pub(super) async fn end(mut self) {
        for window in &mut self.windows {
            let _ = timeout(HAND_BACK, window.consumer.stop()).await;
        }
        let mut back = 0;
        for window in self.windows {
            back += window.held.len() as u64;
            window.held.into_iter().for_each(Delivery::release);
            let _ = timeout(HAND_BACK, window.consumer.close()).await;
        }
        // RabbitMQ counts it a moment later: until then, only a part would be seen.
        let counted = async {
            while self.broker.depth(&self.queue).await.is_ok_and(|depth| depth.ready < back) {
                sleep(ASK_AGAIN).await;
            }
        };
        let _ = timeout(COUNTED, counted).await;
    }
}
