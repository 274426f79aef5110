//! Bytes allocated for a message, counted by the allocator. A run of few messages is subtracted from a run of
//! many, so that the start does not count. Here the gateway does the work of both halves, with RabbitMQ.

use super::accept::form;
use crate::{
    floor::OUTBOUND,
    load::{Request, wrk},
    rig::{Bench, Room},
    table::{Row, Table},
};
use anyhow::{Context, Result};
use postern_tests::Launch;
use std::time::Duration;

const COUNTED: &str = "postern-counted";

/// The bytes allocated, and for how many messages.
struct Counted {
    bytes: f64,
    pieces: f64,
    messages: f64,
}

impl Counted {
    fn new(told: &str, messages: f64) -> Result<Self> {
        let line = told.lines().rev().find_map(|line| line.strip_prefix("@ "));
        let (bytes, pieces) = line.and_then(|line| line.split_once(' ')).with_context(|| told.to_owned())?;
        Ok(Self { bytes: bytes.parse()?, pieces: pieces.parse()?, messages })
    }

    fn each(many: &Self, few: &Self) -> (f64, f64) {
        let messages = many.messages - few.messages;
        ((many.bytes - few.bytes) / messages, (many.pieces - few.pieces) / messages)
    }
}

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let config = format!(
        "[dispatcher]\nbackends = [\"quiet\"]\n{}[backends.quiet]\ntype = \"console\"\n",
        bench.backends(1, 64)
    );
    let launch = Launch::program(COUNTED).config(&room.vhost.config(&config)).unread_log();
    let mut here = Vec::new();
    let mut there = Vec::new();
    for load in [Duration::ZERO, bench.effort.load.min(Duration::from_secs(3))] {
        let gateway = launch.start().await;
        let answers = posted(&form(&gateway.url(), "/backends/bench"), load).await?;
        here.push(Counted::new(&gateway.terminate().await.out, answers)?);
        let (floor, base) = room.bare_handler_of(COUNTED, &[]).await?;
        let answers = posted(&form(&base, "/"), load).await?;
        there.push(Counted::new(&floor.end().await?, answers)?);
    }
    add(table, "form POST accepted", "bare handler", &here, &there);
    sent(bench, &room, table).await
}

async fn posted(post: &Request, load: Duration) -> Result<f64> {
    if load.is_zero() {
        return Ok(0.0);
    }
    Ok(wrk::load(post, 64, load).await?.answers)
}

async fn sent(bench: &Bench, room: &Room, table: &mut Table) -> Result<()> {
    let launch = Launch::program(COUNTED).config(&room.vhost.config(&bench.backends(1, 64))).unread_log();
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for messages in [1, bench.effort.messages] {
        let seen = bench.provider.expect(messages, Duration::ZERO);
        let gateway = launch.start().await;
        room.queues.fill("postern.outbound", "bench", messages).await?;
        seen.reach(messages).await?;
        room.queues.depth_becomes("postern.reports", messages).await?;
        room.queues.purge("postern.reports").await?;
        here.push(Counted::new(&gateway.terminate().await.out, messages as f64)?);
        let seen = bench.provider.expect(messages, Duration::ZERO);
        let floor = room.bare_loop_of(COUNTED, &bench.provider.url(), 64, &[]).await?;
        room.queues.fill("", OUTBOUND, messages).await?;
        seen.reach(messages).await?;
        room.queues.depth_becomes(crate::floor::REPORTS, messages).await?;
        room.queues.purge(crate::floor::REPORTS).await?;
        there.push(Counted::new(&floor.end().await?, messages as f64)?);
    }
    add(table, "message sent", "bare loop", &here, &there);
    Ok(())
}

fn add(table: &mut Table, what: &str, beside: &str, here: &[Counted], there: &[Counted]) {
    let ([few, many], [bare_few, bare_many]) = (here, there) else { return };
    let (bytes, pieces) = Counted::each(many, few);
    let (bare_bytes, bare_pieces) = Counted::each(bare_many, bare_few);
    table.add(Row::new(format!("{what}: allocated"), "bytes", bytes, beside, bare_bytes));
    table.add(Row::new(format!("{what}: allocations"), "pieces", pieces, beside, bare_pieces));
}
