//! What became of all messages, and what nobody can explain.

use super::{
    Book, Dead, Ledger,
    entry::{Entry, Fate},
};
use std::time::{Duration, Instant};

/// How many lost messages are shown in full.
const SHOWN: usize = 5;

/// The time from the moment before a fault until everything flows again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// The effects of one strike of a fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Strike {
    /// Messages accepted while the fault lasted.
    pub(crate) accepted: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) repeated: usize,
    /// The longest time without an accepted message, and without a delivered one.
    pub(crate) pauses: [Duration; 2],
}

/// The result for all messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) accepted: usize,
    pub(crate) lost: usize,
    /// Messages that came out again without a repetition by their sender.
    pub(crate) doubled: usize,
    /// Messages that came out again because their senders got no answer and repeated them.
    pub(crate) repeated: usize,
    /// The most doubled and the most repeated messages of one strike.
    pub(crate) at_once: [usize; 2],
    pub(crate) dead: usize,
    /// The longest time without an accepted message, and without a delivered one.
    pub(crate) pauses: [Duration; 2],
    /// The effects of each window's strike.
    pub(crate) strikes: Vec<Strike>,
    /// Violations.
    pub(crate) problems: Vec<String>,
}

impl Ledger {
    /// The result for everything between `begun` and `stopped`, when the load was stopped. `windows` are those
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
    /// The dead letters that should not exist.
    fn unexplained<'a>(&'a self, dead: &'a Dead) -> impl Iterator<Item = String> + 'a {
        dead.keys().filter_map(|id| match self.numbers.get(id) {
            Some(number) if Fate::of(*number as usize) == Fate::Refused => None,
            Some(number) => Some(format!("message {number} is dead, and nobody refused it")),
            None => Some(format!("{id} is dead, and nobody posted it")),
        })
    }

    /// How many dead letters a message has.
    fn letters(&self, entry: &Entry, dead: &Dead) -> usize {
        entry.id.and_then(|id| dead.get(&id).copied()).unwrap_or(0)
    }

    /// The accepted messages and the pauses in a window; lost and doubled messages are not counted yet.
    fn strike(&self, Window { from, to }: Window) -> Strike {
        let accepted = self.accepted.partition_point(|moment| *moment <= to)
            - self.accepted.partition_point(|moment| *moment < from);
        Strike { accepted, pauses: self.pauses(from, to), ..Strike::default() }
    }

    /// The longest time without an accepted message, and without a delivered one.
    fn pauses(&self, begun: Instant, stopped: Instant) -> [Duration; 2] {
        [&self.accepted, &self.ended].map(|moments| longest_pause(moments, begun, stopped))
    }
}

/// The longest pause in `moments`, which are in order.
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
