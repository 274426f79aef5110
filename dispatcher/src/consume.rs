//! Taking messages from queues: one backend's two lanes, or the one or two queues of an application.

use crate::{
    drain::Drain,
    flow::{Door, Gate, Mode, Pass, Turn},
};
use postern_broker::{Broker, BrokerError, Consumer, Delivery, QueueName};
use postern_shared::message::Priority;
use std::{
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout_at},
};

/// How long what was handed back may take to reach the broker.
const HAND_BACK: Duration = Duration::from_secs(2);
/// A message that waited here for so long before it was begun goes back to its queue, for whoever
/// takes it next: RabbitMQ takes it back after 30 minutes, and it would be sent twice.
const STALE: Duration = Duration::from_secs(5 * 60);

/// A subscription for the one message that shows whether a provider is back is to a queue that had
/// one; so long after, it is asked again which has.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The queues that are worked through together.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    /// The first.
    pub(crate) normal: QueueName,
    /// The one that waits for it.
    pub(crate) bulk: Option<QueueName>,
    /// So many messages are worked on at a time, from both.
    pub(crate) concurrency: u16,
    /// Says when.
    pub(crate) gate: Arc<Gate>,
}

impl Lanes {
    /// The lane in which a message waits, the normal one first. To take a single message from both
    /// would hand one back, which RabbitMQ before 4.3 counts against it.
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

/// A place among those that are worked on. A worker that only waits for the broker gives it up
/// early, by dropping it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// For the requests of its message.
    pub(crate) pass: Pass,
    _place: OwnedSemaphorePermit,
}

/// Hands the messages of `lanes` to `work`, until the drain begins and for as long as it lasts.
/// While the gate is shut there is no subscription: what was prefetched has gone back.
///
/// On the drain no more is taken, what is not begun goes back at once, what is in work may finish
/// until the deadline, and what then is unfinished is dropped and goes back too.
///
/// # Errors
/// The broker was closed.
pub(crate) async fn consume<W, F>(
    broker: &dyn Broker,
    lanes: &Lanes,
    drain: Drain,
    work: W,
) -> Result<(), BrokerError>
where
    W: Fn(Priority, Delivery, Slot) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(usize::from(lanes.concurrency.max(1))));
    let (mut working, mut closing) = (JoinSet::new(), JoinSet::new());
    let mut begin = |lane, delivery, slot| {
        while working.try_join_next().is_some() {}
        drain.begun();
        let (work, drain) = (work(lane, delivery, slot), drain.clone());
        working.spawn(async move {
            let _ended = drain.ends();
            work.await;
        });
    };
    let ended = {
        let mut draining = pin!(drain.started());
        loop {
            let mut intake = Intake::default();
            let session = async {
                let mode = lanes.gate.opens().await;
                intake.subscribe(broker, lanes, mode).await?;
                intake.serve(lanes, mode, &slots, &mut begin).await
            };
            let session = tokio::select! {
                biased;
                () = &mut draining => None,
                session = session => Some(session),
            };
            while closing.try_join_next().is_some() {}
            closing.spawn(intake.close());
            match session {
                None => break Ok(()),
                Some(Ok(())) => {}
                Some(Err(error)) => break Err(error),
            }
        }
    };
    finish(closing, working, &drain, lanes).await;
    ended
}

/// Tries until it succeeds or the broker is closed: a queue that is not there may come back, and is
/// no reason to stop the other backends.
async fn subscribe(broker: &dyn Broker, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
    let mut pause = Duration::from_millis(200);
    loop {
        match broker.consume(queue, prefetch).await {
            Ok(consumer) => return Ok(consumer),
            Err(BrokerError::Closed) => return Err(BrokerError::Closed),
            Err(error) => tracing::warn!(queue = queue.as_str(), %error, "cannot consume yet"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

async fn finish(mut closing: JoinSet<()>, mut working: JoinSet<()>, drain: &Drain, lanes: &Lanes) {
    let deadline = drain.deadline();
    let close = async { while closing.join_next().await.is_some() {} };
    let work = async {
        let all = async { while working.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            tracing::warn!(
                queue = lanes.normal.as_str(),
                deliveries = working.len(),
                "not finished in time: they go back to their queue, and what was sent of them may be sent again"
            );
            working.shutdown().await;
        }
    };
    let _ = timeout_at(deadline + HAND_BACK, async { tokio::join!(close, work) }).await;
}

async fn close(consumer: Option<Consumer>) {
    if let Some(consumer) = consumer {
        consumer.close().await;
    }
}

/// The two lanes, and whose turn it is.
#[derive(Debug, Default)]
struct Intake {
    normal: Option<Consumer>,
    bulk: Option<Consumer>,
    turn: Turn,
}

impl Intake {
    async fn subscribe(&mut self, broker: &dyn Broker, lanes: &Lanes, mode: Mode) -> Result<(), BrokerError> {
        let prefetch = lanes.gate.prefetch(mode);
        let only = if mode == Mode::One { lanes.first_with_some(broker).await } else { None };
        if only != Some(Priority::Bulk) {
            self.normal = Some(subscribe(broker, &lanes.normal, prefetch).await?);
        }
        lanes.gate.consuming();
        if let Some(bulk) = lanes.bulk.as_ref().filter(|_| only != Some(Priority::Normal)) {
            self.bulk = Some(subscribe(broker, bulk, prefetch).await?);
        }
        Ok(())
    }

    /// Takes messages and begins them, until the gate is no longer as it was.
    ///
    /// # Errors
    /// The broker was closed.
    async fn serve(
        &mut self,
        lanes: &Lanes,
        mode: Mode,
        slots: &Arc<Semaphore>,
        begin: &mut impl FnMut(Priority, Delivery, Slot),
    ) -> Result<(), BrokerError> {
        let gate = &*lanes.gate;
        let look_again = async {
            sleep(LOOK_AGAIN).await;
            gate.admits().await;
        };
        let mut left = pin!(async {
            tokio::select! {
                () = gate.leaves(mode) => {}
                () = look_again, if mode == Mode::One => {}
            }
        });
        loop {
            let next = async {
                gate.admits().await;
                // Slots first: a message that is taken is begun at once.
                let places = gate.places().min(u32::from(lanes.concurrency.max(1)));
                let place = slots.clone().acquire_many_owned(places).await.ok()?;
                let idle = async {
                    gate.idles();
                    pending().await
                };
                let next = tokio::select! {
                    biased;
                    next = self.next(gate) => next,
                    never = idle => never,
                };
                next.map(|(lane, delivery, door)| (lane, delivery, door, place))
            };
            tokio::select! {
                biased;
                () = &mut left => return Ok(()),
                next = next => match next {
                    Some((lane, delivery, door, place)) => {
                        begin(lane, delivery, Slot { pass: lanes.gate.pass(lane, door), _place: place });
                    }
                    None => return Err(BrokerError::Closed),
                },
            }
        }
    }

    /// The next message; `None` once the broker is closed. Safe to cancel.
    async fn next(&mut self, gate: &Gate) -> Option<(Priority, Delivery, Door)> {
        loop {
            let normal = next_of(Priority::Normal, gate, &mut self.normal);
            let bulk = next_of(Priority::Bulk, gate, &mut self.bulk);
            let (lane, door, delivery) = match self.turn.first() {
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
            self.turn.took(lane);
            match delivery? {
                delivery if delivery.since.elapsed() < STALE => return Some((lane, delivery, door)),
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
    gate: &Gate,
    consumer: &mut Option<Consumer>,
) -> (Priority, Door, Option<Delivery>) {
    match consumer {
        Some(consumer) => {
            let door = gate.door(lane).await;
            (lane, door, consumer.next().await)
        }
        None => pending().await,
    }
}
