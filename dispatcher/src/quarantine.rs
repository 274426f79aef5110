//! Messages that may be what crashes this process.
//!
//! Whoever works on many messages at a time and crashes does not know which of them did it: all of
//! them come back, and the broker counts that for each. So the count alone condemns nobody. A
//! message that came back a few times is set apart, into `postern.quarantine`, and from there each
//! process takes one at a time: a crash then counts against that one. After the first such crash
//! it is tried while the process works on nothing else at all; and since the crash of another one
//! counts against whatever a process holds, such a message is not even held meanwhile: what a
//! starting process finds there comes before everything else, and later one that turns out to be such
//! a message goes back until there is room. What is innocent is sent, a little later than it would
//! have been.
//!
//! Clean hand-backs in the quarantine are made by publishing the message again, with its count in a
//! header, since RabbitMQ before 4.3 counts every return.

mod trials;

use crate::{
    consume::Slot, dead_letter::unread, drain::Drain, flow::Gate, publish::Publisher, worker::Worker,
};
use postern_shared::{
    broker::{Address, Delivery, Envelope, QueueName, Verdict, header, subscription},
    error::Failure,
    message::Lane,
    metrics::Metrics,
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock},
    time::{sleep, sleep_until, timeout},
};
use tracing::field::display;
use trials::Alone;

/// How long everything else may take to finish before a message is set apart: a crash between
/// the two steps of that would double it.
const SET_APART: Duration = Duration::from_secs(1);
/// How long an acknowledgement may be on its way, before others may crash the process again.
const ACKNOWLEDGED: Duration = Duration::from_millis(100);
/// How long a message is held that cannot be tried here now, before it makes way for the next.
const NOT_NOW: Duration = Duration::from_secs(1);
/// How long handing back may take at the end of a drain.
const HAND_BACK: Duration = Duration::from_secs(2);

/// How often a message may be lost with a process: `dispatcher.max_deliveries`, divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// So often among others; then it is set apart.
    company: u32,
    /// So often alone; then it is dead.
    alone: u32,
}

impl Rule {
    /// The rule that lets a message be taken `max` (at least 2) times.
    pub(crate) fn new(max: u32) -> Self {
        let alone = max.div_ceil(2);
        Self { company: max.saturating_sub(alone).max(1), alone }
    }
}

/// Sets messages apart, tries them one at a time, and gives up the one that crashes.
pub(crate) struct Quarantine {
    rule: Rule,
    workers: BTreeMap<QueueName, Served>,
    publisher: Publisher,
    metrics: Metrics,
    /// Read by all work, written by a trial that is to be the only work.
    trial: Arc<RwLock<()>>,
    /// The last message on trial, and its count then: where it comes back while this process lives, it
    /// was the connection that was lost.
    last: Mutex<Option<(u64, u32)>>,
}

/// Who works on a queue's messages, and when it may.
type Served = (Lane, Arc<dyn Worker>, Arc<Gate>);

/// Held, nothing else is worked on; it is given out before anything begins.
pub(crate) type First = OwnedRwLockWriteGuard<()>;

async fn pause(drain: &Drain) {
    tokio::select! {
        () = sleep(NOT_NOW) => {}
        () = drain.started() => {}
    }
}

impl Quarantine {
    pub(crate) fn new(
        rule: Rule,
        workers: impl IntoIterator<Item = (Arc<dyn Worker>, Arc<Gate>)>,
        publisher: Publisher,
        metrics: Metrics,
    ) -> Self {
        let of = |(worker, gate): (Arc<dyn Worker>, Arc<Gate>)| {
            let queues = worker.queues().into_iter();
            queues.map(move |(lane, queue)| (queue, (lane, worker.clone(), gate.clone())))
        };
        let workers = workers.into_iter().flat_map(of).collect();
        Self { rule, workers, publisher, metrics, trial: Arc::default(), last: Mutex::default() }
    }

    /// To be called before any work, and handed to [`run`](Self::run), which begins with it.
    pub(crate) fn first(&self) -> Option<First> {
        self.trial.clone().try_write_owned().ok()
    }

    /// Has `worker` work on `delivery` among others, unless it is to be set apart.
    pub(crate) async fn work(
        &self,
        worker: Arc<dyn Worker>,
        queue: &QueueName,
        lane: Lane,
        delivery: Delivery,
        slot: Slot,
    ) {
        let delivery = delivery.in_trace();
        let crashes = crashes(&delivery.envelope);
        if crashes.is_none() && delivery.returned < self.rule.company {
            let _shared = self.trial.read().await;
            return worker.work(lane, delivery, slot).await;
        }
        drop(slot);
        let _alone = timeout(SET_APART, self.trial.write()).await;
        tracing::warn!(
            queue = queue.as_str(),
            message_id = delivery.envelope.id().map(display),
            returned = delivery.returned,
            "came back too often from whoever had it: set apart, to be tried alone"
        );
        let (envelope, quarantine) = (delivery.envelope.clone(), QueueName::quarantine());
        if self.send_on(&quarantine, envelope, queue, crashes.unwrap_or_default()).await {
            self.metrics.quarantined();
            delivery.ack();
            sleep(ACKNOWLEDGED).await;
        } else {
            delivery.release();
        }
    }

    /// Takes a message from the quarantine to its end, or a step further. Handed back with its count
    /// if that needs everything else to wait, which it does not.
    async fn judge(
        &self,
        delivery: Delivery,
        drain: &Drain,
        alone: &mut Option<Alone>,
    ) -> Option<(Delivery, u32)> {
        let delivery = delivery.in_trace();
        let before = crashes(&delivery.envelope).unwrap_or_default();
        let crashes = before.saturating_add(delivery.returned);
        let Some((queue, served)) = self.origin(&delivery.envelope) else {
            *alone = None;
            self.not_ours(delivery, crashes, drain).await;
            return None;
        };
        let (lane, worker, gate) = served;
        if !gate.admits_now() {
            *alone = None;
            pause(drain).await;
            self.postpone(delivery, crashes).await;
            return None;
        }
        let name = name(&delivery.envelope);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace((name, crashes));
        if delivery.returned > 0
            && let Some((_, survived)) = last.filter(|(last, _)| *last == name)
        {
            self.postpone(delivery, survived).await;
            return None;
        }
        if crashes > 0 && alone.is_none() {
            return Some((delivery, crashes));
        }
        if crashes >= self.rule.alone {
            self.give_up(delivery, queue, *lane, &**worker, crashes).await;
            return None;
        }
        let message_id = delivery.envelope.id().map(display);
        tracing::info!(queue = queue.as_str(), message_id, crashes, "tried alone");
        let _shared = match alone {
            Some(_) => None,
            None => Some(self.trial.read().await),
        };
        self.attempt(delivery, served, crashes, drain).await;
        None
    }

    /// Where a message in the quarantine came from, and who works on that here.
    fn origin(&self, envelope: &Envelope) -> Option<(&QueueName, &Served)> {
        let name = envelope.text_header(header::QUEUE)?;
        self.workers.iter().find(|(queue, _)| queue.as_str() == name)
    }

    /// Works on `delivery`. What is not finished when the drain must end goes back uncounted.
    async fn attempt(&self, delivery: Delivery, (lane, worker, gate): &Served, crashes: u32, drain: &Drain) {
        // A delivery of our own around the same message: what is decided about it is heard here.
        let (mut inner, mut feed) = subscription(QueueName::quarantine(), 1);
        let mut envelope = delivery.envelope.clone();
        envelope.headers.remove(header::CRASHES);
        envelope.headers.remove(header::QUEUE);
        let _ = feed.deliver(0, envelope, delivery.redelivered, delivery.returned);
        let (Some(own), Some(slot)) = (inner.next().await, Slot::apart(gate.pass(*lane, None))) else {
            return;
        };
        let too_late = async {
            drain.started().await;
            sleep_until(drain.deadline()).await;
        };
        tokio::select! {
            () = worker.clone().work(*lane, own, slot) => {}
            () = too_late => {}
        }
        match feed.settlements.try_recv() {
            Ok(settlement) if settlement.verdict == Verdict::Ack => delivery.ack(),
            _ => self.postpone(delivery, crashes).await,
        }
    }

    /// A dead letter, with a report; without looking into the message where that did not end well.
    async fn give_up(
        &self,
        delivery: Delivery,
        queue: &QueueName,
        lane: Lane,
        worker: &dyn Worker,
        crashes: u32,
    ) {
        let failure = Failure::unknown(
            "poison",
            format!("every process that worked on it ended without a word, {crashes} times on nothing else"),
        );
        let mut original = delivery.envelope.clone();
        original.headers.remove(header::CRASHES);
        let letters = match crashes == self.rule.alone {
            true => worker.given_up(lane, &original, &failure),
            false => unread(&original, queue, &failure),
        };
        if self.publisher.publish(letters).await {
            worker.count_given_up(lane, &failure);
            tracing::error!(
                queue = queue.as_str(),
                message_id = delivery.envelope.id().map(display),
                class = failure.class.as_str(),
                code = "poison",
                "dead-lettered: it crashes whoever works on it"
            );
            delivery.ack();
        } else {
            delivery.release();
        }
    }

    /// Sends a message of a queue that others serve back there, to be set apart again by them; what
    /// came here in no known way is a dead letter.
    async fn not_ours(&self, delivery: Delivery, crashes: u32, drain: &Drain) {
        let queue = delivery.envelope.text_header(header::QUEUE).and_then(QueueName::known);
        let Some(queue) = queue else {
            let failure = Failure::permanent("quarantine", "it does not say which queue it came from");
            let letters = unread(&delivery.envelope, &QueueName::quarantine(), &failure);
            if self.publisher.publish(letters).await {
                delivery.ack();
            }
            return;
        };
        pause(drain).await;
        if self.send_on(&queue, delivery.envelope.clone(), &queue, crashes).await {
            delivery.ack();
        }
    }

    /// Puts a message of the quarantine at its end, as one that was lost `crashes` times.
    async fn postpone(&self, delivery: Delivery, crashes: u32) {
        let Some(queue) = delivery.envelope.text_header(header::QUEUE).map(str::to_owned) else { return };
        let envelope =
            delivery.envelope.clone().with(header::CRASHES, i64::from(crashes)).with(header::QUEUE, queue);
        if self.publisher.publish(vec![(Address::Queue(QueueName::quarantine()), envelope)]).await {
            delivery.ack();
        }
    }

    /// Publishes a message of `origin` to the end of `queue`; `false`: the broker was closed.
    async fn send_on(&self, queue: &QueueName, envelope: Envelope, origin: &QueueName, crashes: u32) -> bool {
        let envelope =
            envelope.with(header::QUEUE, origin.as_str()).with(header::CRASHES, i64::from(crashes));
        self.publisher.publish(vec![(Address::Queue(queue.clone()), envelope)]).await
    }
}

/// How often a message was lost while it was tried alone; `None` for one that was never set apart.
fn crashes(envelope: &Envelope) -> Option<u32> {
    envelope.integer_header(header::CRASHES).map(|number| u32::try_from(number).unwrap_or_default())
}

/// Tells a message from others, within this process.
fn name(envelope: &Envelope) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&envelope.message_id, &envelope.body).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_so_often_and_at_the_end_alone() {
        for (max, company, alone) in [(2, 1, 1), (3, 1, 2), (5, 2, 3), (6, 3, 3), (20, 10, 10)] {
            assert_eq!(Rule::new(max), Rule { company, alone }, "{max}");
        }
    }
}
