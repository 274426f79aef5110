//! Dead letters: looking at them, putting them back, dropping them, on either broker.
//!
//! A queue cannot be searched, so [`DeadLetters`] takes its messages one after the other and holds
//! them, unsettled, until it has seen all that were there when it began: what is not to go is handed
//! back then, in order, and comes back by itself if the process ends before. What is to go back to
//! where it died is published first, confirmed, and only then acknowledged: a crash in between doubles
//! it, under the same id, and loses nothing. RabbitMQ counts that a message was looked at; the count
//! means nothing in these queues.

mod dead_letter;
mod fields;
mod filter;
mod handle;
mod ids;
mod reason;

pub use dead_letter::{DeadLetter, Summary};
pub use filter::{Age, Filter, InvalidFilter};
pub use ids::AmbiguousId;

use ids::GivenIds;
use postern_broker::{Address, Broker, BrokerError, Consumer, Delivery, Envelope, QueueName};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

/// How many messages one consumer holds; RabbitMQ prefetches at most 2,000.
const WINDOW: u16 = 1_000;
/// How long a message that was counted may take to come. Beyond, somebody else has it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many are put back in one publish: so many may be doubled by a crash.
const AT_ONCE: usize = 256;
/// How long handing back may take.
const HAND_BACK: Duration = Duration::from_secs(30);
/// How long the broker may take to count what was handed back, and how often it is asked. Beyond,
/// somebody else has taken of it.
const COUNTED: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// A queue that is nobody's to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadQueue {
    /// `postern.dead`
    #[default]
    Dead,
    /// `postern.unrouted`
    Unrouted,
}

impl DeadQueue {
    /// The queue.
    pub fn queue(self) -> QueueName {
        match self {
            Self::Dead => QueueName::dead(),
            Self::Unrouted => QueueName::unrouted(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Listing<T> {
    /// How many messages were in the queue.
    pub waiting: u64,
    /// Whether there may be more that match: the limit was reached.
    pub more: bool,
    /// Those that match, in the queue's order.
    pub letters: Vec<T>,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many messages were in the queue.
    pub waiting: u64,
    /// How many match.
    pub matched: u64,
    /// How many are put back, or dropped; in a dry run, would be.
    pub done: u64,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// Those that match and stay.
    pub stay: Vec<Stays>,
}

/// A dead letter, and the message as it goes back.
type GoesBack = (Delivery, (Address, Envelope));

/// Why nothing was done, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The broker's.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// An id of the filter is the beginning of several. Nothing was done.
    #[error(transparent)]
    Ambiguous(#[from] AmbiguousId),
}

/// A message that cannot be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stays {
    /// Its id, else its handle.
    pub id: Option<String>,
    /// Why.
    pub why: String,
}

/// The messages that nobody works on, behind a broker. One scan at a time: two at once would each
/// see what the other does not hold.
#[derive(Debug)]
pub struct DeadLetters {
    broker: Arc<dyn Broker>,
    turn: Mutex<()>,
}

impl DeadLetters {
    /// Those of `broker`.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, turn: Mutex::default() }
    }

    /// How many dead letters wait.
    ///
    /// # Errors
    /// The broker's.
    pub async fn waiting(&self) -> Result<u64, BrokerError> {
        self.broker.depth(&QueueName::dead()).await.map(|depth| depth.ready)
    }

    /// Those that `filter` lets pass, each made into what `of` makes of it. The queue is
    /// afterwards as it was.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub async fn list<T>(
        &self,
        filter: &Filter,
        of: impl Fn(&DeadLetter) -> T,
    ) -> Result<Listing<T>, DeadLetterError> {
        let _turn = self.turn.lock().await;
        let filter = &self.with_whole_ids(filter).await?;
        let mut scan = Scan::begin(&*self.broker, filter.queue).await?;
        let mut listing = Listing { waiting: scan.left, more: false, letters: Vec::new() };
        while let Some(delivery) = scan.next().await? {
            let letter = DeadLetter::new(&delivery.envelope, filter.queue);
            if filter.passes(&letter) {
                if filter.is_full(listing.letters.len() as u64) {
                    listing.more = true;
                    scan.hold(delivery);
                    break;
                }
                listing.letters.push(of(&letter));
            }
            scan.hold(delivery);
        }
        scan.end().await;
        Ok(listing)
    }

    /// Puts those that `filter` lets pass back into the queues that they died in, as new: the same
    /// message with the same id, its attempts counted from the first.
    ///
    /// # Errors
    /// [`DeadLetterError`]; what was put back until then is.
    pub async fn redrive(&self, filter: &Filter, dry_run: bool) -> Result<Done, DeadLetterError> {
        let _turn = self.turn.lock().await;
        let filter = &self.with_whole_ids(filter).await?;
        let mut scan = Scan::begin(&*self.broker, filter.queue).await?;
        let mut done = Done { waiting: scan.left, dry_run, ..Done::default() };
        let mut batch = VecDeque::new();
        let mut queues = HashMap::new();
        let mut outcome = Ok(());
        while outcome.is_ok() && !filter.is_full(done.matched) {
            let Some(delivery) = scan.next().await? else { break };
            let letter = DeadLetter::new(&delivery.envelope, filter.queue);
            if !filter.passes(&letter) {
                scan.hold(delivery);
                continue;
            }
            done.matched += 1;
            match self.way_back(&letter, &mut queues).await? {
                Ok(_) if dry_run => {
                    done.done += 1;
                    scan.hold(delivery);
                }
                Ok(back) => batch.push_back((delivery, back)),
                Err(why) => {
                    done.stay.push(Stays { id: Some(letter.name()), why });
                    scan.hold(delivery);
                }
            }
            if batch.len() >= AT_ONCE {
                outcome = self.put_back(&mut batch, &mut scan, &mut done).await;
            }
        }
        if outcome.is_ok() {
            outcome = self.put_back(&mut batch, &mut scan, &mut done).await;
        }
        batch.into_iter().for_each(|(delivery, _)| scan.hold(delivery));
        scan.end().await;
        outcome?;
        Ok(done)
    }

    /// Drops those that `filter` lets pass, for good.
    ///
    /// # Errors
    /// [`DeadLetterError`]; what was dropped until then is.
    pub async fn discard(&self, filter: &Filter, dry_run: bool) -> Result<Done, DeadLetterError> {
        let _turn = self.turn.lock().await;
        let filter = &self.with_whole_ids(filter).await?;
        let mut scan = Scan::begin(&*self.broker, filter.queue).await?;
        let mut done = Done { waiting: scan.left, dry_run, ..Done::default() };
        while !filter.is_full(done.matched) {
            let Some(delivery) = scan.next().await? else { break };
            let passes = filter.passes(&DeadLetter::new(&delivery.envelope, filter.queue));
            done.matched += u64::from(passes);
            if passes && !dry_run {
                delivery.ack();
            } else {
                scan.hold(delivery);
            }
        }
        done.done = done.matched;
        scan.end().await;
        Ok(done)
    }

    /// `filter` with whole ids in place of their beginnings, which takes a scan of its own.
    async fn with_whole_ids(&self, filter: &Filter) -> Result<Filter, DeadLetterError> {
        let Some(mut given) = GivenIds::with_beginnings(&filter.id) else { return Ok(filter.clone()) };
        let mut scan = Scan::begin(&*self.broker, filter.queue).await?;
        while let Some(delivery) = scan.next().await? {
            given.look_at(&DeadLetter::new(&delivery.envelope, filter.queue));
            scan.hold(delivery);
        }
        scan.end().await;
        Ok(Filter { id: given.whole()?, ..filter.clone() })
    }

    /// The message as it goes back, or why it cannot.
    async fn way_back(
        &self,
        letter: &DeadLetter,
        queues: &mut HashMap<QueueName, bool>,
    ) -> Result<Result<(Address, Envelope), String>, BrokerError> {
        if let Some(bytes) = letter.cut_from() {
            return Ok(Err(format!("only the beginning of its body, of {bytes} bytes, is kept")));
        }
        let Some(queue) = letter.queue() else {
            return Ok(Err("it does not say which queue it came from".to_owned()));
        };
        let there = match queues.get(&queue) {
            Some(there) => *there,
            None => {
                let there = match self.broker.depth(&queue).await {
                    Ok(_) => true,
                    Err(BrokerError::Refused(_)) => false,
                    Err(other) => return Err(other),
                };
                queues.insert(queue.clone(), there);
                there
            }
        };
        if !there {
            return Ok(Err(format!("there is no queue {queue}; is its backend configured?")));
        }
        Ok(Ok((Address::Queue(queue), letter.afresh())))
    }

    /// Publishes all of `batch`, confirmed, and then acknowledges it; what the broker will never accept
    /// stays. After an error, what is not put back is still in `batch`.
    async fn put_back(
        &self,
        batch: &mut VecDeque<GoesBack>,
        scan: &mut Scan<'_>,
        done: &mut Done,
    ) -> Result<(), BrokerError> {
        let messages = batch.iter().map(|(_, back)| back.clone()).collect();
        match self.broker.publish(messages).await {
            Ok(()) => {
                done.done += batch.len() as u64;
                batch.drain(..).for_each(|(delivery, _)| delivery.ack());
                return Ok(());
            }
            // One of them, which is found when each goes alone.
            Err(BrokerError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        while let Some((_, back)) = batch.front() {
            let published = self.broker.publish(vec![back.clone()]).await;
            let why = match published {
                Ok(()) => None,
                Err(BrokerError::Refused(why)) => Some(format!("the broker will never accept it: {why}")),
                Err(error) => return Err(error),
            };
            let Some((delivery, _)) = batch.pop_front() else { break };
            match why {
                None => {
                    done.done += 1;
                    delivery.ack();
                }
                Some(why) => {
                    let letter = DeadLetter::new(&delivery.envelope, DeadQueue::Dead);
                    done.stay.push(Stays { id: Some(letter.name()), why });
                    scan.hold(delivery);
                }
            }
        }
        Ok(())
    }
}

/// One scan over a queue: what has been seen of it and is held.
struct Scan<'a> {
    broker: &'a dyn Broker,
    queue: QueueName,
    /// How many messages are still to be seen.
    left: u64,
    /// How many the last of `windows` still gives.
    room: u16,
    /// Each holds up to [`WINDOW`] messages.
    windows: Vec<(Consumer, Vec<Delivery>)>,
}

impl<'a> Scan<'a> {
    async fn begin(broker: &'a dyn Broker, queue: DeadQueue) -> Result<Self, BrokerError> {
        let queue = queue.queue();
        let left = broker.depth(&queue).await?.ready;
        Ok(Self { broker, queue, left, room: 0, windows: Vec::new() })
    }

    /// The next message; `None` when all that were there at the beginning were seen. Messages that
    /// come meanwhile stand behind them.
    async fn next(&mut self) -> Result<Option<Delivery>, BrokerError> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.room == 0 {
            let size = u16::try_from(self.left).unwrap_or(WINDOW).min(WINDOW);
            let consumer = self.broker.consume(&self.queue, size).await?;
            self.windows.push((consumer, Vec::new()));
            self.room = size;
        }
        let Some((consumer, _)) = self.windows.last_mut() else { return Ok(None) };
        match timeout(PATIENCE, consumer.next()).await {
            Ok(Some(delivery)) => {
                self.left -= 1;
                self.room -= 1;
                Ok(Some(delivery))
            }
            Ok(None) => Err(BrokerError::Closed),
            // Somebody else has it.
            Err(_) => Ok(None),
        }
    }

    /// Keeps a message until the end, so that it does not come again.
    fn hold(&mut self, delivery: Delivery) {
        if let Some((_, held)) = self.windows.last_mut() {
            // What is held needs no memory for its text.
            held.push(delivery.emptied());
        }
    }

    /// Hands back what is held, in order: to nobody here, so each window is shut before.
    async fn end(mut self) {
        for (consumer, _) in &mut self.windows {
            let _ = timeout(HAND_BACK, consumer.stop()).await;
        }
        let mut back = 0;
        for (consumer, held) in self.windows {
            back += held.len() as u64;
            held.into_iter().for_each(Delivery::release);
            let _ = timeout(HAND_BACK, consumer.close()).await;
        }
        // RabbitMQ counts it a moment later: whoever looked until then would see a part.
        let counted = async {
            while self.broker.depth(&self.queue).await.is_ok_and(|depth| depth.ready < back) {
                sleep(ASK_AGAIN).await;
            }
        };
        let _ = timeout(COUNTED, counted).await;
    }
}
