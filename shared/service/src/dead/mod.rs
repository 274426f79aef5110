//! Dead letters: looking at them, putting them back, dropping them, on either broker.
//!
//! [`DeadLetters`] goes through a queue by a scan (`scan`). On the embedded broker nothing is taken by that,
//! and a letter and what goes back in its place are swapped in one transaction: nothing is lost or doubled,
//! whenever the process ends. On RabbitMQ the messages are taken and held, and handed back in order; what is to
//! go back to where it died is published first, confirmed, and only then acknowledged: a crash in between
//! doubles it, under the same id, and loses nothing. RabbitMQ counts that a message was looked at; the count
//! means nothing in these queues.
//!
//! `postern dead` and `/v1/dead` of the admin port are two ways to this module. A letter goes back to the
//! queue that it died in (`Address::Queue`, past the exchange that others are bound to). `ids` makes
//! whole the beginnings of ids that people give, by a scan before. A letter without an id is named by a
//! digest of what stays the same of it (`handle`). A list shows of a reason what neither names nor
//! numbers anybody (`reason`). Of a body only the few fields that are needed are read (`fields`), and an
//! unrouted message is taken for one to send only.

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

use crate::scan::{Becomes, Published, Scan, Scans, Seen};
use ids::GivenIds;
use postern_broker::{Address, Broker, BrokerError, Envelope, LogRoute, QueueName, events::redriven};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

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
    /// How many match, also of what somebody else took meanwhile.
    pub matched: u64,
    /// How many are put back, or dropped; in a dry run, would be.
    pub done: u64,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// Those that match and stay.
    pub stay: Vec<Stays>,
}

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

/// The messages that nobody works on, behind a broker.
#[derive(Debug)]
pub struct DeadLetters {
    broker: Arc<dyn Broker>,
    scans: Scans,
    log: LogRoute,
}

impl DeadLetters {
    /// Those of `broker`. What is put back is told to the message log by way of `log`.
    pub fn new(broker: Arc<dyn Broker>, log: LogRoute) -> Self {
        Self { scans: Scans::new(broker.clone()), broker, log }
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
        let filter = &self.with_whole_ids(filter).await?;
        let scan = self.scan(filter).await?;
        let mut listing = Listing { waiting: scan.waiting(), more: false, letters: Vec::new() };
        let look = |envelope: &Envelope| {
            let letter = DeadLetter::new(envelope, filter.queue);
            if filter.passes(&letter) {
                if filter.is_full(listing.letters.len() as u64) {
                    listing.more = true;
                    return ControlFlow::Break(());
                }
                listing.letters.push(of(&letter));
            }
            ControlFlow::Continue(())
        };
        scan.look(look).await?;
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
        let mut queues = HashMap::new();
        let becomes = async |letter: &DeadLetter| {
            Ok(match self.way_back(letter, &mut queues).await? {
                Ok(back) => Becomes::Replaced(letter.name(), self.with_events(back, by)),
                Err(why) => Becomes::Cannot(letter.name(), why),
            })
        };
        self.replace(filter, dry_run, becomes).await
    }

    /// Drops those that `filter` lets pass, for good.
    ///
    /// # Errors
    /// [`DeadLetterError`]; what was dropped until then is.
    pub async fn discard(&self, filter: &Filter, dry_run: bool) -> Result<Done, DeadLetterError> {
        let nothing = async |letter: &DeadLetter| Ok(Becomes::Replaced(letter.name(), Published::new()));
        self.replace(filter, dry_run, nothing).await
    }

    /// Puts in place of each letter that `filter` lets pass what `becomes` says.
    async fn replace(
        &self,
        filter: &Filter,
        dry_run: bool,
        mut becomes: impl AsyncFnMut(&DeadLetter) -> Result<Becomes<String>, BrokerError>,
    ) -> Result<Done, DeadLetterError> {
        let filter = &self.with_whole_ids(filter).await?;
        let scan = self.scan(filter).await?;
        let mut done = Done { waiting: scan.waiting(), dry_run, ..Done::default() };
        let meant = async |seen: &Seen| {
            if filter.is_full(done.matched) {
                return Ok(Becomes::Enough);
            }
            let letter = DeadLetter::new(&seen.envelope, filter.queue);
            if !filter.passes(&letter) {
                return Ok(Becomes::Stays);
            }
            done.matched += 1;
            becomes(&letter).await
        };
        let told = |id: String, outcome: Result<(), String>| match outcome {
            Ok(()) => done.done += 1,
            Err(why) => done.stay.push(Stays { id: Some(id), why }),
        };
        scan.replace(dry_run, meant, told).await?;
        Ok(done)
    }

    /// A scan for those that `filter` lets pass, whose ids are whole.
    async fn scan(&self, filter: &Filter) -> Result<Scan<'_>, BrokerError> {
        // A handle is nothing that a broker knows.
        let named = if filter.id.iter().any(|id| handle::is_handle(id)) { &[] } else { &*filter.id };
        self.scans.begin(filter.queue.queue(), PATIENCE, named).await
    }

    /// `filter` with whole ids in place of their beginnings, which takes a scan of its own.
    async fn with_whole_ids(&self, filter: &Filter) -> Result<Filter, DeadLetterError> {
        let Some(mut given) = GivenIds::with_beginnings(&filter.id) else { return Ok(filter.clone()) };
        let scan = self.scans.begin(filter.queue.queue(), PATIENCE, &[]).await?;
        let look = |envelope: &Envelope| {
            given.look_at(&DeadLetter::new(envelope, filter.queue));
            ControlFlow::Continue(())
        };
        scan.look(look).await?;
        Ok(Filter { id: given.whole()?, ..filter.clone() })
    }

    /// The message as it goes back, or why it cannot.
    async fn way_back(
        &self,
        letter: &DeadLetter,
        queues: &mut HashMap<QueueName, bool>,
    ) -> Result<Result<(Address, Envelope), String>, BrokerError> {
        if let Some(bytes) = letter.cut_from() {
            return Ok(Err(format!("only the beginning of its body of {bytes} bytes was kept")));
        }
        let Some(queue) = letter.queue() else {
            return Ok(Err("it does not name the queue that it came from".to_owned()));
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
    fn with_events(&self, back: (Address, Envelope), by: Option<&str>) -> Published {
        let events = match self.log {
            LogRoute::None => Vec::new(),
            LogRoute::Queue(_) | LogRoute::Store => redriven(&back.0.queue(), &back.1, by),
        };
        let told = events.iter().map(|event| (Address::Log, Envelope::from(event)));
        std::iter::once(back).chain(told).collect()
    }
}
