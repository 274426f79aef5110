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
mod queue;
mod reason;

pub use dead_letter::{DeadLetter, Summary};
pub use filter::{Age, Filter, InvalidFilter};
pub use ids::AmbiguousId;
pub use queue::DeadQueue;

use crate::scan::{AT_ONCE, Scan};
use ids::GivenIds;
use postern_broker::{
    Address, Broker, BrokerError, Delivery, Envelope, LogRoute, QueueName, events::redriven,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

/// How long a message that was counted may take to come. Beyond, somebody else has it.
const PATIENCE: Duration = Duration::from_secs(10);

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
    log: LogRoute,
    turn: Mutex<()>,
}

impl DeadLetters {
    /// Those of `broker`. What is put back is told to the message log by way of `log`.
    pub fn new(broker: Arc<dyn Broker>, log: LogRoute) -> Self {
        Self { broker, log, turn: Mutex::default() }
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
        let mut scan = Scan::begin(&*self.broker, filter.queue.queue(), PATIENCE).await?;
        let mut listing = Listing { waiting: scan.left(), more: false, letters: Vec::new() };
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
    /// message with the same id, its attempts counted from the first. The message log says that `by` did it.
    ///
    /// # Errors
    /// [`DeadLetterError`]; what was put back until then is.
    pub async fn redrive(
        &self,
        filter: &Filter,
        dry_run: bool,
        by: Option<&str>,
    ) -> Result<Done, DeadLetterError> {
        let _turn = self.turn.lock().await;
        let filter = &self.with_whole_ids(filter).await?;
        let mut scan = Scan::begin(&*self.broker, filter.queue.queue(), PATIENCE).await?;
        let mut done = Done { waiting: scan.left(), dry_run, ..Done::default() };
        let mut batch = VecDeque::new();
        let mut queues = HashMap::new();
        let mut outcome = Ok(());
        while !filter.is_full(done.matched) {
            if batch.len() >= AT_ONCE || scan.is_full() {
                outcome = self.put_back(&mut batch, &mut scan, &mut done, by).await;
                if outcome.is_err() {
                    break;
                }
            }
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
        }
        if outcome.is_ok() {
            outcome = self.put_back(&mut batch, &mut scan, &mut done, by).await;
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
        let mut scan = Scan::begin(&*self.broker, filter.queue.queue(), PATIENCE).await?;
        let mut done = Done { waiting: scan.left(), dry_run, ..Done::default() };
        while !filter.is_full(done.matched) {
            let Some(delivery) = scan.next().await? else { break };
            let passes = filter.passes(&DeadLetter::new(&delivery.envelope, filter.queue));
            done.matched += u64::from(passes);
            if passes && !dry_run {
                scan.ack(delivery);
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
        let mut scan = Scan::begin(&*self.broker, filter.queue.queue(), PATIENCE).await?;
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

    /// A message as it goes back, and behind it what the message log is told of that.
    fn with_events(&self, back: &(Address, Envelope), by: Option<&str>) -> Vec<(Address, Envelope)> {
        let (address, envelope) = back;
        let events = match self.log {
            LogRoute::None => Vec::new(),
            LogRoute::Queue(_) | LogRoute::Store => redriven(&address.queue(), envelope, by),
        };
        let told = events.iter().map(|event| (Address::Log, Envelope::from(event)));
        std::iter::once(back.clone()).chain(told).collect()
    }

    /// Publishes all of `batch`, confirmed, and then acknowledges it; what the broker will never accept
    /// stays. After an error, what is not put back is still in `batch`.
    async fn put_back(
        &self,
        batch: &mut VecDeque<GoesBack>,
        scan: &mut Scan<'_>,
        done: &mut Done,
        by: Option<&str>,
    ) -> Result<(), BrokerError> {
        let messages = batch.iter().flat_map(|(_, back)| self.with_events(back, by)).collect();
        match self.broker.publish(messages).await {
            Ok(()) => {
                done.done += batch.len() as u64;
                batch.drain(..).for_each(|(delivery, _)| scan.ack(delivery));
                return Ok(());
            }
            // One of them, which is found when each goes alone.
            Err(BrokerError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        while let Some((_, back)) = batch.front() {
            let published = self.broker.publish(self.with_events(back, by)).await;
            let why = match published {
                Ok(()) => None,
                Err(BrokerError::Refused(why)) => Some(format!("the broker will never accept it: {why}")),
                Err(error) => return Err(error),
            };
            let Some((delivery, _)) = batch.pop_front() else { break };
            match why {
                None => {
                    done.done += 1;
                    scan.ack(delivery);
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
