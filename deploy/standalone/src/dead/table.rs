//! What `postern dead` prints for people.

use postern_service::{
    dead::{Done, Listing, Summary},
    program::Exit,
};
use postern_shared::terminal::plain;
use serde_json::Value;
use std::fmt::Write as _;

const COLUMNS: [&str; 8] = ["ID", "BACKEND", "CLASS", "CODE", "ATTEMPTS", "AT", "RECIPIENTS", "REASON"];

/// The dead letters as a table.
pub(super) fn list(listing: &Listing<Summary>) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(listing.letters.iter().map(row));
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let _ = writeln!(text, "{} of {} waiting messages shown", listing.letters.len(), listing.waiting);
    if listing.more {
        let _ = writeln!(text, "there are more: use --limit NUMBER");
    }
    text
}

fn row(letter: &Summary) -> [String; 8] {
    let text = |value: &Option<String>| value.as_ref().map_or_else(|| "-".to_owned(), |text| plain(text));
    let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |number| number.to_string());
    [
        letter.id.as_deref().map_or_else(|| letter.handle.clone(), plain),
        text(&letter.backend),
        text(&letter.class),
        text(&letter.code),
        number(letter.attempts),
        text(&letter.at),
        number(letter.recipients.and_then(|number| i64::try_from(number).ok())),
        reason(letter),
    ]
}

/// The reason without the code, which has a column of its own.
fn reason(letter: &Summary) -> String {
    let reason = letter.reason.as_deref().unwrap_or_default();
    let code = letter.code.as_deref().unwrap_or_default();
    let rest = reason.strip_prefix(code).map_or(reason, |rest| rest.trim_start_matches(": "));
    if rest.is_empty() { "-".to_owned() } else { plain(rest) }
}

/// Each message in full, as JSON.
pub(super) fn show(listing: &Listing<Value>) -> Result<String, Exit> {
    let mut text = String::new();
    for letter in &listing.letters {
        text += &super::json(letter)?;
    }
    Ok(text)
}

/// What was done, and which messages were left in the queue.
pub(super) fn done(done: &Done, what: &str) -> String {
    let would = if done.dry_run { "would be " } else { "" };
    let mut text = format!("{} of {} waiting messages {would}{what}\n", done.done, done.waiting);
    for stays in &done.stay {
        let id = stays.id.as_deref().map_or_else(|| "a message without an id".to_owned(), plain);
        let _ = writeln!(text, "left in the queue: {id}: {}", plain(&stays.why));
    }
    text
}
