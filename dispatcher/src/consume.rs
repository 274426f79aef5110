//! Takes messages from queues: the two of one backend, or the one or two of another worker.
//!
//! The permit comes first and the message second, so a message that is taken is begun at once. Messages
//! that are prefetched and not begun are requeued when flow control closes or the drain begins.

use crate::{
    drain::Drain,
    flow::{ConcurrencyPermit, FlowControl, Intake, LaneScheduler, WorkPermit},
    lease::BEGIN_WITHIN,
};
use postern_broker::{Broker, BrokerError, Consumer, Delivery, QueueName};
use postern_shared::{backoff::Backoff, message::Priority};
use std::{
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::time::{sleep, timeout_at};
use tokio_util::task::TaskTracker;

/// How long requeueing messages at the end of the drain may take.
const HAND_BACK: Duration = Duration::from_secs(2);
/// The pauses between the attempts to subscribe.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(10))
}
/// A probe for a provider that may be back subscribes only to a queue that had a message. After this long,
/// the queues are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The queues that are worked through together, with one flow control.
#[derive(Debug, Clone)]
pub(crate) struct Queues {
    /// The queue that goes first.
    pub(crate) normal: QueueName,
    /// The queue that goes second, if there are two.
    pub(crate) bulk: Option<QueueName>,
    /// Says when messages may be taken.
    pub(crate) flow: Arc<FlowControl>,
}

impl Queues {
    /// The lane in which a message waits; the normal lane if both have one. Taking a single message from
    /// both lanes would requeue the second, which RabbitMQ before 4.3 counts against that message.
    async fn first_with_some(&self, broker: &dyn Broker) -> Option<Priority> {
        let has_some = async |queue| broker.depth(queue).await.is_ok_and(|depth| depth.ready > 0);
        if has_some(&self.normal).await {
            return Some(Priority::Normal);
        }
        match &self.bulk {
            Some(bulk) if has_some(bulk).await => Some(Priority::Bulk),
            _ => None,
        }
    }
}

/// Hands the messages of `queues` to `work`, until the drain begins. While flow control is closed there is
/// no subscription, and prefetched messages are requeued.
///
/// During the drain nothing more is taken. Messages that are not begun are requeued at once. Those in progress
/// may finish until the deadline; any that have not are dropped and requeued, too.
///
/// # Errors
/// The broker was closed.
pub(crate) async fn consume<W, F>(
    broker: &dyn Broker,
    queues: &Queues,
    drain: Drain,
    work: W,
) -> Result<(), BrokerError>
where
    W: Fn(Priority, Delivery, WorkPermit) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let _unfinished = drain.abandons();
    let closing = TaskTracker::new();
    let mut begin = |lane, delivery, permit| drain.spawn(work(lane, delivery, permit));
    let ended = {
        let mut draining = pin!(drain.started());
        loop {
            let mut subscriptions = Subscriptions::default();
            let session = async {
                let intake = queues.flow.opens().await;
                subscriptions.subscribe(broker, queues, intake).await?;
                subscriptions.serve(queues, intake, &mut begin).await
            };
            let session = tokio::select! {
                biased;
                () = &mut draining => {
                    queues.flow.drain();
                    None
                }
                session = session => Some(session),
            };
            closing.spawn(subscriptions.close());
            match session {
                None => break Ok(()),
                Some(Ok(())) => {}
                Some(Err(error)) => break Err(error),
            }
        }
    };
    finish(&closing, &drain, queues).await;
    ended
}

/// Subscribes, retrying until it succeeds or the broker is closed. A missing queue may come back, and must
/// not stop the other backends.
async fn subscribe(broker: &dyn Broker, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
    let mut backoff = backoff();
    loop {
        match broker.consume(queue, prefetch).await {
            Ok(consumer) => return Ok(consumer),
            Err(BrokerError::Closed) => return Err(BrokerError::Closed),
            Err(error) => tracing::warn!(queue = queue.as_str(), %error, "cannot consume, retrying"),
        }
        sleep(backoff.pause()).await;
    }
}

async fn finish(closing: &TaskTracker, drain: &Drain, queues: &Queues) {
    closing.close();
    let work = async {
        let deliveries = drain.finished().await;
        if deliveries > 0 {
            tracing::warn!(
                queue = queues.normal.as_str(),
                deliveries,
                "not finished before the drain deadline: requeued, and messages already sent may be sent again"
            );
        }
    };
    let all = async { tokio::join!(closing.wait(), work) };
    let _ = timeout_at(drain.deadline() + HAND_BACK, all).await;
}

async fn close(consumer: Option<Consumer>) {
    if let Some(consumer) = consumer {
        consumer.close().await;
    }
}

/// The subscriptions to the two queues.
#[derive(Debug, Default)]
struct Subscriptions {
    normal: Option<Consumer>,
    bulk: Option<Consumer>,
    scheduler: LaneScheduler,
}

impl Subscriptions {
    async fn subscribe(
        &mut self,
        broker: &dyn Broker,
        queues: &Queues,
        intake: Intake,
    ) -> Result<(), BrokerError> {
        let prefetch = queues.flow.prefetch(intake);
        let only = if intake == Intake::Probe { queues.first_with_some(broker).await } else { None };
        if only != Some(Priority::Bulk) {
            self.normal = Some(subscribe(broker, &queues.normal, prefetch).await?);
        }
        queues.flow.consuming();
        if let Some(bulk) = queues.bulk.as_ref().filter(|_| only != Some(Priority::Normal)) {
            self.bulk = Some(subscribe(broker, bulk, prefetch).await?);
        }
        Ok(())
    }

    /// Takes messages and begins them, until something other than `intake` may be taken or a probe has
    /// waited for [`LOOK_AGAIN`].
    ///
    /// # Errors
    /// The broker was closed.
    async fn serve(
        &mut self,
        queues: &Queues,
        intake: Intake,
        begin: &mut impl FnMut(Priority, Delivery, WorkPermit),
    ) -> Result<(), BrokerError> {
        let flow = &queues.flow;
        let look_again = async {
            sleep(LOOK_AGAIN).await;
            flow.admits().await;
        };
        let mut left = pin!(async {
            tokio::select! {
                () = flow.leaves_off(intake) => {}
                () = look_again, if intake == Intake::Probe => {}
            }
        });
        loop {
            tokio::select! {
                biased;
                () = &mut left => return Ok(()),
                taken = self.take(flow) => match taken {
                    Some((lane, delivery, permit)) => {
                        begin(lane, delivery, WorkPermit::taken(flow, lane, permit));
                    }
                    None => return Err(BrokerError::Closed),
                },
            }
        }
    }

    /// The next message, with a permit; `None` once the broker is closed. Safe to cancel.
    async fn take(&mut self, flow: &FlowControl) -> Option<(Priority, Delivery, ConcurrencyPermit)> {
        flow.admits().await;
        // The permit comes first, so that a message that is taken is begun at once.
        let permit = flow.acquire().await;
        let idle = async {
            flow.idles();
            pending().await
        };
        let next = tokio::select! {
            biased;
            next = self.next(flow) => next,
            never = idle => never,
        };
        next.map(|(lane, delivery)| (lane, delivery, permit))
    }

    async fn next(&mut self, flow: &FlowControl) -> Option<(Priority, Delivery)> {
        loop {
            let normal = next_of(Priority::Normal, flow, &mut self.normal);
            let bulk = next_of(Priority::Bulk, flow, &mut self.bulk);
            let (lane, delivery) = match self.scheduler.first() {
                Priority::Normal => tokio::select! {
                    biased;
                    next = normal => next,
                    next = bulk => next,
                },
                Priority::Bulk => tokio::select! {
                    biased;
                    next = bulk => next,
                    next = normal => next,
                },
            };
            self.scheduler.went(lane);
            match delivery? {
                delivery if delivery.since.elapsed() < BEGIN_WITHIN => return Some((lane, delivery)),
                stale => stale.release(),
            }
        }
    }

    async fn close(self) {
        tokio::join!(close(self.normal), close(self.bulk));
    }
}

async fn next_of(
    lane: Priority,
    flow: &FlowControl,
    consumer: &mut Option<Consumer>,
) -> (Priority, Option<Delivery>) {
    match consumer {
        Some(consumer) => {
            flow.admits_of(lane).await;
            (lane, consumer.next().await)
        }
        None => pending().await,
    }
}
