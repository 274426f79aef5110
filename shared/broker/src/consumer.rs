//! Taking messages from a queue: what a broker feeds, what a caller holds.

use super::{Envelope, QueueName};
use postern_shared::trace_context::TraceContext;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// What is to become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Done with: remove it.
    Ack,
    /// Not done with: hand it out again.
    Requeue,
}

/// What is to become of one delivery, on its way to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleRequest {
    /// [`Delivery`]'s tag, as the broker gave it.
    pub tag: u64,
    /// What is to become of it.
    pub settle: Settle,
}

/// One message, leased to the caller. Dropped without [`ack`](Self::ack), it goes back to its queue.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub envelope: Envelope,
    /// Whether it was handed out before, to whomever.
    pub redelivered: bool,
    /// How often it was lost with whoever had it: a process that crashed, a connection that broke. What
    /// is given back in order does not count; on RabbitMQ, up to half of `max_deliveries` such returns
    /// may. The embedded broker counts only what was there when it was opened.
    pub returned: u32,
    /// Since when this process has it. RabbitMQ takes it back after 30 minutes.
    pub since: Instant,
    tag: u64,
    settle: Option<mpsc::UnboundedSender<SettleRequest>>,
}

impl Delivery {
    /// Done with: it is removed from its queue. Where the broker is lost before it learns of
    /// that, the message comes again.
    pub fn ack(mut self) {
        self.settle(Settle::Ack);
    }

    /// The same lease without the body and the headers, which take up memory.
    #[must_use]
    pub fn emptied(mut self) -> Self {
        (self.envelope.body, self.envelope.headers) = Default::default();
        self
    }

    /// The same lease, its message in a trace: the application's, else a new one.
    #[must_use]
    pub fn in_own_trace(mut self) -> Self {
        self.envelope = std::mem::take(&mut self.envelope).in_own_trace();
        self
    }

    /// The same lease, its message in `trace`.
    #[must_use]
    pub fn in_trace(mut self, trace: &TraceContext) -> Self {
        self.envelope.set_trace(trace);
        self
    }

    /// Back to its queue: at its old place, or, on RabbitMQ, at the queue's end if it was returned
    /// too often to tell these returns from losses.
    pub fn release(mut self) {
        self.settle(Settle::Requeue);
    }

    fn settle(&mut self, settle: Settle) {
        if let Some(requests) = self.settle.take() {
            // The receiver is gone only with the lease itself.
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
    /// The queue.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The next message; `None` once the broker is closed. Safe to cancel.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// Asks the broker to deliver nothing more, and waits until it has heard: what is released from
    /// then on does not come back to this consumer. What it delivered before is still to be had by
    /// [`next`](Self::next). Bound the wait with a time-out.
    pub async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let (told, heard) = oneshot::channel();
            let _ = stop.send(Stopping { _told: Some(told) });
            let _ = heard.await;
        }
    }

    /// Asks the broker to deliver nothing more, hands back what was not yet taken by
    /// [`next`](Self::next) behind all that was released before, and waits until every delivery handed out is settled and the broker
    /// knows. Bound the wait with a time-out: it ends only with the last delivery.
    pub async fn close(mut self) {
        drop(self.stop.take());
        self.deliveries.close();
        while self.deliveries.recv().await.is_some() {}
        if let Some(finished) = self.finished.take() {
            let _ = finished.await;
        }
    }
}

/// The caller wants no more. Dropped when the broker has heard of it.
#[derive(Debug, Default)]
pub struct Stopping {
    _told: Option<oneshot::Sender<()>>,
}

/// The broker's end of a [`Consumer`].
#[derive(Debug)]
pub struct Feed {
    deliveries: mpsc::Sender<Delivery>,
    settle: mpsc::UnboundedSender<SettleRequest>,
    /// What the caller settled, in the order in which they were given.
    pub settlements: mpsc::UnboundedReceiver<SettleRequest>,
    /// Resolves when the caller wants no more (or dropped the consumer). To be looked at before
    /// `settlements`, so that what is released afterwards does not come back.
    pub stopped: oneshot::Receiver<Stopping>,
    /// To be dropped or sent to when the last lease is settled after `stopped`.
    pub finished: oneshot::Sender<()>,
}

impl Feed {
    /// Whether the caller's buffer has room. It always has while fewer than `prefetch` deliveries
    /// are unsettled.
    pub fn has_room(&self) -> bool {
        self.deliveries.capacity() > 0
    }

    /// Hands a message to the caller.
    ///
    /// # Errors
    /// The delivery itself is dropped, which sends its release, where the caller is gone or the
    /// buffer is full.
    pub fn deliver(
        &mut self,
        tag: u64,
        envelope: Envelope,
        redelivered: bool,
        returned: u32,
    ) -> Result<(), Gone> {
        let settle = Some(self.settle.clone());
        let delivery = Delivery { envelope, redelivered, returned, since: Instant::now(), tag, settle };
        let delivered = self.deliveries.try_send(delivery).map_err(|_| Gone);
        if self.deliveries.is_closed() {
            // What was sent while the caller's end went away may lie in the channel, where nobody looks any more.
            // It is dropped with the channel, of which this is the last end.
            self.deliveries = mpsc::channel(1).0;
        }
        delivered
    }
}

/// The consumer was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the consumer was dropped")]
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
