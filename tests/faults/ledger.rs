//! The ledger: what was accepted, and what became of it.
//!
//! - `entry`: one message; `verdict`: what became of all of them, and what nobody can explain
//! - `logged`: the comparison with the message log

mod entry;
mod logged;
mod verdict;

use entry::Entry;
pub(crate) use entry::{Fate, Way};
pub(crate) use logged::{Audit, Logged};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;
pub(crate) use verdict::{Strike, Verdict, Window};

/// The ids of dead letters, and how many dead letters have each.
pub(crate) type Dead = HashMap<Uuid, usize>;

#[derive(Debug, Default)]
struct Book {
    entries: Vec<Entry>,
    /// The numbers of messages by their ids.
    numbers: HashMap<Uuid, u32>,
    counts: Counts,
    accepted: Vec<Instant>,
    /// How long the answer to each message in `accepted` took.
    answers: Vec<Duration>,
    ended: Vec<Instant>,
    strange: Vec<String>,
}

/// How many messages and answers of each kind there are so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: [usize; 2],
    pub(crate) ended: [usize; 2],
    /// Accepted and not yet ended.
    pub(crate) waiting: [usize; 2],
    /// Submitted, accepted and not yet reported.
    pub(crate) unreported: usize,
    /// Answers with status 503.
    pub(crate) refusals: usize,
    /// Requests that got no answer.
    pub(crate) unanswered: usize,
}

/// The events of a span of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Span {
    /// How long the answer to each accepted message took.
    pub(crate) answers: Vec<Duration>,
    /// How many messages came out.
    pub(crate) ended: usize,
}

/// The ledger of one scenario. A number identifies a message in it.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

impl Ledger {
    /// Begins messages that are about to be posted in one request, and returns their numbers.
    pub(crate) fn begin(&self, way: Way, messages: usize) -> Vec<usize> {
        let mut book = self.book();
        let request = book.entries.len();
        let first = u32::try_from(request).expect("a ledger of less than four billion messages");
        book.entries.extend((0..messages).map(|_| Entry::new(way, first)));
        (request..request + messages).collect()
    }

    /// Records that the message is posted once more.
    pub(crate) fn tries(&self, number: usize) {
        let entry = &mut self.book().entries[number];
        entry.tries = entry.tries.saturating_add(1);
        entry.tried = Instant::now();
    }

    /// Records that the message was answered with `status`, or not at all; `id` is the id in the answer.
    pub(crate) fn answered(&self, number: usize, status: Option<u16>, id: Option<&str>) {
        let mut book = self.book();
        match status {
            Some(200..=299) => {
                let now = Instant::now();
                let entry = &mut book.entries[number];
                let (way, known) = (entry.way, std::mem::replace(&mut entry.accepted, true));
                let (waits, took) = (!known && entry.ends == 0, now.duration_since(entry.tried));
                let unreported = !known && way == Way::Submitted && entry.reports == 0;
                book.counts.accepted[way as usize] += usize::from(!known);
                book.counts.waiting[way as usize] += usize::from(waits);
                book.counts.unreported += usize::from(unreported);
                book.accepted.push(now);
                book.answers.push(took);
                book.seen(number, id);
            }
            Some(503) => book.counts.refusals += 1,
            None => book.counts.unanswered += 1,
            Some(status) => book.strange.push(format!("message {number} was answered {status}")),
        }
    }

    /// Records that the message came out, and returns the status to answer with.
    pub(crate) fn arrived(&self, number: usize, id: Option<&str>) -> u16 {
        let mut book = self.book();
        let now = Instant::now();
        let Some(entry) = book.entries.get_mut(number) else {
            book.strange.push(format!("nobody posted the message {number} that arrived"));
            return 200;
        };
        let fate = Fate::of(number);
        if fate == Fate::PutOff && !entry.put_off {
            entry.put_off = true;
            book.seen(number, id);
            return 503;
        }
        book.ends(number, now);
        book.ended.push(now);
        book.seen(number, id);
        if fate == Fate::Refused { 400 } else { 200 }
    }

    /// Records a final report on the message with that id.
    pub(crate) fn reported(&self, id: &str) {
        let mut book = self.book();
        match book.number(id) {
            Some(number) => book.reports(number),
            None => book.strange.push(format!("a report on a message {id} that nobody knows")),
        }
    }

    /// Records a report that the message with that id was cancelled, which ends it. If a message was stored
    /// although its sender got no answer, its id is unknown.
    pub(crate) fn cancelled(&self, id: &str) {
        let mut book = self.book();
        if let Some(number) = book.number(id) {
            book.entries[number].cancelled = true;
            book.reports(number);
            book.ends(number, Instant::now());
        }
    }

    /// The number of cancelled messages.
    pub(crate) fn cancellations(&self) -> usize {
        self.book().entries.iter().filter(|entry| entry.cancelled).count()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.book().counts
    }

    /// What happened from `from` until `until`.
    pub(crate) fn between(&self, from: Instant, until: Instant) -> Span {
        let book = self.book();
        let within = |moment: &Instant| (from..until).contains(moment);
        let answers = book.accepted.iter().zip(&book.answers).filter(|(moment, _)| within(moment));
        Span {
            answers: answers.map(|(_, took)| *took).collect(),
            ended: book.ended.iter().filter(|moment| within(moment)).count(),
        }
    }

    /// Whether something has come out within the last `within`.
    pub(crate) fn flows(&self, within: Duration) -> bool {
        self.book().ended.last().is_some_and(|last| last.elapsed() < within)
    }

    /// Whether a message of this way that was begun after `mark` has come out.
    pub(crate) fn arrived_since(&self, mark: Instant, way: Way) -> bool {
        self.book().begun_since(mark).any(|entry| entry.way == way && entry.ends > 0)
    }

    /// Whether a message that was begun after `mark` was put off and then came out.
    pub(crate) fn retried_since(&self, mark: Instant) -> bool {
        self.book().begun_since(mark).any(|entry| entry.put_off && entry.ends > 0)
    }

    /// The accepted messages that have not come out, lack a report that they should have, or were refused and
    /// are not among `dead`.
    pub(crate) fn outstanding(&self, dead: &Dead, reports: bool) -> Vec<usize> {
        let book = self.book();
        let open = book.entries.iter().enumerate().filter(|(number, entry)| {
            let unreported = reports && entry.way == Way::Submitted && entry.reports == 0;
            let unburied = !entry.cancelled
                && Fate::of(*number) == Fate::Refused
                && entry.id.is_none_or(|id| !dead.contains_key(&id));
            entry.accepted && (entry.ends == 0 || unreported || unburied)
        });
        open.map(|(number, _)| number).collect()
    }

    /// The requests of which some messages have come out and others have not. There are none if a request is
    /// always stored as a whole.
    pub(crate) fn torn_requests(&self) -> Vec<String> {
        let book = self.book();
        let torn = book.entries.chunk_by(|one, next| one.request == next.request).filter_map(|messages| {
            let ended = messages.iter().filter(|entry| entry.ends > 0).count();
            let (number, all) = (messages[0].request, messages.len());
            (0 < ended && ended < all)
                .then(|| format!("{ended} of {all} messages of one request came out, from {number} on"))
        });
        torn.collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn begun_since(&self, mark: Instant) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().take_while(move |entry| entry.begun > mark)
    }

    fn number(&self, id: &str) -> Option<usize> {
        let id = id.parse().ok()?;
        self.numbers.get(&id).map(|number| *number as usize)
    }

    /// Records that the message's end took or refused it.
    fn ends(&mut self, number: usize, now: Instant) {
        let entry = &mut self.entries[number];
        let first = entry.ends == 0;
        self.counts.ended[entry.way as usize] += usize::from(first);
        self.counts.waiting[entry.way as usize] -= usize::from(first && entry.accepted);
        entry.ends = entry.ends.saturating_add(1);
        entry.ended = Some(now);
    }

    /// Records a report on the message.
    fn reports(&mut self, number: usize) {
        let entry = &mut self.entries[number];
        let first = entry.reports == 0;
        self.counts.unreported -= usize::from(first && entry.accepted && entry.way == Way::Submitted);
        entry.reports = entry.reports.saturating_add(1);
    }

    fn seen(&mut self, number: usize, id: Option<&str>) {
        let Some(told) = id else { return };
        let Ok(id) = told.parse() else {
            return self.strange.push(format!("message {number} has the id {told}, which is no UUID"));
        };
        match self.entries[number].id {
            None => {
                self.entries[number].id = Some(id);
                self.numbers.insert(id, u32::try_from(number).expect("as many as were begun"));
            }
            Some(known) if known == id => {}
            Some(known) => self.strange.push(format!("message {number} has several ids: {known}, {id}")),
        }
    }
}

#[cfg(test)]
mod tests;
