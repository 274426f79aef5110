//! Dead letters: lists them, redrives them and drops them, on either broker.
//!
//! [`DeadLetters`] goes through a queue with a scan (`scan`). On the embedded broker, a scan takes nothing,
//! and a letter is replaced by the redriven message in one transaction: nothing is lost or duplicated,
//! whenever the process ends. On RabbitMQ, the messages are taken and held, and then requeued in order. A
//! redriven message is published to its old queue first, confirmed, and only then acknowledged: a crash in
//! between duplicates it, under the same id, and loses nothing. RabbitMQ counts these deliveries; the count
//! means nothing in these queues.
//!
//! `postern dead` and `/v1/dead` of the admin port are two ways to this module. A letter is redriven to the
//! queue that it was dead-lettered from (`Address::Queue`, without the exchange, to which other queues are
//! bound). If people give only the beginnings of ids, `ids` completes them with a scan of its own. A letter
//! without an id is named by a digest of its parts that do not change (`handle`). A list shows reasons
//! without people's names and numbers (`reason`). Only the few fields that are needed are read from a body
//! (`fields`), and an unrouted message is only ever read as an outbound one.

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

/// How long a message that was counted may take to arrive. After that, another consumer has it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The messages that were found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Listing<T> {
    /// How many messages were in the queue.
    pub waiting: u64,
    /// Whether the limit was reached, so that more messages may match.
    pub more: bool,
    /// The messages that match, in the queue's order.
    pub letters: Vec<T>,
}

/// What was redriven or dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many messages were in the queue.
    pub waiting: u64,
    /// How many match, including those that another consumer took in the meantime.
    pub matched: u64,
    /// How many were redriven or dropped; in a dry run, would be.
    pub done: u64,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The messages that match but stay in the queue.
    pub stay: Vec<Stays>,
}

/// Why nothing was done, or only a part.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The broker's error.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// An id of the filter is the beginning of several ids. Nothing was done.
    #[error(transparent)]
    Ambiguous(#[from] AmbiguousId),
}

/// A message that must stay in its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stays {
    /// The message's id, or its handle if it has no id.
    pub id: Option<String>,
    /// Why it stays.
    pub why: String,
}

/// The dead letters and the unrouted messages on a broker.
#[derive(Debug)]
pub struct DeadLetters {
    broker: Arc<dyn Broker>,
    scans: Scans,
    log: LogRoute,
}

impl DeadLetters {
    /// The dead letters on `broker`. Redrives are reported to the message log by way of `log`.
    pub fn new(broker: Arc<dyn Broker>, log: LogRoute) -> Self {
        Self { scans: Scans::new(broker.clone()), broker, log }
    }

    /// The letters that `filter` selects, each converted by `of`. The queue stays unchanged.
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

    /// Redrives the letters that `filter` selects to the queues that they were dead-lettered from: the same
    /// message with the same id, its attempts counted from the first. The message log records that `by` did
    /// it.
    ///
    /// # Errors
    /// [`DeadLetterError`]. Messages that were redriven before the error stay redriven.
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

    /// Permanently drops the letters that `filter` selects.
    ///
    /// # Errors
    /// [`DeadLetterError`]. Messages that were dropped before the error are gone.
    pub async fn discard(&self, filter: &Filter, dry_run: bool) -> Result<Done, DeadLetterError> {
        let nothing = async |letter: &DeadLetter| Ok(Becomes::Replaced(letter.name(), Published::new()));
        self.replace(filter, dry_run, nothing).await
    }

    /// Replaces each letter that `filter` selects by what `becomes` returns for it.
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

    /// A scan for the letters that `filter` selects; its ids must be whole.
    async fn scan(&self, filter: &Filter) -> Result<Scan<'_>, BrokerError> {
        // A broker cannot look for handles.
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

    /// The message to publish for a redrive, or why it cannot be redriven.
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
            return Ok(Err(format!(
                "there is no queue {queue}: configure its backend, or drop the message with `postern dead drop`"
            )));
        }
        Ok(Ok((Address::Queue(queue), letter.afresh())))
    }

    /// A redriven message, followed by the events for the message log.
    fn with_events(&self, back: (Address, Envelope), by: Option<&str>) -> Published {
        let events = match self.log {
            LogRoute::None => Vec::new(),
            LogRoute::Queue(_) | LogRoute::Store => redriven(&back.0.queue(), &back.1, by),
        };
        let told = events.iter().map(|event| (Address::Log, Envelope::from(event)));
        std::iter::once(back).chain(told).collect()
    }
}
