//! The table: each row has a ratio, what it compares, and whether its target is reached.

use anyhow::{Context, Result};
use std::{fmt::Write as _, path::Path};

/// The target for a ratio, or for a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// No target; the figure is only shown.
    Shown,
}

impl Target {
    fn reached(self, ratio: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(ratio >= least),
            Self::AtMost(most) => Some(ratio <= most),
            Self::Shown => None,
        }
    }
}

/// A row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The name of the measurement.
    pub(crate) what: String,
    /// The unit of both figures.
    pub(crate) unit: &'static str,
    /// Postern's figure.
    pub(crate) ours: f64,
    /// The program that Postern is compared with.
    pub(crate) beside: String,
    /// The figure of that program.
    pub(crate) theirs: f64,
    /// Postern's figure divided by the other one: the median over the rounds, if there are several.
    pub(crate) ratio: f64,
    /// The target.
    pub(crate) target: Target,
}

impl Row {
    /// A row with one pair of figures.
    pub(crate) fn new(
        what: impl Into<String>,
        unit: &'static str,
        ours: f64,
        beside: &str,
        theirs: f64,
    ) -> Self {
        let (what, beside, ratio) = (what.into(), beside.to_owned(), ours / theirs);
        Self { what, unit, ours, beside, theirs, ratio, target: Target::Shown }
    }

    /// A row with the medians of pairs that were measured in turn.
    pub(crate) fn paired(
        what: impl Into<String>,
        unit: &'static str,
        beside: &str,
        pairs: &[(f64, f64)],
    ) -> Self {
        let ours = median(pairs.iter().map(|(ours, _)| *ours));
        let theirs = median(pairs.iter().map(|(_, theirs)| *theirs));
        let ratio = median(pairs.iter().map(|(ours, theirs)| ours / theirs));
        Self { ratio, ..Self::new(what, unit, ours, beside, theirs) }
    }

    /// Sets the row's target.
    pub(crate) fn judged_by(self, target: Target) -> Self {
        Self { target, ..self }
    }

    fn cells(&self) -> [String; 7] {
        let reached = match self.target.reached(self.ratio) {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let target = match self.target {
            Target::AtLeast(least) => format!("≥ {least}"),
            Target::AtMost(most) => format!("≤ {most}"),
            Target::Shown => String::new(),
        };
        [
            self.what.clone(),
            format!("{} {}", figure(self.ours), self.unit),
            self.beside.clone(),
            format!("{} {}", figure(self.theirs), self.unit),
            format!("{:.2}", self.ratio),
            target,
            reached.to_owned(),
        ]
    }
}

/// The median: of an even number of figures, the mean of the two in the middle.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}

/// The figure with at least three digits, and with commas.
fn figure(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => {
            let digits = format!("{figure:.0}");
            let mut text = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index) % 3 == 0 {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

const HEAD: [&str; 7] = ["what", "Postern", "compared with", "there", "ratio", "target", "reached"];

impl Table {
    /// Adds a row, and prints it at once.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{}", row.cells().join(" | "));
        self.rows.push(row);
    }

    /// Adds a note below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        eprintln!("{note}");
        self.notes.push(note);
    }

    /// The table as text for a terminal.
    pub(crate) fn plain(&self) -> String {
        let lines: Vec<[String; 7]> =
            std::iter::once(HEAD.map(str::to_owned)).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "{cell:width$}  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        self.notes.iter().for_each(|note| {
            let _ = writeln!(text, "{note}");
        });
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|{}\n", HEAD.join(" | "), " --- |".repeat(HEAD.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.cells().join(" | "));
        }
        self.notes.iter().for_each(|note| {
            let _ = write!(text, "\n{note}\n");
        });
        text
    }
}

const BEGIN: &str = "<!-- measured: tests/bench/run writes what follows -->";
const END: &str = "<!-- end of what tests/bench/run wrote -->";

/// Replaces the table in `file`, which is between two marks.
///
/// # Errors
/// If the file has no marks or cannot be written.
pub(crate) fn write(file: &Path, about: &str, table: &Table) -> Result<()> {
    let before = std::fs::read_to_string(file)?;
    let missing = || format!("{} has no line {BEGIN} or {END}", file.display());
    let (head, rest) = before.split_once(BEGIN).with_context(missing)?;
    let (_, tail) = rest.split_once(END).with_context(missing)?;
    let text = format!("{head}{BEGIN}\n\n{about}\n\n{}\n{END}{tail}", table.markdown());
    Ok(std::fs::write(file, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_easily() {
        for (number, text) in [(0.5, "0.50"), (12.34, "12.3"), (999.0, "999"), (12_345.6, "12,346")] {
            assert_eq!(figure(number), text);
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        let row = Row::paired("", "", "", &[(10.0, 10.0), (30.0, 10.0), (40.0, 20.0)]);
        assert_eq!((row.ratio, row.ours, row.theirs), (2.0, 30.0, 10.0));
        assert_eq!(median([1.0, 4.0].into_iter()), 2.5);
        assert_eq!(Target::AtMost(1.0).reached(1.1), Some(false));
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        let mut table = Table::default();
        table.add(Row::new("x", "/s", 2.0, "y", 1.0).judged_by(Target::AtLeast(1.5)));
        write(file.path(), "about", &table).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(
            text.starts_with("before\n") && text.ends_with("\nafter\n") && !text.contains("old"),
            "{text}"
        );
        assert!(text.contains("| x | 2.00 /s | y | 1.00 /s | 2.00 | ≥ 1.5 | yes |"), "{text}");
    }
}
