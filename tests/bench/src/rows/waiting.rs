//! What each message costs while more and more wait behind it: it should always be the same.

use super::embedded::drain;
use crate::{
    rig::{Bench, Room, Stretch, sending},
    table::{Row, Table, Target},
};
use anyhow::Result;
use std::time::Duration;

/// A message may cost so much more than with a thousand waiting: what figures vary.
const FLAT: f64 = 1.15;
const STEPS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let steps: Vec<u64> = STEPS.into_iter().filter(|step| *step <= bench.effort.waiting).collect();
    let mut embedded = Vec::new();
    let mut rabbit = Vec::new();
    for step in &steps {
        let waiting = step + bench.effort.messages;
        embedded.push(drain(bench, waiting, 1).await?);
        let room = bench.room().await?;
        rabbit.push(from_rabbit(bench, &room, waiting).await?);
        room.queues.purge("postern.outbound.bench").await?;
    }
    for (broker, stretches) in [("embedded broker", embedded), ("RabbitMQ", rabbit)] {
        for (step, stretch) in steps.iter().zip(&stretches).skip(1) {
            let least = steps[0];
            let what = format!("CPU of a message sent while {step} wait, {broker}");
            let beside = format!("{least} wait");
            table.add(
                Row::new(what, "µs", stretch.cpu, &beside, stretches[0].cpu).judged_by(Target::AtMost(FLAT)),
            );
            let what = format!("sent while {step} wait, {broker}");
            table.add(Row::new(what, "messages/s", stretch.rate, &beside, stretches[0].rate));
        }
    }
    Ok(())
}

async fn from_rabbit(bench: &Bench, room: &Room, waiting: u64) -> Result<Stretch> {
    let config = bench.backends(1, 64);
    room.dispatcher(&config).await.terminate().await;
    room.queues.fill("postern.outbound", "bench", waiting).await?;
    let seen = bench.provider.expect(waiting, Duration::ZERO);
    let dispatcher = room.dispatcher(&config).await;
    let stretch = sending(&seen, bench.effort.messages, &[dispatcher.id()]).await?;
    dispatcher.kill();
    Ok(stretch)
}
