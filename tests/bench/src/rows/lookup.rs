//! How fast the message log finds one message among many.

use crate::{
    load::paced::Latencies,
    queue::TEXT,
    rig::Bench,
    table::{Row, Table, Target},
};
use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use postern_shared::{
    event::{Content, Direction, Event, EventKind},
    message::{BackendName, Identity, MessageId},
};
use postern_store::message_log::{Keeping, MessageLog, SqliteLog};
use serde_json::Map;
use std::time::Instant;

/// How many messages' events are written in one transaction.
const TOGETHER: u64 = 1_000;
/// The events of each message, and how many seconds after its acceptance each happens.
const EVENTS: [(EventKind, i64); 3] =
    [(EventKind::Accepted, 0), (EventKind::Sent, 1), (EventKind::Delivered, 5)];
/// How many messages are looked up.
const ASKED: u64 = 5_000;
/// The target for a look-up, in milliseconds.
const SOON: f64 = 5.0;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = SqliteLog::open(folder.path(), Keeping::full()).await?;
    let messages = bench.effort.events / EVENTS.len() as u64;
    let (begun, every) = (Instant::now(), (messages / ASKED).max(1));
    let mut asked = Vec::new();
    for first in (0..messages).step_by(usize::try_from(TOGETHER)?) {
        let mut events = Vec::new();
        for number in first..(first + TOGETHER).min(messages) {
            let id = MessageId::new();
            if number % every == 0 {
                asked.push(id);
            }
            events.extend(happened(id, number)?);
        }
        log.record(&events).await?;
    }
    let written = messages * EVENTS.len() as u64;
    let rate = written as f64 / begun.elapsed().as_secs_f64();
    // Opened again, as a process does that has just started.
    log.close().await;
    let log = SqliteLog::open(folder.path(), Keeping::full()).await?;
    let mut times = Vec::new();
    for number in 0..asked.len() {
        // 7919 is a prime, so each is looked up once, and never right after its neighbour.
        let id = asked[number * 7919 % asked.len()];
        let begun = Instant::now();
        let found = log.message(id).await?.with_context(|| format!("{id} is not in the log"))?;
        times.push(begun.elapsed());
        anyhow::ensure!(found.events.len() == EVENTS.len(), "{found:?}");
    }
    log.close().await;
    let times = Latencies::new(times);
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let what = format!("message log in SQLite, look-up by id among {written} events, {name}");
        let row = Row::new(what, "ms", times.at(share), "the limit", SOON);
        table.add(row.judged_by(Target::AtMost(1.0)));
    }
    let megabytes = std::fs::metadata(SqliteLog::file_in(folder.path()))?.len() / 1_000_000;
    table.note(format!("The {written} events were written at {rate:.0} a second, and take {megabytes} MB."));
    Ok(())
}

/// The events of message `number`.
fn happened(id: MessageId, number: u64) -> Result<[Event; EVENTS.len()]> {
    let backend: BackendName = "bench".parse()?;
    // In no order, as real numbers are.
    let identity: Identity = format!("+1555{:07}", number * 7_654_321 % 10_000_000).parse()?;
    let accepted_at: Timestamp = Timestamp::now().round(jiff::Unit::Millisecond)?;
    let external_id = format!("SM{number:032}");
    Ok(EVENTS.map(|(kind, after)| {
        let event = Event::new(kind, id, backend.clone());
        let event = Event { at: accepted_at + SignedDuration::from_secs(after), ..event };
        if kind == EventKind::Accepted {
            let content = Content {
                direction: Direction::Outbound,
                identities: vec![identity.clone()],
                text: Some(TEXT.to_owned()),
                segments: Some(1),
                created_at: accepted_at,
                fields: Map::new(),
            };
            return Event { by: Some("bench".to_owned()), content: Some(content), ..event };
        }
        Event { external_id: Some(external_id.clone()), attempt: Some(1), ..event.about(identity.clone()) }
    }))
}
