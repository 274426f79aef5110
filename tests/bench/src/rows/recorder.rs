//! The message log in PostgreSQL, with RabbitMQ: what it costs the ingress, and how fast it is written.

use super::accept::{form, run};
use crate::{
    rig::{Bench, Room, spooled_nothing, until},
    table::{Row, Table, Target},
};
use anyhow::{Context, Result};
use postern_tests::{Postgres, Program, usage};
use std::time::{Duration, Instant};

const LOG_QUEUE: &str = "postern.log";
/// The rate of accepting with the log, as a share of the rate without, must be at least this.
const ACCEPTING: f64 = 0.6;
/// How many events a second must be written.
const RECORDED: f64 = 10_000.0;
/// A limit for writing the events of one run.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = tokio::task::spawn_blocking(Postgres::to_harm).await?;
    let config = bench.backends(1, 64);
    // Its only backend has nothing to send, so all that it does is record.
    let recording = format!(
        "[log]\nurl = \"{}\"\n[dispatcher]\nbackends = [\"quiet\"]\n{config}\
         [backends.quiet]\ntype = \"console\"\n",
        server.database()
    );
    let (without, with) = (bench.room().await?, bench.room().await?);
    let off = without.ingress(&config).await;
    let on = with.ingress(&recording).await;
    let (post, logged) = (form(&off.url(), "/backends/bench"), form(&on.url(), "/backends/bench"));
    let (mut pairs, mut unread) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.rounds {
        let there = run(&post, off.id(), 64, bench.effort.load).await?;
        without.queues.purge("postern.inbound").await?;
        let later = run(&logged, on.id(), 64, bench.effort.load).await?;
        with.queues.purge("postern.inbound").await?;
        with.queues.purge(LOG_QUEUE).await?;
        let recorder = with.dispatcher(&recording).await;
        let here = run(&logged, on.id(), 64, bench.effort.load).await?;
        recorder.terminate().await;
        with.queues.purge("postern.inbound").await?;
        with.queues.purge(LOG_QUEUE).await?;
        for ingress in [&off, &on] {
            spooled_nothing(ingress).await?;
        }
        unread.push((later.rate, there.rate));
        pairs.push((here, there));
    }
    let what = "form POST, 64 connections, recorded later";
    let row = Row::paired(what, "accepts/s", "no message log", &unread);
    table.add(row.judged_by(Target::AtLeast(ACCEPTING)));
    let rates: Vec<_> = pairs.iter().map(|(here, there)| (here.rate, there.rate)).collect();
    let what = "form POST, 64 connections, recorded in PostgreSQL meanwhile";
    let row = Row::paired(what, "accepts/s", "no message log", &rates);
    table.add(row.judged_by(Target::AtLeast(ACCEPTING)));
    let cpu: Vec<_> = pairs.iter().map(|(here, there)| (here.cpu, there.cpu)).collect();
    table.add(Row::paired(format!("{what}: CPU"), "µs/request", "no message log", &cpu));
    run(&logged, on.id(), 64, bench.effort.load).await?;
    on.terminate().await;
    let (rate, cpu) = recorded(&with, &recording).await?;
    let what = "recorder, RabbitMQ to PostgreSQL";
    let row = Row::new(what, "events/s", rate, "the least", RECORDED);
    table.add(row.judged_by(Target::AtLeast(1.0)));
    table.note(format!("The recorder's process takes {cpu:.1} µs of CPU for an event."));
    Ok(())
}

/// How fast the waiting events are recorded, and the recorder's CPU time for each in microseconds, from when a
/// tenth is recorded until a tenth is left.
async fn recorded(room: &Room, config: &str) -> Result<(f64, f64)> {
    let waiting = f64::from(room.queues.depth(LOG_QUEUE).await?);
    let recorder = room.dispatcher(config).await;
    let (from, begun, before) = reach(&recorder, waiting * 0.1).await?;
    let (to, ended, after) = reach(&recorder, waiting * 0.9).await?;
    recorder.terminate().await;
    let events = to - from;
    anyhow::ensure!(events > 0.0, "{waiting} events were recorded too fast to be measured");
    Ok((events / (ended - begun).as_secs_f64(), (after - before).as_secs_f64() * 1e6 / events))
}

/// Waits until `recorder` has recorded `events` events. Returns how many there were, when, and the CPU time that
/// it had used.
async fn reach(recorder: &Program, events: f64) -> Result<(f64, Instant, Duration)> {
    until("the events to be recorded", PATIENCE, async || {
        let seen = recorder.metrics().await.value("postern_log_events_total", &[]);
        Ok((seen >= events).then(|| (seen, Instant::now(), usage::cpu(recorder.id()))))
    })
    .await
    .context("the recorder")
}
