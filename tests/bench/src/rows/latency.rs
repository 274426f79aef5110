//! Latency of accepting, with requests that come at half the rate that both can take: open loop.

use super::accept::form;
use crate::{
    load::{paced, paced::Latencies, wrk},
    rig::Bench,
    table::{Row, Table, Target},
};
use anyhow::Result;
use std::time::Duration;

const CONNECTIONS: usize = 64;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let ingress = room.ingress(&bench.backends(1, 64)).await;
    let (_floor, base) = room.bare_handler().await?;
    let (bare, ours) = (form(&base, "/"), form(&ingress.url(), "/backends/bench"));
    let look = bench.effort.load.min(Duration::from_secs(4));
    let mut top = f64::INFINITY;
    for post in [&bare, &ours, &bare, &ours] {
        top = top.min(wrk::load(post, CONNECTIONS, look).await?.per_second);
    }
    let rate = (top / 200.0).floor() * 100.0;
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = paced::load(&bare, rate, CONNECTIONS, bench.effort.load).await?;
        let here = paced::load(&ours, rate, CONNECTIONS, bench.effort.load).await?;
        pairs.push((here, there));
    }
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let at = |latencies: &Latencies| latencies.at(share);
        let figures: Vec<_> = pairs.iter().map(|(here, there)| (at(here), at(there))).collect();
        let what = format!("form POST at {rate:.0}/s, half the top rate: latency, {name}");
        table.add(Row::paired(what, "ms", "bare handler", &figures).judged_by(Target::AtMost(1.3)));
    }
    Ok(())
}
