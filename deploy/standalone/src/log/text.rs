//! What `postern log` prints for people.

use crate::greeting::count;
use postern_service::message_log::{LoggedMessage, LoggedState};
use postern_shared::{
    clock::Written,
    event::{Direction, Event},
    terminal::plain,
};
use serde_json::Value;
use std::fmt::Write as _;

/// How many characters of a text a table shows.
const TEXT: usize = 60;

/// A table of `messages`, with numbers and texts if `show` is set. `more`: the log has further messages.
pub(super) fn list(messages: &[LoggedMessage], show: bool, more: bool) -> String {
    let mut head = vec!["ID", "CREATED", "DIRECTION", "BACKEND", "RECIPIENTS", "STATE"];
    if show {
        head.extend(["IDENTITY", "TEXT"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(messages.iter().map(|message| row(message, show)));
    let mut text = table(&rows);
    if messages.is_empty() {
        text = "no messages\n".to_owned();
    }
    if more {
        text += "there are more: use --limit NUMBER\n";
    }
    text
}

fn row(message: &LoggedMessage, show: bool) -> Vec<String> {
    let mut row = vec![
        message.id.to_string(),
        Written(message.created_at).to_string(),
        direction(message).to_owned(),
        message.backend.to_string(),
        message.recipients.len().to_string(),
        states(message),
    ];
    if show {
        let identity = message.recipients.first().map(|first| plain(&first.identity));
        let others = message.recipients.len().saturating_sub(1);
        let others = if others > 0 { format!(" and {others} others") } else { String::new() };
        row.push(identity.map_or_else(|| "-".to_owned(), |identity| identity + &others));
        row.push(message.text.as_deref().map_or_else(|| "-".to_owned(), cut));
    }
    row
}

fn direction(message: &LoggedMessage) -> &'static str {
    match message.direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

/// The state that all recipients have, or how many recipients are in each state.
fn states(message: &LoggedMessage) -> String {
    let count = |state| message.recipients.iter().filter(|recipient| recipient.state == state).count();
    let counted = LoggedState::ALL.map(|state| (state.as_str(), count(state)));
    let there: Vec<_> = counted.into_iter().filter(|(_, count)| *count > 0).collect();
    match there.as_slice() {
        [] => "-".to_owned(),
        [(state, _)] => (*state).to_owned(),
        several => {
            several.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The beginning of a text, on one line.
fn cut(text: &str) -> String {
    let beginning: String = text.chars().take(TEXT).map(|c| if c == '\n' { ' ' } else { c }).collect();
    let rest = if text.chars().nth(TEXT).is_some() { "…" } else { "" };
    plain(&beginning) + rest
}

/// A message of a list, without people's numbers and what was written.
pub(super) fn without_people(mut message: Value) -> Value {
    if let Some(message) = message.as_object_mut() {
        message.shift_remove("text");
        message.shift_remove("fields");
    }
    for recipient in message["recipients"].as_array_mut().into_iter().flatten() {
        if let Some(recipient) = recipient.as_object_mut() {
            recipient.shift_remove("identity");
        }
    }
    message
}

/// A message with its recipients and what happened to it.
pub(super) fn history(message: &LoggedMessage) -> String {
    let LoggedMessage { id, backend, text, fields, created_at, segments, .. } = message;
    let mut shown = format!("{id}\n{} through {backend}, {}", direction(message), Written(*created_at));
    if let Some(segments) = segments {
        let _ = write!(shown, ", {}", count(*segments, "short message"));
    }
    shown += "\n\n";
    match text {
        Some(text) if text.is_empty() => shown += "    (no text)\n",
        Some(text) => text.lines().for_each(|line| {
            let _ = writeln!(shown, "    {}", plain(line));
        }),
        None => shown += "    (the log holds no text of this message)\n",
    }
    if !fields.is_empty() {
        let fields = Value::Object(fields.clone()).to_string();
        let _ = write!(shown, "\nfields: {}\n", plain(&fields));
    }
    let recipients = message.recipients.iter().map(|recipient| {
        let external_id = recipient.external_id.as_deref().map_or_else(|| "-".to_owned(), plain);
        vec![plain(&recipient.identity), recipient.state.as_str().to_owned(), external_id]
    });
    let head = ["IDENTITY", "STATE", "PROVIDER'S ID"].map(str::to_owned).to_vec();
    let _ = write!(shown, "\n{}", table(&std::iter::once(head).chain(recipients).collect::<Vec<_>>()));
    let head = ["AT", "EVENT", "IDENTITY", "BY", "ATTEMPT", "CODE", "DURATION", "DETAIL"].map(str::to_owned);
    let events = std::iter::once(head.to_vec()).chain(message.events.iter().map(event));
    let _ = write!(shown, "\n{}", table(&events.collect::<Vec<_>>()));
    shown
}

fn event(event: &Event) -> Vec<String> {
    let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), plain);
    let status = event.http_status.map(|status| format!("HTTP {status}"));
    let class = event.class.map(|class| class.as_str());
    let failure =
        class.map(|class| event.code.as_deref().map_or(class.to_owned(), |code| format!("{class}, {code}")));
    let code = failure.as_deref().or(event.code.as_deref()).or(status.as_deref());
    vec![
        Written(event.at).to_string(),
        event.event.as_str().to_owned(),
        text(event.identity.as_ref().map(|identity| identity.as_str())),
        text(event.by.as_deref()),
        event.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string()),
        text(code),
        event.duration_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
        text(event.detail.as_deref()),
    ]
}

/// The rows as aligned columns; the first row is the head.
fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}
