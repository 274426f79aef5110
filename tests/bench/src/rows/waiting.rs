//! What each message costs while more and more wait behind it: it should always cost the same. RabbitMQ's own
//! share is shown, too.

use super::embedded::fill;
use crate::{
    rig::{Bench, MessageLog, Served, Stretch, sending, sending_beside},
    table::{Row, Table, Target, median},
};
use anyhow::Result;
use postern_tests::{Launch, usage::memory};
use std::time::Duration;

/// How much more a message may cost than with the fewest waiting: as much as the figures vary from run to run.
const FLAT: f64 = 1.15;
const STEPS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let steps: Vec<u64> = STEPS.into_iter().filter(|step| *step <= bench.effort.waiting).collect();
    let (mut embedded, mut dispatcher, mut rabbit, mut sizes) = (vec![], vec![], vec![], vec![]);
    for step in &steps {
        let (costs, size) = from_embedded(bench, *step).await?;
        embedded.push(costs);
        sizes.push(size);
        let [ours, theirs] = from_rabbit(bench, *step).await?;
        dispatcher.push(ours);
        rabbit.push(theirs);
    }
    let flat = Target::AtMost(FLAT);
    for (who, costs, target) in [
        ("gateway with the embedded broker", &embedded, flat),
        ("dispatcher on RabbitMQ", &dispatcher, flat),
        ("RabbitMQ", &rabbit, Target::Shown),
    ] {
        for (step, cost) in steps.iter().zip(costs).skip(1) {
            let what = format!("{who}: CPU of a message sent while {step} wait");
            let beside = format!("{} wait", steps[0]);
            table.add(Row::new(what, "µs", cost.cpu, &beside, costs[0].cpu).judged_by(target));
        }
    }
    for (who, costs) in [("embedded broker", &embedded), ("RabbitMQ", &dispatcher)] {
        for (step, cost) in steps.iter().zip(costs).skip(1) {
            let what = format!("{who}: sent while {step} wait");
            let beside = format!("{} wait", steps[0]);
            table.add(Row::new(what, "messages/s", cost.rate, &beside, costs[0].rate));
        }
    }
    for (step, size) in steps.iter().zip(&sizes).skip(1) {
        let what = format!("memory: embedded gateway, at most, while it sends and {step} wait");
        table.add(Row::new(what, "MB", *size, &format!("{} wait", steps[0]), sizes[0]));
    }
    Ok(())
}

/// The number of runs over the same queue, of which the median counts.
fn runs(bench: &Bench) -> usize {
    if bench.effort.rounds == 1 { 1 } else { 5 }
}

fn middle(stretches: &[Stretch]) -> Stretch {
    Stretch {
        rate: median(stretches.iter().map(|stretch| stretch.rate)),
        cpu: median(stretches.iter().map(|stretch| stretch.cpu)),
    }
}

/// The cost of a message, and the highest memory of the gateway in MB.
async fn from_embedded(bench: &Bench, waiting: u64) -> Result<(Stretch, f64)> {
    let measured = bench.effort.messages;
    let config = bench.gateway(1, Served::All, MessageLog::On);
    let launch = Launch::gateway().config(&config).unread_log();
    let folder = launch.folder().path().join("data");
    let (mut stretches, mut size) = (Vec::new(), 0);
    let mut missing = waiting + measured;
    for _ in 0..runs(bench) {
        fill(&folder, missing, MessageLog::On).await?;
        let seen = bench.provider.expect(waiting + measured, Duration::ZERO);
        let gateway = launch.start().await;
        let cost = sending(&seen, measured, Some(gateway.id())).await?;
        eprintln!("{waiting} wait, embedded broker: {cost:?}");
        stretches.push(cost);
        size = size.max(memory(gateway.id()).peak);
        gateway.terminate().await;
        missing = seen.count();
    }
    Ok((middle(&stretches), size as f64 / 1e6))
}

/// The cost of a message to the dispatcher, and to RabbitMQ.
async fn from_rabbit(bench: &Bench, waiting: u64) -> Result<[Stretch; 2]> {
    let measured = bench.effort.messages;
    let room = bench.room().await?;
    let config = bench.backends(1, 64);
    room.dispatcher(&config).await.terminate().await;
    let mut stretches = [Vec::new(), Vec::new()];
    let mut missing = waiting + measured;
    for _ in 0..runs(bench) {
        room.queues.fill("postern.outbound", "bench", missing).await?;
        let seen = bench.provider.expect(waiting + measured, Duration::ZERO);
        let dispatcher = room.dispatcher(&config).await;
        let processes = [dispatcher.id(), bench.rabbit.process()].map(Some);
        let costs = sending_beside(&seen, measured, processes).await?;
        eprintln!("{waiting} wait, dispatcher and RabbitMQ: {costs:?}");
        stretches.iter_mut().zip(costs).for_each(|(stretches, cost)| stretches.push(cost));
        dispatcher.terminate().await;
        room.queues.purge("postern.reports").await?;
        missing = seen.count();
    }
    room.queues.purge("postern.outbound.bench").await?;
    Ok(stretches.map(|stretches| middle(&stretches)))
}
