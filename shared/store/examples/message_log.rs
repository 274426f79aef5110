//! Measures the message log: `cargo run --release -p postern-store --example message_log -- PLACE MESSAGES`, with
//! a folder or a `postgres://` URL as the place.
//!
//! Each message has three events: accepted, sent, delivered. They are recorded in batches of 256, each on the disk
//! before the next one; then messages are looked up while nothing is written.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use anyhow::{Context as _, Result};
use postern_shared::{
    clock,
    event::{Content, Direction, Event, EventKind},
    message::MessageId,
    value::Secret,
};
use postern_store::message_log::{Keeping, MessageLog, MessageQuery, PostgresLog, SqliteLog};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const BATCH: usize = 256;
const LOOKED_UP: usize = 2_000;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().context("where? a folder or a postgres:// URL")?;
    let messages: usize = arguments.next().map_or(Ok(100_000), |count| count.parse())?;
    let log: Box<dyn MessageLog> = match place.contains("://") {
        true => Box::new(PostgresLog::new(&Secret::from(place), Keeping::full())?),
        false => Box::new(SqliteLog::open(Path::new(&place), Keeping::full()).await?),
    };
    let mut ids = Vec::with_capacity(messages);
    for (kinds, what) in [
        (&[EventKind::Accepted][..], "accepted"),
        (&[EventKind::Sent, EventKind::Delivered], "sent, delivered"),
    ] {
        let mut times = Vec::new();
        let begun = Instant::now();
        let mut batch = Vec::with_capacity(BATCH);
        for number in 0..messages {
            if kinds.len() == 1 {
                ids.push(MessageId::new());
            }
            for kind in kinds {
                batch.push(event(*kind, ids[number], number)?);
                if batch.len() == BATCH {
                    let start = Instant::now();
                    log.record(&batch).await?;
                    times.push(start.elapsed());
                    batch.clear();
                }
            }
        }
        log.record(&batch).await?;
        let events = messages * kinds.len();
        let rate = events as f64 / begun.elapsed().as_secs_f64();
        println!("{what}: {events} events, {rate:.0}/s; a batch of {BATCH} took {}", percentiles(times));
    }
    let mut times = Vec::new();
    for look in 0..LOOKED_UP {
        let id = ids[look.wrapping_mul(7_919) % ids.len()];
        let start = Instant::now();
        log.message(id).await?.context("a message is missing")?;
        times.push(start.elapsed());
    }
    println!("a message by its id, with its events: {}", percentiles(times));
    let start = Instant::now();
    let query = MessageQuery { identity: Some(person(1).parse()?), ..MessageQuery::default() };
    let found = log.messages(&query).await?.messages.len();
    println!("the {found} messages of one person: {:?}", start.elapsed());
    log.close().await;
    Ok(())
}

fn event(kind: EventKind, id: MessageId, number: usize) -> Result<Event> {
    let event = Event::new(kind, id, "clinic".parse()?);
    let identity = person(number).parse()?;
    Ok(match kind {
        EventKind::Accepted => {
            let content = Content {
                direction: Direction::Outbound,
                identities: vec![identity],
                text: Some(
                    "Your appointment is tomorrow at noon. Answer 1 to keep it, 2 to move it.".to_owned(),
                ),
                segments: Some(1),
                created_at: clock::now(),
                fields: serde_json::Map::new(),
            };
            Event { by: Some("clinic-app".to_owned()), content: Some(content), ..event }
        }
        EventKind::Sent => Event {
            attempt: Some(1),
            external_id: Some(format!("SM{number:032x}")),
            http_status: Some(201),
            duration_ms: Some(84),
            ..event.about(identity)
        },
        _ => event.about(identity),
    })
}

/// One of 50,000 people.
fn person(number: usize) -> String {
    format!("+1555{:07}", number.wrapping_mul(7_907) % 50_000)
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    format!("{:?} at the median, {:?} at the 99th percentile", at(50), at(99))
}
