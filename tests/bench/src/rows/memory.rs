//! Resident memory of each program: idle, while it accepts, with messages waiting, with messages in flight; and
//! how soon it is ready with waiting messages.

use super::accept::form;
use crate::{
    load::wrk,
    rig::{Bench, MessageLog, Served, until},
    table::{Row, Table, Target, median},
};
use anyhow::Result;
use postern_tests::{Launch, usage::memory};
use std::time::{Duration, Instant};

/// The bytes in a megabyte.
const MB: f64 = 1e6;
const IN_FLIGHT: u64 = 2_000;
/// The most memory that a process may take, in megabytes: idle, as one half and as the whole gateway; while the
/// gateway accepts with its message log on; after a start with many messages waiting; with [`IN_FLIGHT`]
/// messages in flight.
const IDLE_HALF: f64 = 30.0;
const IDLE: f64 = 25.0;
const ACCEPTING: f64 = 60.0;
const WAITING: f64 = 30.0;
const SENDING: f64 = 150.0;
/// How soon the gateway must be ready, in milliseconds.
const READY: f64 = 1_000.0;
/// How long to wait until memory used for the start has been freed.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let config = bench.backends(1, 64);
    let (ingress, dispatcher) = (room.ingress(&config).await, room.dispatcher(&config).await);
    let gateway = bench.gateway(1, Served::All, MessageLog::On);
    let gateway = Launch::gateway().config(&gateway).unread_log().start().await;
    tokio::time::sleep(SETTLE).await;
    for (name, program, limit) in [
        ("ingress", &ingress, IDLE_HALF),
        ("dispatcher", &dispatcher, IDLE_HALF),
        ("embedded gateway", &gateway, IDLE),
    ] {
        add(table, format!("memory: idle {name}"), memory(program.id()).now, limit);
    }
    drop((ingress, dispatcher, gateway));
    waiting(bench, table).await?;
    in_flight(bench, table).await
}

fn add(table: &mut Table, what: String, bytes: u64, limit: f64) {
    let row = Row::new(what, "MB", bytes as f64 / MB, "the limit", limit);
    table.add(row.judged_by(Target::AtMost(1.0)));
}

/// An embedded gateway that accepts many messages, and then starts with all of them waiting.
async fn waiting(bench: &Bench, table: &mut Table) -> Result<()> {
    let messages = bench.effort.waiting;
    let config = bench.gateway(1, Served::None, MessageLog::On);
    let launch = Launch::gateway().config(&config).unread_log();
    let gateway = launch.start().await;
    let post = form(&gateway.url(), "/backends/bench");
    let mut accepted = 0.0;
    while accepted < messages as f64 {
        accepted += wrk::load(&post, 64, bench.effort.load).await?.answers;
    }
    let what = format!("memory: embedded gateway, at most, while it accepts {accepted:.0}, log on");
    add(table, what, memory(gateway.id()).peak, ACCEPTING);
    gateway.terminate().await;
    let mut starts = Vec::new();
    for _ in 0..bench.effort.rounds {
        let begun = Instant::now();
        let gateway = launch.start().await;
        starts.push(begun.elapsed().as_secs_f64() * 1000.0);
        gateway.terminate().await;
    }
    let what = format!("embedded gateway ready, {accepted:.0} messages wait");
    let row = Row::new(what, "ms", median(starts.into_iter()), "the limit", READY);
    table.add(row.judged_by(Target::AtMost(1.0)));
    let gateway = launch.start().await;
    tokio::time::sleep(SETTLE).await;
    let what = format!("memory: embedded gateway, started with {accepted:.0} messages waiting");
    add(table, what, memory(gateway.id()).now, WAITING);
    gateway.kill();
    Ok(())
}

async fn in_flight(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let config = bench.backends(1, usize::try_from(IN_FLIGHT)?);
    room.dispatcher(&config).await.terminate().await;
    let messages = IN_FLIGHT * 5;
    room.queues.fill("postern.outbound", "bench", messages).await?;
    let seen = bench.provider.expect(messages, Duration::from_secs(2));
    let dispatcher = room.dispatcher(&config).await;
    // All of the first wave are in flight, and so are all later waves.
    until("the messages to be sent", Duration::from_secs(60), async || {
        Ok((seen.count() >= messages).then_some(()))
    })
    .await?;
    let most = memory(dispatcher.id()).peak;
    dispatcher.terminate().await;
    add(table, format!("memory: dispatcher, {IN_FLIGHT} in flight, at most"), most, SENDING);
    Ok(())
}
