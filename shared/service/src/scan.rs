//! Goes through the messages of a queue, to look at them or to replace them.
//!
//! If the broker can browse its queues, as the embedded broker can, nothing is taken, and a message is
//! swapped for its replacement in one transaction. RabbitMQ only delivers messages: they are taken one
//! after the other and held (`taken`), and a replacement is published first. Only this module decides which
//! of the two ways a scan takes.
//!
//! On RabbitMQ, a replacement is published and confirmed, and only then the message is acknowledged; if the
//! process ends, RabbitMQ requeues what the process held.

mod taken;

use postern_broker::{
    Address, Broker, BrokerError, Browse, BrowsedMessage, Delivery, Envelope, QueueName, Replacement,
};
use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};
use taken::TakenMessages;
use tokio::sync::{Mutex, MutexGuard};

/// The most messages that are replaced together, and the total size of their bodies, in bytes, at which
/// fewer are. On RabbitMQ, a crash may duplicate these, and the same number before them, whose
/// acknowledgements are on the way: RabbitMQ does not confirm acknowledgements.
const AT_ONCE: (usize, usize) = (256, 8 * 1024 * 1024);

/// What is published in place of a message; nothing if it is dropped.
pub(crate) type Published = Vec<(Address, Envelope)>;

/// The scans over the queues of a broker. Scans that take messages run one after the other: of two at once,
/// each would see only what the other does not hold.
#[derive(Debug)]
pub(crate) struct Scans {
    broker: Arc<dyn Broker>,
    turn: Mutex<()>,
}

impl Scans {
    /// The scans over the queues of `broker`.
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, turn: Mutex::default() }
    }

    /// Begins a scan over what waits in `queue` now. If `named` has ids and the broker can look for them,
    /// it covers only the messages whose `message_id` is one of `named`, and messages without one. If
    /// messages are taken, the scan ends when a message that was counted does not arrive within `patience`:
    /// another consumer has the rest.
    ///
    /// # Errors
    /// The broker's error; [`BrokerError::Refused`] if `queue` does not exist.
    pub(crate) async fn begin(
        &self,
        queue: QueueName,
        patience: Duration,
        named: &[String],
    ) -> Result<Scan<'_>, BrokerError> {
        let (way, turn) = match self.broker.browse(&queue, named).await? {
            Some(browse) => (ScanWay::Browse(browse), None),
            None => {
                let turn = self.turn.lock().await;
                (ScanWay::Take(TakenMessages::begin(&*self.broker, queue, patience).await?), Some(turn))
            }
        };
        let waiting = match &way {
            ScanWay::Browse(browse) => browse.waiting(),
            ScanWay::Take(taken) => taken.left(),
        };
        Ok(Scan { way, waiting, _turn: turn })
    }
}

/// One scan over a queue.
pub(crate) struct Scan<'s> {
    way: ScanWay<'s>,
    waiting: u64,
    _turn: Option<MutexGuard<'s, ()>>,
}

enum ScanWay<'s> {
    Browse(Box<dyn Browse + 's>),
    Take(TakenMessages<'s>),
}

/// A message that a scan has reached.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The message.
    pub(crate) envelope: Envelope,
    /// Since when the message is known to have waited.
    pub(crate) since: Instant,
    place: SeenAt,
}

#[derive(Debug)]
enum SeenAt {
    /// The number of the message, which stays in its queue.
    Number(u64),
    /// The delivery that is held, without the message itself.
    Lease(Delivery),
}

impl From<BrowsedMessage> for Seen {
    fn from(BrowsedMessage { number, envelope }: BrowsedMessage) -> Self {
        Self { envelope, since: Instant::now(), place: SeenAt::Number(number) }
    }
}

impl From<Delivery> for Seen {
    fn from(mut delivery: Delivery) -> Self {
        let (envelope, since) = (std::mem::take(&mut delivery.envelope), delivery.since);
        Self { envelope, since, place: SeenAt::Lease(delivery) }
    }
}

/// What happens to a message. `T` is what the caller wants to be told about it when it is done.
#[derive(Debug)]
pub(crate) enum Becomes<T> {
    /// It stays, because it is not selected.
    Stays,
    /// It stays although it is selected, for this reason.
    Cannot(T, String),
    /// These messages are published in its place.
    Replaced(T, Published),
    /// It stays, and so do all messages after it.
    Enough,
}

/// Messages that are to be replaced.
type Replacements<T> = VecDeque<(Seen, T, Published)>;

impl Scan<'_> {
    /// How many messages waited when this began.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Shows each message to `look`, until `look` breaks.
    ///
    /// # Errors
    /// The broker's error.
    pub(crate) async fn look(
        mut self,
        mut look: impl FnMut(&Envelope) -> ControlFlow<()>,
    ) -> Result<(), BrokerError> {
        while let Some(seen) = self.next().await? {
            let flow = look(&seen.envelope);
            self.hold(seen);
            if flow.is_break() {
                break;
            }
        }
        self.end().await;
        Ok(())
    }

    /// Replaces each message by what `becomes` returns. Tells `done` about each message that was replaced,
    /// and about each that stays although it is selected, with the reason. A dry run replaces nothing, and
    /// tells the same. Messages that another consumer takes in the meantime are not told.
    ///
    /// # Errors
    /// The error of `becomes`, or the broker's. Messages that `done` was told about before stay replaced.
    pub(crate) async fn replace<T>(
        mut self,
        dry_run: bool,
        mut becomes: impl AsyncFnMut(&Seen) -> Result<Becomes<T>, BrokerError>,
        mut done: impl FnMut(T, Result<(), String>),
    ) -> Result<(), BrokerError> {
        let mut batch = Replacements::new();
        let through = self.go_through(&mut batch, dry_run, &mut becomes, &mut done).await;
        batch.into_iter().for_each(|(seen, ..)| self.hold(seen));
        self.end().await;
        through
    }

    async fn go_through<T>(
        &mut self,
        batch: &mut Replacements<T>,
        dry_run: bool,
        becomes: &mut impl AsyncFnMut(&Seen) -> Result<Becomes<T>, BrokerError>,
        done: &mut impl FnMut(T, Result<(), String>),
    ) -> Result<(), BrokerError> {
        let mut bytes = 0;
        loop {
            if batch.len() >= AT_ONCE.0 || bytes >= AT_ONCE.1 || self.is_full() {
                self.put(batch, done).await?;
                bytes = 0;
            }
            let Some(seen) = self.next().await? else { break };
            match becomes(&seen).await? {
                Becomes::Stays => self.hold(seen),
                Becomes::Cannot(what, why) => {
                    self.hold(seen);
                    done(what, Err(why));
                }
                Becomes::Replaced(what, _) if dry_run => {
                    self.hold(seen);
                    done(what, Ok(()));
                }
                Becomes::Replaced(what, published) => {
                    bytes += published.iter().map(|(_, envelope)| envelope.body.len()).sum::<usize>();
                    batch.push_back((seen, what, published));
                }
                Becomes::Enough => {
                    self.hold(seen);
                    break;
                }
            }
        }
        self.put(batch, done).await
    }

    /// Replaces all of `batch`; a message whose replacement the broker will never accept stays. After an
    /// error, `batch` holds what is not replaced. A message whose replacement the broker has confirmed is
    /// replaced, also if the queue was full for the next one: if it stayed, it would be sent twice.
    async fn put<T>(
        &mut self,
        batch: &mut Replacements<T>,
        done: &mut impl FnMut(T, Result<(), String>),
    ) -> Result<(), BrokerError> {
        match self.put_together(batch, done).await {
            Err(BrokerError::Refused(_)) => {}
            outcome => return outcome,
        }
        // The broker refuses one of them, which is found when each is published alone.
        while let Some(one) = batch.pop_front() {
            let mut alone = Replacements::from([one]);
            let outcome = self.put_together(&mut alone, done).await;
            match (outcome, alone.pop_front()) {
                (Err(BrokerError::Refused(why)), Some((seen, what, _))) => {
                    self.hold(seen);
                    done(what, Err(format!("the broker will never accept it: {why}")));
                }
                (outcome, left) => {
                    left.into_iter().for_each(|one| batch.push_front(one));
                    outcome?;
                }
            }
        }
        Ok(())
    }

    async fn put_together<T>(
        &mut self,
        batch: &mut Replacements<T>,
        done: &mut impl FnMut(T, Result<(), String>),
    ) -> Result<(), BrokerError> {
        if batch.is_empty() {
            return Ok(());
        }
        match &mut self.way {
            ScanWay::Browse(browse) => swap(&mut **browse, batch, done).await,
            ScanWay::Take(taken) => publish_and_ack(taken, batch, done).await,
        }
    }

    async fn next(&mut self) -> Result<Option<Seen>, BrokerError> {
        Ok(match &mut self.way {
            ScanWay::Browse(browse) => browse.next().await?.map(Seen::from),
            ScanWay::Take(taken) => taken.next().await?.map(Seen::from),
        })
    }

    fn is_full(&self) -> bool {
        matches!(&self.way, ScanWay::Take(taken) if taken.is_full())
    }

    /// Leaves a message in its queue.
    fn hold(&mut self, seen: Seen) {
        if let (ScanWay::Take(taken), SeenAt::Lease(delivery)) = (&mut self.way, seen.place) {
            taken.hold(delivery);
        }
    }

    async fn end(self) {
        if let ScanWay::Take(taken) = self.way {
            taken.end().await;
        }
    }
}

/// Swaps all of `batch` in one transaction.
async fn swap<T>(
    browse: &mut dyn Browse,
    batch: &mut Replacements<T>,
    done: &mut impl FnMut(T, Result<(), String>),
) -> Result<(), BrokerError> {
    let gone = browse.replace(batch.iter().filter_map(replacement).collect()).await?;
    for (seen, what, _) in batch.drain(..) {
        if !matches!(seen.place, SeenAt::Number(number) if gone.contains(&number)) {
            done(what, Ok(()));
        }
    }
    Ok(())
}

/// Publishes each replacement for itself, and acknowledges each message whose replacement is confirmed. The others
/// stay in `batch`.
async fn publish_and_ack<T>(
    taken: &mut TakenMessages<'_>,
    batch: &mut Replacements<T>,
    done: &mut impl FnMut(T, Result<(), String>),
) -> Result<(), BrokerError> {
    let published = taken.publish_each(batch.iter().map(|(.., messages)| messages.clone())).await;
    let mut outcome = Ok(());
    for ((seen, what, messages), published) in std::mem::take(batch).into_iter().zip(published) {
        match published {
            Ok(()) => {
                if let SeenAt::Lease(delivery) = seen.place {
                    taken.ack(delivery);
                }
                done(what, Ok(()));
            }
            Err(error) => {
                batch.push_back((seen, what, messages));
                // A refusal can be the cause of the other errors.
                if outcome.is_ok() || matches!(error, BrokerError::Refused(_)) {
                    outcome = Err(error);
                }
            }
        }
    }
    outcome
}

fn replacement<T>((seen, _, messages): &(Seen, T, Published)) -> Option<Replacement> {
    match seen.place {
        SeenAt::Number(number) => Some(Replacement { number, messages: messages.clone() }),
        SeenAt::Lease(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_broker::memory::MemoryBroker;

    #[tokio::test]
    async fn what_a_full_queue_still_takes_leaves_the_old_one() {
        let broker = Arc::new(MemoryBroker::default());
        let (old, new) = (QueueName::dead(), QueueName::inbound());
        let numbered = |queue: &QueueName, number: u8| {
            let body = vec![number].into();
            (Address::Queue(queue.clone()), Envelope { body, ..Envelope::default() })
        };
        broker.publish((0..4).map(|number| numbered(&old, number)).collect()).await.unwrap();
        let mut room = 0..2;
        broker.answer(move |_| room.next().map(drop).ok_or_else(|| BrokerError::Full("inbound".to_owned())));
        let scans = Scans::new(broker.clone());
        let scan = scans.begin(old.clone(), Duration::from_secs(10), &[]).await.unwrap();
        let mut done = Vec::new();
        let becomes = async |seen: &Seen| {
            let number = seen.envelope.body[0];
            Ok(Becomes::Replaced(number, vec![numbered(&new, number)]))
        };
        let outcome = scan.replace(false, becomes, |number, outcome| done.push((number, outcome))).await;
        assert!(matches!(outcome, Err(BrokerError::Full(_))), "{outcome:?}");
        assert_eq!(done, [(0, Ok(())), (1, Ok(()))]);
        for (queue, ready) in [(&old, 2), (&new, 2)] {
            assert_eq!(broker.depth(queue).await.unwrap().ready, ready, "{queue}");
        }
    }
}
