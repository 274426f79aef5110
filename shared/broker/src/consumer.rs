//! Consuming messages from a queue: the broker's end of it ([`Feed`]), and the caller's ([`Consumer`]).

use super::{Envelope, QueueName};
use postern_shared::trace_context::TraceContext;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// How a delivery is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// It is acknowledged, and removed from its queue.
    Ack,
    /// It is requeued, and delivered again.
    Requeue,
}

/// How one delivery is settled, on the way to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleRequest {
    /// The delivery's tag, as the broker gave it.
    pub tag: u64,
    /// How it is settled.
    pub settle: Settle,
}

/// One message, leased to the caller. If it is dropped without [`ack`](Self::ack), it is requeued.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub envelope: Envelope,
    /// Whether the message was delivered before, to any consumer.
    pub redelivered: bool,
    /// How often the message was lost with its consumer: a process that crashed, a connection that
    /// broke. A requeue does not count, but on RabbitMQ up to half of `max_deliveries` requeues may. The
    /// embedded broker counts only for messages that were there when it was opened.
    pub lost: u32,
    /// When this process got it. RabbitMQ takes it back after 30 minutes.
    pub since: Instant,
    tag: u64,
    settle: Option<mpsc::UnboundedSender<SettleRequest>>,
}

impl Delivery {
    /// Acknowledges the message, which is removed from its queue. If the broker is lost before it learns
    /// of that, the message is delivered again.
    pub fn ack(mut self) {
        self.settle(Settle::Ack);
    }

    /// The same lease without the body and the headers, which take up memory.
    #[must_use]
    pub fn emptied(mut self) -> Self {
        (self.envelope.body, self.envelope.headers) = Default::default();
        self
    }

    /// The same lease with its message in a trace: the application's, or a new one.
    #[must_use]
    pub fn in_own_trace(mut self) -> Self {
        self.envelope = std::mem::take(&mut self.envelope).in_own_trace();
        self
    }

    /// The same lease with its message in `trace`.
    #[must_use]
    pub fn in_trace(mut self, trace: &TraceContext) -> Self {
        self.envelope.set_trace(trace);
        self
    }

    /// Requeues the message at its old place or, on RabbitMQ, at the queue's end if there were too many
    /// requeues to tell them from losses.
    pub fn release(mut self) {
        self.settle(Settle::Requeue);
    }

    fn settle(&mut self, settle: Settle) {
        if let Some(requests) = self.settle.take() {
            // If the receiver is gone, so is the lease.
            let _ = requests.send(SettleRequest { tag: self.tag, settle });
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.settle(Settle::Requeue);
    }
}

/// A subscription to one queue.
#[derive(Debug)]
pub struct Consumer {
    queue: QueueName,
    deliveries: mpsc::Receiver<Delivery>,
    stop: Option<oneshot::Sender<Stopping>>,
    finished: Option<oneshot::Receiver<()>>,
}

impl Consumer {
    /// The queue that is consumed.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The next message. `None` when the broker is closed. Safe to cancel.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// Asks the broker to deliver nothing more, and waits until it knows: what is released from then on
    /// does not come back to this consumer. [`next`](Self::next) still returns what was delivered
    /// before. Bound the wait with a timeout.
    pub async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let (told, heard) = oneshot::channel();
            let _ = stop.send(Stopping { _told: Some(told) });
            let _ = heard.await;
        }
    }

    /// Asks the broker to deliver nothing more, requeues what [`next`](Self::next) has not returned yet
    /// after all that was released before, and waits until every delivery is settled and the broker
    /// knows. Bound the wait with a timeout: it ends only with the last delivery.
    pub async fn close(mut self) {
        drop(self.stop.take());
        self.deliveries.close();
        while self.deliveries.recv().await.is_some() {}
        if let Some(finished) = self.finished.take() {
            let _ = finished.await;
        }
    }
}

/// Says that the caller wants no more messages. The broker drops it when it has taken note.
#[derive(Debug, Default)]
pub struct Stopping {
    _told: Option<oneshot::Sender<()>>,
}

/// The broker's end of a [`Consumer`].
#[derive(Debug)]
pub struct Feed {
    deliveries: mpsc::Sender<Delivery>,
    settle: mpsc::UnboundedSender<SettleRequest>,
    /// What the caller settled, in order.
    pub settlements: mpsc::UnboundedReceiver<SettleRequest>,
    /// Resolves when the caller wants no more messages or dropped the consumer. It must be checked
    /// before `settlements`, so that what is released afterwards does not come back.
    pub stopped: oneshot::Receiver<Stopping>,
    /// Must be dropped or sent to when, after `stopped`, the last lease is settled.
    pub finished: oneshot::Sender<()>,
}

impl Feed {
    /// Whether the caller's buffer has room. It always has while fewer than `prefetch` deliveries
    /// are unsettled.
    pub fn has_room(&self) -> bool {
        self.deliveries.capacity() > 0
    }

    /// Delivers a message to the caller.
    ///
    /// # Errors
    /// The consumer was dropped, or its buffer is full. The delivery is dropped, and so requeued.
    pub fn deliver(
        &mut self,
        tag: u64,
        envelope: Envelope,
        redelivered: bool,
        lost: u32,
    ) -> Result<(), Gone> {
        let settle = Some(self.settle.clone());
        let delivery = Delivery { envelope, redelivered, lost, since: Instant::now(), tag, settle };
        let delivered = self.deliveries.try_send(delivery).map_err(|_| Gone);
        if self.deliveries.is_closed() {
            // What was sent while the caller dropped its end may be in the channel, where nobody takes
            // it any more. It is dropped with the channel, of which this is the last end.
            self.deliveries = mpsc::channel(1).0;
        }
        delivered
    }
}

/// A delivery failed: the consumer was dropped, or its buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the consumer was dropped, or its buffer is full")]
pub struct Gone;

/// Both ends of a subscription to `queue`, with a buffer of `prefetch` messages.
pub fn subscription(queue: QueueName, prefetch: u16) -> (Consumer, Feed) {
    let (deliveries, taken) = mpsc::channel(usize::from(prefetch.max(1)));
    #[expect(clippy::disallowed_methods, reason = "one request for each delivery: no more than the prefetch")]
    let (settle, settlements) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let (finished, has_finished) = oneshot::channel();
    (
        Consumer { queue, deliveries: taken, stop: Some(stop), finished: Some(has_finished) },
        Feed { deliveries, settle, settlements, stopped, finished },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            Barrier,
            mpsc::{Receiver, Sender, channel},
        },
        thread,
    };

    /// The caller drops its end on one thread while the broker delivers on another, again and again: the message
    /// comes back each time, whichever was first.
    #[test]
    fn what_is_delivered_while_the_caller_lets_go_comes_back() {
        const ROUNDS: u64 = 60_000;
        let start = Barrier::new(2);
        #[expect(clippy::disallowed_methods, reason = "one at a time")]
        let (give, given): (Sender<Consumer>, Receiver<Consumer>) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                for consumer in given {
                    start.wait();
                    drop(consumer);
                    start.wait();
                }
            });
            for tag in 0..ROUNDS {
                let (consumer, mut feed) = subscription(QueueName::inbound(), 1);
                give.send(consumer).unwrap();
                start.wait();
                let _ = feed.deliver(tag, Envelope::default(), false, 0);
                start.wait();
                let back = feed.settlements.try_recv().map(|back| (back.tag, back.settle));
                assert_eq!(back, Ok((tag, Settle::Requeue)), "round {tag}");
            }
            drop(give);
        });
    }
}
