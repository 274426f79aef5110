//! Sent messages a second, one request for each recipient, to a provider that answers at once.

use crate::{
    floor::{OUTBOUND, REPORTS},
    rig::{Bench, Room, Stretch, sending},
    table::{Row, Table, Target},
};
use anyhow::Result;
use std::time::Duration;

pub(super) const CONCURRENCY: usize = 64;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let config = bench.backends(1, CONCURRENCY);
    // Each declares its queues at its first start.
    room.dispatcher(&config).await.terminate().await;
    room.bare_loop(&bench.provider.url(), CONCURRENCY).await?.end().await?;
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = bare(bench, &room, &[]).await?;
        let here = ours(bench, &room, &config).await?;
        pairs.push((here, there));
    }
    let rates: Vec<_> = pairs.iter().map(|(here, there)| (here.rate, there.rate)).collect();
    let what = format!("sent, provider answers at once, {CONCURRENCY} in flight");
    table.add(Row::paired(&what, "messages/s", "bare loop", &rates).judged_by(Target::AtLeast(1.1)));
    let cpu: Vec<_> = pairs.iter().map(|(here, there)| (here.cpu, there.cpu)).collect();
    table.add(Row::paired(format!("{what}: CPU"), "µs/message", "bare loop", &cpu));
    Ok(())
}

/// The bare loop with further arguments, on a queue that is filled before it starts.
pub(crate) async fn bare(bench: &Bench, room: &Room, further: &[&str]) -> Result<Stretch> {
    let messages = bench.effort.messages;
    room.queues.fill("", OUTBOUND, messages).await?;
    let seen = bench.provider.expect(messages, Duration::ZERO);
    let provider = bench.provider.url();
    let floor = room.bare_loop_of("postern-bench", &provider, CONCURRENCY, further).await?;
    let stretch = sending(&seen, messages, Some(floor.id()?)).await?;
    room.queues.depth_becomes(REPORTS, messages).await?;
    floor.end().await?;
    room.queues.purge(REPORTS).await?;
    Ok(stretch)
}

/// The dispatcher, on a queue that is filled before it starts.
pub(crate) async fn ours(bench: &Bench, room: &Room, config: &str) -> Result<Stretch> {
    let messages = bench.effort.messages;
    room.queues.fill("postern.outbound", "bench", messages).await?;
    let seen = bench.provider.expect(messages, Duration::ZERO);
    let dispatcher = room.dispatcher(config).await;
    let stretch = sending(&seen, messages, Some(dispatcher.id())).await?;
    room.queues.depth_becomes("postern.reports", messages).await?;
    dispatcher.terminate().await;
    room.queues.purge("postern.reports").await?;
    Ok(stretch)
}
