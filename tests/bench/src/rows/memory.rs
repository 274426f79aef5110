//! Resident memory of each program: idle, with messages waiting, with messages in flight.

use super::{accept::form, embedded::fill};
use crate::{
    load::wrk,
    rig::{Bench, until},
    table::{Row, Table, Target},
};
use anyhow::Result;
use postern_tests::{Launch, usage::memory};
use std::time::Duration;

/// Bytes of a megabyte.
const MB: f64 = 1e6;
const IN_FLIGHT: u64 = 2_000;
/// What one process may take, idle and with messages waiting.
const LITTLE: f64 = 30.0;
const MUCH: f64 = 150.0;
/// Until what starting took is given back or not.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let config = bench.backends(1, 64);
    let (ingress, dispatcher) = (room.ingress(&config).await, room.dispatcher(&config).await);
    let gateway = Launch::gateway().config(&bench.gateway(1, 64, true)).unread_log().start().await;
    tokio::time::sleep(SETTLE).await;
    for (name, program) in
        [("ingress", &ingress), ("dispatcher", &dispatcher), ("embedded gateway", &gateway)]
    {
        add(table, format!("memory: idle {name}"), memory(program.id()).now as f64 / MB, LITTLE);
    }
    drop((ingress, dispatcher, gateway));
    waiting(bench, table).await?;
    in_flight(bench, table).await
}

fn add(table: &mut Table, what: String, megabytes: f64, limit: f64) {
    table.add(Row::new(what, "MB", megabytes, "the limit", limit).judged_by(Target::AtMost(1.0)));
}

/// An embedded gateway with many messages in its store, that then accepts more.
async fn waiting(bench: &Bench, table: &mut Table) -> Result<()> {
    let messages = bench.effort.waiting;
    let launch = Launch::gateway().config(&bench.gateway(1, 64, false)).unread_log();
    fill(&launch.folder().path().join("data"), messages).await?;
    let gateway = launch.start().await;
    tokio::time::sleep(SETTLE).await;
    let quiet = memory(gateway.id()).now as f64 / MB;
    let post = form(&gateway.url(), "/backends/bench");
    let accepted = wrk::load(&post, 64, bench.effort.load).await?.answers;
    let most = memory(gateway.id()).peak as f64 / MB;
    gateway.kill();
    add(table, format!("memory: embedded gateway, {messages} messages wait"), quiet, LITTLE);
    let what = format!("memory: the same, at most, while it accepts {accepted:.0} more");
    add(table, what, most, LITTLE);
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
    // All of the first wave are in flight, and so on to the end.
    until("the messages to be sent", Duration::from_secs(60), async || {
        Ok((seen.count() >= messages).then_some(()))
    })
    .await?;
    let most = memory(dispatcher.id()).peak as f64 / MB;
    dispatcher.terminate().await;
    add(table, format!("memory: dispatcher, {IN_FLIGHT} in flight, at most"), most, MUCH);
    Ok(())
}
