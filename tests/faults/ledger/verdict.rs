//! What came of everything, and what of that nobody can explain.

use super::{
    Book, Dead, Ledger,
    entry::{Entry, Fate},
};
use std::time::{Duration, Instant};

/// So many lost messages are shown whole.
const SHOWN: usize = 5;

/// From the moment before a fault until everything flows again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// What belongs to one strike of a fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Strike {
    /// Accepted while the fault lasted.
    pub(crate) accepted: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) repeated: usize,
    /// The longest time in which nothing was accepted, and in which nothing came out.
    pub(crate) pauses: [Duration; 2],
}

/// What came of all of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) accepted: usize,
    pub(crate) lost: usize,
    /// Ends beyond the first, but for those that a repetition of its sender explains.
    pub(crate) doubled: usize,
    /// Ends beyond the first of messages that their senders repeated since nobody answered them.
    pub(crate) repeated: usize,
    /// The most of both that belong to one strike of the fault.
    pub(crate) at_once: [usize; 2],
    pub(crate) dead: usize,
    /// The longest time in which nothing was accepted, and in which nothing came out.
    pub(crate) pauses: [Duration; 2],
    /// One for each window.
    pub(crate) strikes: Vec<Strike>,
    /// What must not be.
    pub(crate) problems: Vec<String>,
}

impl Ledger {
    /// What came of everything between `begun` and `stopped`, when the load did; `windows` are those
    /// of the faults, `dead` the dead letters.
    pub(crate) fn verdict(
        &self,
        (begun, stopped): (Instant, Instant),
        windows: &[Window],
        dead: &Dead,
        reports: bool,
    ) -> Verdict {
        let lost = self.outstanding(dead, reports);
        let book = self.book();
        let mut verdict = Verdict { dead: dead.values().sum(), lost: lost.len(), ..Verdict::default() };
        verdict.problems = book.strange.clone();
        let shown = lost.iter().take(SHOWN);
        verdict.problems.extend(shown.map(|number| format!("lost: {:?}", book.entries[*number])));
        verdict.problems.extend(book.unexplained(dead));
        verdict.strikes = windows.iter().map(|window| book.strike(*window)).collect();
        for number in lost {
            if let Some(strike) = windows.iter().position(|window| book.entries[number].begun <= window.to) {
                verdict.strikes[strike].lost += 1;
            }
        }
        for (number, entry) in book.entries.iter().enumerate() {
            verdict.accepted += usize::from(entry.accepted);
            let ends = usize::from(entry.ends).max(book.letters(entry, dead));
            let doubles = ends.saturating_sub(1);
            if doubles == 0 {
                continue;
            }
            let repeated = doubles.min(usize::from(entry.tries.saturating_sub(1)));
            verdict.repeated += repeated;
            verdict.doubled += doubles - repeated;
            let lasts = |window: &Window| entry.begun <= window.to && window.from <= entry.last();
            match windows.iter().position(lasts) {
                Some(strike) => {
                    verdict.strikes[strike].doubled += doubles - repeated;
                    verdict.strikes[strike].repeated += repeated;
                }
                None => {
                    verdict.problems.push(format!("message {number} came {ends} times, far from any fault"));
                }
            }
        }
        for Strike { doubled, repeated, .. } in &verdict.strikes {
            verdict.at_once = [verdict.at_once[0].max(*doubled), verdict.at_once[1].max(*repeated)];
        }
        verdict.pauses = book.pauses(begun, stopped);
        verdict
    }
}

impl Book {
    /// The dead letters that should not be.
    fn unexplained<'a>(&'a self, dead: &'a Dead) -> impl Iterator<Item = String> + 'a {
        dead.keys().filter_map(|id| match self.numbers.get(id) {
            Some(number) if Fate::of(*number as usize) == Fate::Refused => None,
            Some(number) => Some(format!("message {number} is dead, and nobody refused it")),
            None => Some(format!("{id} is dead, and nobody posted it")),
        })
    }

    /// How many dead letters a message has become.
    fn letters(&self, entry: &Entry, dead: &Dead) -> usize {
        entry.id.and_then(|id| dead.get(&id).copied()).unwrap_or(0)
    }

    /// What there was of a window, without what was lost or doubled.
    fn strike(&self, Window { from, to }: Window) -> Strike {
        let accepted = self.accepted.partition_point(|moment| *moment <= to)
            - self.accepted.partition_point(|moment| *moment < from);
        Strike { accepted, pauses: self.pauses(from, to), ..Strike::default() }
    }

    /// The longest time in which nothing was accepted, and in which nothing came out.
    fn pauses(&self, begun: Instant, stopped: Instant) -> [Duration; 2] {
        [&self.accepted, &self.ended].map(|moments| longest_pause(moments, begun, stopped))
    }
}

/// `moments` are in order.
pub(super) fn longest_pause(moments: &[Instant], begun: Instant, stopped: Instant) -> Duration {
    let from = moments.partition_point(|moment| *moment < begun);
    let within = moments[from..].iter().copied().take_while(|moment| *moment < stopped);
    let mut last = begun;
    let mut longest = Duration::ZERO;
    for moment in within.chain([stopped]) {
        longest = longest.max(moment.saturating_duration_since(last));
        last = moment;
    }
    longest
}
