//! Requeues messages without RabbitMQ counting them as lost.
//!
//! Before 4.3, RabbitMQ's `x-delivery-count` grows each time a message returns to its queue: after a crash of its
//! consumer, but also if the consumer requeues it. The count alone is therefore believed only below half of
//! `max_deliveries`; until then, a requeued message keeps its place in the queue. A message that reaches that
//! count is published again, with a header that says how often it was lost until then, and a message with this
//! header is requeued by publishing it again. From then on, RabbitMQ's count grows only with crashes. Each new
//! publish is confirmed before the message that it replaces is acknowledged.
//!
//! A message that no consumer has had returns to its queue through a wait queue: if it were consumed before the
//! acknowledgement is written, and crashed the process, there would be two copies of it.

use super::{
    connections::{Connections, Pauses},
    properties,
    publishing::Publishing,
};
use lapin::message::Delivery;
use postern_broker::{
    Address, BrokerError, Envelope, QueueName, Settle,
    topology::{DEAD, LOG, QUARANTINE, UNROUTED},
};
use std::{collections::HashMap, mem::take, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// The header with the number of times that a message was lost before it was last published to its queue: an
/// integer. Only this module sets and reads it.
const LOST: &str = "x-postern-deliveries";

/// A delivery as its consumer gets it.
#[derive(Debug)]
pub(super) struct TakenDelivery {
    /// The tag by which it is settled.
    pub(super) tag: u64,
    pub(super) envelope: Envelope,
    /// Whether it was handed out before.
    pub(super) redelivered: bool,
    /// How often it was lost with the consumer that held it.
    pub(super) lost: u32,
}

/// A delivery that is published again.
#[derive(Debug)]
struct Again {
    /// The message with the header [`LOST`].
    envelope: Envelope,
    origin: ReturnOrigin,
}

#[derive(Debug)]
enum ReturnOrigin {
    /// The consumer requeued the delivery with this tag.
    Consumer(u64),
    /// No consumer has had it.
    Queue(TakenDelivery),
}

/// The outcome for a delivery that was to be published again.
#[derive(Debug)]
pub(super) enum Returned {
    /// The delivery with this tag is to be settled like this.
    Settled(u64, Settle),
    /// It could not be published; its consumer gets it unchanged.
    Kept(TakenDelivery),
}

/// The deliveries of one consumer that are requeued by publishing them again.
#[derive(Debug)]
pub(super) struct Returns {
    shared: Arc<Connections>,
    publisher: Publishing,
    queue: QueueName,
    /// RabbitMQ's count is believed below this. `None` for a stream, and for a queue whose messages nobody sends.
    believed: Option<u32>,
    /// The deliveries with the header that the consumer holds, as they would be published again.
    held: HashMap<u64, Envelope>,
    /// Deliveries that are to be published together.
    gathered: Vec<Again>,
    in_flight: JoinSet<Vec<Returned>>,
}

impl Returns {
    pub(super) fn new(shared: Arc<Connections>, publisher: Publishing, queue: QueueName) -> Self {
        let half = shared.options.max_deliveries / 2;
        let believed = match queue.as_str() {
            DEAD | LOG | UNROUTED | QUARANTINE => None,
            _ if queue.is_stream() => None,
            _ => Some(half.max(1)),
        };
        Self {
            shared,
            publisher,
            queue,
            believed,
            held: HashMap::new(),
            gathered: Vec::new(),
            in_flight: JoinSet::new(),
        }
    }

    /// The connections of the broker that the deliveries come from.
    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.shared
    }

    /// Records a delivery. Returns it if its consumer is to have it; otherwise the next [`publish`](Self::publish)
    /// returns it to its queue.
    pub(super) fn take(&mut self, tag: u64, delivery: Delivery) -> Option<TakenDelivery> {
        let (counted, redelivered) = (properties::delivery_count(&delivery), delivery.redelivered);
        let mut envelope = properties::envelope(self.queue.as_str(), delivery);
        let before = envelope.integer_header(LOST).map(|lost| u32::try_from(lost).unwrap_or_default());
        envelope.headers.remove(LOST);
        let redelivered = redelivered || before.is_some();
        let marked = |lost: u32, envelope: &Envelope| envelope.clone().with(LOST, i64::from(lost));
        match (before, self.believed) {
            (Some(before), _) => {
                let lost = before.saturating_add(counted);
                self.held.insert(tag, marked(lost, &envelope));
                Some(TakenDelivery { tag, envelope, redelivered, lost })
            }
            (None, Some(believed)) if counted >= believed => {
                let again = marked(believed, &envelope);
                let origin =
                    ReturnOrigin::Queue(TakenDelivery { tag, envelope, redelivered, lost: believed });
                self.gathered.push(Again { envelope: again, origin });
                None
            }
            (None, _) => Some(TakenDelivery { tag, envelope, redelivered, lost: counted }),
        }
    }

    /// Records the consumer's decision. Returns what to tell the broker; `None` if the next
    /// [`publish`](Self::publish) requeues the delivery.
    pub(super) fn settle(&mut self, tag: u64, settle: Settle) -> Option<Settle> {
        match (self.held.remove(&tag), settle) {
            (Some(envelope), Settle::Requeue) => {
                self.gathered.push(Again { envelope, origin: ReturnOrigin::Consumer(tag) });
                None
            }
            _ => Some(settle),
        }
    }

    /// Forgets a delivery of a lost channel: the broker redelivers it by itself.
    pub(super) fn forget(&mut self, tag: u64) {
        self.held.remove(&tag);
    }

    /// Begins to publish the deliveries that are to be requeued.
    pub(super) fn publish(&mut self) {
        if !self.gathered.is_empty() {
            let delay = self.shared.options.topology.delays.first().copied();
            let (publisher, queue) = (self.publisher.clone(), self.queue.clone());
            self.in_flight.spawn(publish_again(publisher, queue, delay, take(&mut self.gathered)));
        }
    }

    /// Whether nothing is being published.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Waits for the outcome of deliveries that are being published. Safe to cancel; `None` if
    /// [idle](Self::is_idle).
    pub(super) async fn next(&mut self) -> Option<Vec<Returned>> {
        // If the task panicked, its deliveries stay unsettled until the channel ends.
        self.in_flight.join_next().await.map(Result::unwrap_or_default)
    }
}

/// Publishes `deliveries` to `queue` until the broker confirms them. One that it will never accept
/// holds up none of the others.
async fn publish_again(
    publisher: Publishing,
    queue: QueueName,
    delay: Option<Duration>,
    deliveries: Vec<Again>,
) -> Vec<Returned> {
    let message = |Again { envelope, origin }: &Again| {
        let address = match (origin, delay) {
            (ReturnOrigin::Queue(_), Some(delay)) => Address::Later { queue: queue.clone(), delay },
            _ => Address::Queue(queue.clone()),
        };
        (address, envelope.clone())
    };
    match publish_until_confirmed(&publisher, deliveries.iter().map(message).collect()).await {
        Ok(()) => deliveries.into_iter().map(|again| returned(again, true)).collect(),
        Err(BrokerError::Refused(_)) if deliveries.len() > 1 => {
            let mut each = Vec::with_capacity(deliveries.len());
            for again in deliveries {
                let alone = publish_again(publisher.clone(), queue.clone(), delay, vec![again]);
                each.extend(Box::pin(alone).await);
            }
            each
        }
        Err(error) => {
            if let BrokerError::Refused(reason) = error {
                warn!(%queue, error = reason, "requeued without being published again, which RabbitMQ counts towards dispatcher.max_deliveries");
            }
            deliveries.into_iter().map(|again| returned(again, false)).collect()
        }
    }
}

/// Publishes `messages`, and retries until the broker confirms them.
///
/// # Errors
/// [`BrokerError::Refused`] or [`BrokerError::Closed`].
async fn publish_until_confirmed(
    publisher: &Publishing,
    messages: Vec<(Address, Envelope)>,
) -> Result<(), BrokerError> {
    let mut pauses = Pauses::new();
    loop {
        match publisher.publish(messages.clone()).await {
            Ok(()) => return Ok(()),
            Err(error @ (BrokerError::Refused(_) | BrokerError::Closed)) => return Err(error),
            Err(error) => debug!(%error, messages = messages.len(), "messages not published again, retrying"),
        }
        pauses.pause().await;
    }
}

fn returned(Again { origin, .. }: Again, published: bool) -> Returned {
    match (origin, published) {
        (ReturnOrigin::Consumer(tag) | ReturnOrigin::Queue(TakenDelivery { tag, .. }), true) => {
            Returned::Settled(tag, Settle::Ack)
        }
        (ReturnOrigin::Consumer(tag), false) => Returned::Settled(tag, Settle::Requeue),
        (ReturnOrigin::Queue(taken), false) => Returned::Kept(taken),
    }
}
