//! Two dispatchers on one backend's queue compared with one, when its concurrency is the limit.

use crate::{
    rig::{Bench, Room, sending},
    table::{Row, Table, Target},
};
use anyhow::Result;
use futures_util::future::join_all;
use std::time::Duration;

const DELAY: Duration = Duration::from_millis(50);
const CONCURRENCY: usize = 32;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let one = run(bench, &room, 1).await?;
        let two = run(bench, &room, 2).await?;
        pairs.push((two, one));
    }
    let what = format!("two dispatchers on one queue, provider takes 50 ms, {CONCURRENCY} in flight each");
    table.add(Row::paired(what, "messages/s", "one dispatcher", &pairs).judged_by(Target::AtLeast(1.9)));
    Ok(())
}

async fn run(bench: &Bench, room: &Room, dispatchers: u64) -> Result<f64> {
    let config = bench.backends(1, CONCURRENCY);
    let dispatchers = join_all((0..dispatchers).map(|_| room.dispatcher(&config))).await;
    let possible = (dispatchers.len() * CONCURRENCY) as f64 / DELAY.as_secs_f64();
    let messages = (possible * bench.effort.load.as_secs_f64()) as u64;
    let seen = bench.provider.expect(messages, DELAY);
    room.queues.fill("postern.outbound", "bench", messages).await?;
    let stretch = sending(&seen, messages, None).await?;
    room.queues.depth_becomes("postern.reports", messages).await?;
    join_all(dispatchers.into_iter().map(postern_tests::Program::terminate)).await;
    room.queues.purge("postern.reports").await?;
    Ok(stretch.rate)
}
