//! Latency of accepting when requests come at half the highest rate: open loop.

use super::accept::form;
use crate::{
    load::{Request, paced, paced::Latencies, wrk},
    rig::{Bench, MessageLog, Served, spooled_nothing},
    table::{Row, Table, Target},
};
use anyhow::Result;
use postern_tests::Launch;
use std::time::Duration;

const CONNECTIONS: usize = 64;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let (_floor, base) = room.bare_handler().await?;
    let bare = form(&base, "/");
    {
        let ingress = room.ingress(&bench.backends(1, 64)).await;
        let ours = form(&ingress.url(), "/backends/bench");
        let [here, there] = top_rates(bench, &ours, &bare).await?;
        // A rate that both can handle.
        let rate = half(here.min(there));
        add(bench, table, "form POST", (&ours, rate), (&bare, rate)).await?;
        spooled_nothing(&ingress).await?;
    }
    let config = bench.gateway(1, Served::None, MessageLog::On);
    let gateway = Launch::gateway().config(&config).unread_log().start().await;
    let ours = form(&gateway.url(), "/backends/bench");
    let [here, there] = top_rates(bench, &ours, &bare).await?;
    // Each at half of its own highest rate: the floor cannot handle the gateway's.
    add(bench, table, "embedded broker, log on, form POST", (&ours, half(here)), (&bare, half(there)))
        .await?;
    gateway.terminate().await;
    Ok(())
}

fn half(rate: f64) -> f64 {
    (rate / 200.0).floor() * 100.0
}

/// The highest rate of each, as the lower of two measurements.
async fn top_rates(bench: &Bench, ours: &Request, bare: &Request) -> Result<[f64; 2]> {
    let look = bench.effort.load.min(Duration::from_secs(4));
    let mut top = [f64::INFINITY; 2];
    for _ in 0..2 {
        for (post, top) in [ours, bare].into_iter().zip(&mut top) {
            *top = top.min(wrk::load(post, CONNECTIONS, look).await?.per_second);
        }
    }
    Ok(top)
}

/// Adds the rows that compare `ours` with the floor, each at its rate.
async fn add(
    bench: &Bench,
    table: &mut Table,
    what: &str,
    (ours, rate): (&Request, f64),
    (bare, bare_rate): (&Request, f64),
) -> Result<()> {
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = paced::load(bare, bare_rate, CONNECTIONS, bench.effort.load).await?;
        let here = paced::load(ours, rate, CONNECTIONS, bench.effort.load).await?;
        pairs.push((here, there));
    }
    for (name, share, most) in [("p50", 0.5, 1.3), ("p99", 0.99, 2.0)] {
        let at = |latencies: &Latencies| latencies.at(share);
        let figures: Vec<_> = pairs.iter().map(|(here, there)| (at(here), at(there))).collect();
        let what = format!("{what} at {rate:.0}/s, half the top rate: latency, {name}");
        let beside = format!("bare handler at {bare_rate:.0}/s");
        table.add(Row::paired(what, "ms", &beside, &figures).judged_by(Target::AtMost(most)));
    }
    Ok(())
}
