//! The time from the request to the provider, one message at a time in an idle system. Postern's figure covers
//! the whole way. The floor's is the sum of its halves: the bare handler's answer, and the bare loop's time from
//! a publish to the provider.

use super::accept::{form, json};
use crate::{
    floor::OUTBOUND,
    load::{
        Request,
        paced::{Latencies, Line},
    },
    rig::{Bench, Room},
    table::{Row, Table, Target},
};
use anyhow::Result;
use std::time::{Duration, Instant};

/// The time between two messages.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let config = bench.backends(1, 64);
    let (ingress, _dispatcher) = (room.ingress(&config).await, room.dispatcher(&config).await);
    let (_handler, base) = room.bare_handler().await?;
    let _loop = room.bare_loop(&bench.provider.url(), 64).await?;
    let (mut whole, mut accept, mut send) = (Vec::new(), Vec::new(), Vec::new());
    let block = (bench.effort.singles / 4).max(1);
    for _ in 0..4 {
        accept.extend(answers(&form(&base, "/"), block).await?);
        send.extend(bare_sends(bench, &room, block).await?);
        whole.extend(through(bench, &json(&ingress.url(), 1), block).await?);
    }
    let (whole, accept, send) = (Latencies::new(whole), Latencies::new(accept), Latencies::new(send));
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let what = format!("request to provider, idle system, {name}");
        let sum = accept.at(share) + send.at(share);
        let row = Row::new(what, "ms", whole.at(share), "bare handler + bare loop", sum);
        table.add(row.judged_by(Target::AtMost(3.0)));
    }
    Ok(())
}

async fn answers(post: &Request, number: usize) -> Result<Vec<Duration>> {
    let mut line = Line::open(post).await?;
    let mut times = Vec::new();
    for _ in 0..number {
        let start = Instant::now();
        line.ask().await?;
        times.push(start.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

async fn bare_sends(bench: &Bench, room: &Room, number: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..number {
        let seen = bench.provider.expect(1, Duration::ZERO);
        let start = Instant::now();
        room.queues.fill("", OUTBOUND, 1).await?;
        seen.reach(1).await?;
        times.push(seen.at(0).duration_since(start));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

async fn through(bench: &Bench, post: &Request, number: usize) -> Result<Vec<Duration>> {
    let mut line = Line::open(post).await?;
    let mut times = Vec::new();
    for _ in 0..number {
        let seen = bench.provider.expect(1, Duration::ZERO);
        let start = Instant::now();
        line.ask().await?;
        seen.reach(1).await?;
        times.push(seen.at(0).duration_since(start));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}
