//! The table: a row for each fault.

use crate::{
    hostile::measure::{Beside, Measured},
    ledger::Verdict,
};
use std::{fmt, time::Duration};

/// How many doubles docs/guarantees.md allows for each strike of a fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowance {
    /// Doubles by Postern itself.
    pub(crate) doubled: usize,
    /// Repetitions by senders that got no answer.
    pub(crate) repeated: usize,
}

impl Allowance {
    /// Nothing may come twice.
    pub(crate) const NONE: Self = Self { doubled: 0, repeated: 0 };
}

/// How long two programs may take to drain after an attack: less than the deadline of one.
const DRAINS: Duration = Duration::from_secs(15);

/// The result of one fault.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    fault: &'static str,
    times: usize,
    verdict: Verdict,
    /// The doubled and the repeated messages allowed for each strike.
    allowed: [usize; 2],
    /// How long the programs took to drain, one after the other.
    pub(crate) drained: Duration,
    /// What the load's clients noticed of an attack.
    beside: Option<Beside>,
    /// Why it was not run.
    skipped: Option<String>,
    /// Violations.
    pub(crate) problems: Vec<String>,
}

impl Row {
    pub(crate) fn new(fault: &'static str, times: usize, verdict: &Verdict, allowance: Allowance) -> Self {
        let allowed = [allowance.doubled, allowance.repeated];
        let mut problems = verdict.problems.clone();
        if verdict.lost > 0 {
            problems.push(format!("{} messages are lost", verdict.lost));
        }
        for (doubles, allowed) in verdict.at_once.into_iter().zip(allowed) {
            if doubles > allowed {
                problems.push(format!("{doubles} doubles at once, and {allowed} are allowed"));
            }
        }
        if times == 0 {
            problems.push("the fault never struck".to_owned());
        }
        Self { fault, times, verdict: verdict.clone(), allowed, problems, ..Self::default() }
    }

    /// The row of a fault that could not be run here.
    pub(crate) fn skipped(fault: &'static str, why: String) -> Self {
        Self { fault, skipped: Some(why), ..Self::default() }
    }

    /// The row of a scenario that did not complete.
    pub(crate) fn failed(fault: &'static str, why: String) -> Self {
        Self { fault, problems: vec![why], ..Self::default() }
    }

    /// Adds the measurements of an attack.
    pub(crate) fn beside(mut self, beside: Beside) -> Self {
        self.problems.extend(beside.problems());
        if self.drained > DRAINS {
            self.problems.push(format!("{:.0} s to drain", self.drained.as_secs_f64()));
        }
        self.beside = Some(beside);
        self
    }

    fn add(&mut self, other: &Self) {
        self.times += other.times;
        let (ours, theirs) = (&mut self.verdict, &other.verdict);
        ours.accepted += theirs.accepted;
        ours.lost += theirs.lost;
        ours.doubled += theirs.doubled;
        ours.repeated += theirs.repeated;
        ours.dead += theirs.dead;
        for side in 0..2 {
            ours.pauses[side] = ours.pauses[side].max(theirs.pauses[side]);
            ours.at_once[side] = ours.at_once[side].max(theirs.at_once[side]);
            self.allowed[side] = self.allowed[side].max(other.allowed[side]);
        }
        self.beside = other.beside.clone().or_else(|| self.beside.take());
        self.skipped = self.skipped.take().or_else(|| other.skipped.clone());
        self.problems.extend(other.problems.iter().cloned());
    }

    fn cells(&self) -> [String; 8] {
        let Verdict { accepted, lost, doubled, repeated, at_once, dead, pauses: longest, .. } = &self.verdict;
        let fault = self.fault.to_owned();
        if let Some(why) = &self.skipped {
            let none = String::new;
            return [fault, format!("not run: {why}"), none(), none(), none(), none(), none(), none()];
        }
        [
            fault,
            self.times.to_string(),
            accepted.to_string(),
            lost.to_string(),
            doubles(*doubled, at_once[0], self.allowed[0]),
            doubles(*repeated, at_once[1], self.allowed[1]),
            dead.to_string(),
            pauses(*longest),
        ]
    }
}

impl Row {
    /// The cells with what the load's clients noticed of an attack; `None` for a fault.
    fn cells_beside(&self) -> Option<[String; 8]> {
        let beside = self.beside.as_ref()?;
        let both = |of: fn(&Measured) -> String| format!("{}, {}", of(&beside.without), of(&beside.with));
        Some([
            self.fault.to_owned(),
            both(|it| format!("{:.1}", it.accepted)),
            both(|it| format!("{:.1}", it.delivered)),
            format!("{:.0} %", 100.0 * beside.rate()),
            both(|it| format!("{:.1} ms", 1000.0 * it.p99.as_secs_f64())),
            format!("{:.1}", beside.p99()),
            both(|it| format!("{:.0} MiB", it.memory)),
            both(|it| format!("{:.2}", it.cores)),
        ])
    }
}

/// The longest pauses in accepting and in delivering.
pub(crate) fn pauses([accepting, delivering]: [Duration; 2]) -> String {
    format!("{:.1} s / {:.1} s", accepting.as_secs_f64(), delivering.as_secs_f64())
}

/// The number of doubles, the most at once, and how many at once are allowed.
pub(crate) fn doubles(all: usize, at_once: usize, allowed: usize) -> String {
    if all == 0 { "0".to_owned() } else { format!("{all} ({at_once} ≤ {allowed})") }
}

/// All rows, one for each fault, in the order in which the faults first ended.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        match self.rows.iter_mut().find(|known| known.fault == row.fault) {
            Some(known) => known.add(&row),
            None => self.rows.push(row),
        }
    }

    /// Sorts the rows in the order of `faults`.
    pub(crate) fn sort(&mut self, faults: &[&str]) {
        self.rows.sort_by_key(|row| faults.iter().position(|fault| *fault == row.fault));
    }

    /// All violations, each with its fault.
    pub(crate) fn problems(&self) -> Vec<String> {
        let of = |row: &Row| row.problems.iter().map(|problem| format!("{}: {problem}", row.fault)).collect();
        self.rows.iter().flat_map(|row| -> Vec<String> { of(row) }).collect()
    }
}

const HEAD: [&str; 8] = [
    "fault",
    "times",
    "accepted",
    "lost",
    "doubled (at once)",
    "repeated by senders (at once)",
    "dead letters",
    "longest pause: accepting / delivering",
];

const HEAD_BESIDE: [&str; 8] = [
    "attack",
    "accepted a second: without, with",
    "delivered a second: without, with",
    "rate left",
    "p99 of the answers: without, with",
    "times",
    "memory of both programs: without, with",
    "cores: without, with",
];

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_markdown(f, HEAD, &self.rows.iter().map(Row::cells).collect::<Vec<_>>())?;
        let attacks: Vec<_> = self.rows.iter().filter_map(Row::cells_beside).collect();
        if attacks.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        write_markdown(f, HEAD_BESIDE, &attacks)
    }
}

/// Writes a table as Markdown, with columns aligned for a terminal.
pub(crate) fn write_markdown(
    f: &mut fmt::Formatter<'_>,
    head: [&str; 8],
    rows: &[[String; 8]],
) -> fmt::Result {
    let head = head.map(str::to_owned);
    let mut widths = [3; 8];
    for row in [&head].into_iter().chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let dashes = widths.map(|width| "-".repeat(width));
    for row in [&head, &dashes].into_iter().chain(rows) {
        for (cell, width) in row.iter().zip(widths) {
            write!(f, "| {cell:width$} ")?;
        }
        writeln!(f, "|")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(doubled: usize, lost: usize) -> Verdict {
        let pauses = [Duration::from_millis(1500), Duration::from_secs(3)];
        Verdict { accepted: 100, doubled, at_once: [doubled, 0], lost, pauses, ..Verdict::default() }
    }

    #[test]
    fn doubles_beyond_what_is_allowed_and_losses_are_problems() {
        let allowance = Allowance { doubled: 3, repeated: 0 };
        assert!(Row::new("a", 2, &verdict(3, 0), allowance).problems.is_empty());
        let many = Row::new("a", 2, &verdict(4, 0), allowance);
        assert_eq!(many.problems, ["4 doubles at once, and 3 are allowed"]);
        assert_eq!(Row::new("a", 1, &verdict(0, 1), allowance).problems.len(), 1);
        assert_eq!(Row::new("a", 0, &verdict(0, 0), allowance).problems.len(), 1);
    }

    #[test]
    fn rows_of_one_fault_are_added_up() {
        let mut table = Table::default();
        let allowance = Allowance { doubled: 3, repeated: 0 };
        table.add(Row::skipped("b", "mount: not permitted".to_owned()));
        for doubled in [1, 2] {
            table.add(Row::new("a", 1, &verdict(doubled, 0), allowance));
        }
        table.sort(&["a", "b"]);
        let text = table.to_string();
        let row: Vec<_> = text.lines().nth(2).unwrap().split('|').map(str::trim).collect();
        assert_eq!(row[1..9], ["a", "2", "200", "0", "3 (2 ≤ 3)", "0", "0", "1.5 s / 3.0 s"]);
        assert!(text.lines().nth(3).unwrap().contains("not run: mount: not permitted"), "{text}");
        assert_eq!(table.problems(), Vec::<String>::new());
        assert!(!text.contains("memory"), "{text}");
        let beside = Beside { span: Duration::from_secs(60), ..Beside::default() };
        table.add(Row::new("attack", 1, &verdict(0, 0), allowance).beside(beside));
        assert!(table.to_string().contains("| attack | 0.0, 0.0"), "{table}");
        assert_eq!(table.problems(), ["attack: 0 % of the rate is left"]);
        table = Table::default();
        table.add(Row::failed("b", "it broke".to_owned()));
        assert_eq!(table.problems(), ["b: it broke"]);
    }
}
