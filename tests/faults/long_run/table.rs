//! The results of a long run: a row for each fault, one for the whole run, and the message log's part.

use crate::{
    field::Settled,
    ledger::{Audit, Strike, Verdict},
    table::{Allowance, doubles, pauses, write_markdown},
};
use std::{fmt, time::Duration};

/// All strikes of one fault.
#[derive(Debug, Clone)]
pub(super) struct Part {
    fault: &'static str,
    allowed: Allowance,
    windows: &'static [&'static str],
    strikes: usize,
    /// All strikes together; of the pauses, the longest.
    all: Strike,
    /// The most doubled and the most repeated messages of one strike.
    at_once: [usize; 2],
}

impl Part {
    pub(super) fn new<'s>(
        (fault, allowed, windows): (&'static str, Allowance, &'static [&'static str]),
        of_it: impl Iterator<Item = &'s Strike>,
    ) -> Self {
        let (strikes, all, at_once) = (0, Strike::default(), [0; 2]);
        let mut part = Self { fault, allowed, windows, strikes, all, at_once };
        for strike in of_it {
            part.strikes += 1;
            part.all.accepted += strike.accepted;
            part.all.lost += strike.lost;
            part.all.doubled += strike.doubled;
            part.all.repeated += strike.repeated;
            part.at_once = [part.at_once[0].max(strike.doubled), part.at_once[1].max(strike.repeated)];
            for (longest, pause) in part.all.pauses.iter_mut().zip(strike.pauses) {
                *longest = pause.max(*longest);
            }
        }
        part
    }

    fn problems(&self) -> impl Iterator<Item = String> {
        let allowed = [self.allowed.doubled, self.allowed.repeated];
        self.at_once.into_iter().zip(allowed).filter(|(doubles, allowed)| doubles > allowed).map(
            |(doubles, allowed)| {
                format!("{}: {doubles} doubles at once, and {allowed} are allowed", self.fault)
            },
        )
    }

    fn cells(&self) -> [String; 8] {
        let Strike { accepted, lost, doubled, repeated, pauses: longest } = self.all;
        [
            self.fault.to_owned(),
            self.strikes.to_string(),
            accepted.to_string(),
            lost.to_string(),
            doubles(doubled, self.at_once[0], self.allowed.doubled),
            doubles(repeated, self.at_once[1], self.allowed.repeated),
            pauses(longest),
            self.windows.join("; "),
        ]
    }
}

/// The result of a long run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    name: &'static str,
    parts: Vec<Part>,
    verdict: Verdict,
    audit: Audit,
    /// How long the load lasted.
    loaded: Duration,
    /// The memory of the programs and of this process at the end, in MiB.
    pub(super) memory: (Vec<u64>, u64),
    /// Violations.
    problems: Vec<String>,
}

impl Outcome {
    pub(super) fn new(name: &'static str, parts: Vec<Part>, settled: Settled) -> Self {
        let Settled { verdict, audit, loaded, .. } = settled;
        let mut problems = verdict.problems.clone();
        if verdict.lost > 0 {
            problems.push(format!("{} messages are lost", verdict.lost));
        }
        problems.extend(parts.iter().flat_map(Part::problems));
        Self { name, parts, verdict, audit, loaded, problems, ..Self::default() }
    }

    /// The result of a run that could not begin or did not complete.
    pub(crate) fn failed(name: &'static str, why: String) -> Self {
        Self { name, problems: vec![why], ..Self::default() }
    }

    /// Adds a problem if more than one in `messages` messages came twice.
    pub(super) fn doubles_at_most_one_in(&mut self, messages: usize) {
        let Verdict { accepted, doubled, repeated, .. } = self.verdict;
        if (doubled + repeated) * messages > accepted {
            let problem = format!("{} of {accepted} messages came twice", doubled + repeated);
            self.problems.push(problem);
        }
    }

    /// Violations, with the run's name.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.iter().map(|problem| format!("{}: {problem}", self.name)).collect()
    }
}

const HEAD: [&str; 8] = [
    "fault",
    "strikes",
    "accepted meanwhile",
    "lost",
    "doubled (at once)",
    "repeated by senders (at once)",
    "longest pause: accepting / delivering",
    "where it may be doubled",
];

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { accepted, lost, doubled, repeated, dead, pauses: longest, .. } = &self.verdict;
        writeln!(f, "{}:\n", self.name)?;
        let mut rows: Vec<_> = self.parts.iter().map(Part::cells).collect();
        rows.push([
            "all of it".to_owned(),
            self.parts.iter().map(|part| part.strikes).sum::<usize>().to_string(),
            format!("{accepted} in all"),
            lost.to_string(),
            doubled.to_string(),
            repeated.to_string(),
            pauses(*longest),
            String::new(),
        ]);
        write_markdown(f, HEAD, &rows)?;
        let seconds = self.loaded.as_secs_f64().max(1.0);
        let (programs, ours) = &self.memory;
        writeln!(
            f,
            "\n{accepted} messages in {seconds:.0} s, {:.0} a second. {:.3} % came twice, {dead} are dead letters. \
             The message log holds {} messages and differs for {}; {} of them were not confirmed and did not \
             come out. In memory at the end: {programs:?} MiB, and the campaign {ours} MiB.",
            *accepted as f64 / seconds,
            100.0 * (doubled + repeated) as f64 / (*accepted).max(1) as f64,
            self.audit.messages,
            self.audit.differing,
            self.audit.unconfirmed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::long_run::{embedded, rabbitmq};

    #[test]
    fn what_allows_a_double_is_in_the_guarantees() {
        let page = include_str!("../../../docs/guarantees.md");
        let (_, table) = page.split_once("## When a message may come twice").unwrap();
        for window in embedded::windows().chain(rabbitmq::windows()) {
            let known = table.lines().any(|line| line.replace('`', "").starts_with(&format!("| {window}")));
            assert!(known, "no row of docs/guarantees.md begins with {window}");
        }
    }

    #[test]
    fn each_strike_is_held_against_what_it_may_double_and_the_whole_against_one_in_a_thousand() {
        let strike = |doubled| Strike { accepted: 10, doubled, ..Strike::default() };
        let allowed = Allowance { doubled: 3, repeated: 0 };
        let part = |strikes: &[Strike]| Part::new(("a fault", allowed, &[]), strikes.iter());
        let fine = part(&[strike(3), strike(2)]);
        assert_eq!((fine.strikes, fine.all.accepted, fine.all.doubled, fine.at_once), (2, 20, 5, [3, 0]));
        assert_eq!(fine.problems().count(), 0);
        assert_eq!(part(&[strike(4)]).problems().count(), 1);
        let verdict = Verdict { accepted: 1000, doubled: 1, ..Verdict::default() };
        let mut outcome = Outcome { verdict, ..Outcome::default() };
        outcome.doubles_at_most_one_in(1000);
        assert_eq!(outcome.problems, Vec::<String>::new());
        outcome.verdict.repeated = 1;
        outcome.doubles_at_most_one_in(1000);
        assert_eq!(outcome.problems, ["2 of 1000 messages came twice"]);
    }
}
