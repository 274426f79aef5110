//! What each message costs with more configured backends: it should cost the same.

use super::{
    accept::{form, run},
    embedded::drain,
};
use crate::{
    rig::{Bench, MessageLog, Served, Stretch},
    table::{Row, Table, Target},
};
use anyhow::Result;
use postern_tests::{Launch, usage::memory};

/// How much more a message may cost than with one backend: as much as the figures vary from run to run.
const FLAT: f64 = 1.15;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let numbers: Vec<usize> =
        [1, 10, 100, 1_000].into_iter().filter(|n| *n <= bench.effort.backends).collect();
    let mut accepts: Vec<Vec<f64>> = vec![Vec::new(); numbers.len()];
    let mut sends: Vec<Vec<f64>> = vec![Vec::new(); numbers.len()];
    let mut sizes = vec![0.0; numbers.len()];
    for _ in 0..bench.effort.rounds {
        for (index, number) in numbers.iter().enumerate() {
            let (accept, size) = accepted(bench, *number).await?;
            accepts[index].push(accept.cpu);
            sizes[index] = size;
            sends[index].push(drain(bench, bench.effort.messages, *number, MessageLog::On).await?.cpu);
        }
    }
    for (what, figures) in [("accepted", accepts), ("sent", sends)] {
        for (number, these) in numbers.iter().zip(&figures).skip(1) {
            let pairs: Vec<_> = these.iter().copied().zip(figures[0].iter().copied()).collect();
            let what = format!("CPU of a message {what}, {number} backends, embedded broker");
            table.add(Row::paired(what, "µs", "1 backend", &pairs).judged_by(Target::AtMost(FLAT)));
        }
    }
    for (number, size) in numbers.iter().zip(&sizes).skip(1) {
        let what = format!("memory: embedded gateway, {number} backends");
        table.add(Row::new(what, "MB", *size, "1 backend", sizes[0]));
    }
    Ok(())
}

/// The cost of accepting, and the memory afterwards in MB.
async fn accepted(bench: &Bench, backends: usize) -> Result<(Stretch, f64)> {
    let config = bench.gateway(backends, Served::All, MessageLog::On);
    let gateway = Launch::gateway().config(&config).unread_log().start().await;
    let post = form(&gateway.url(), "/backends/bench");
    let stretch = run(&post, gateway.id(), 64, bench.effort.load / 2).await?;
    let size = memory(gateway.id()).now as f64 / 1e6;
    gateway.kill();
    Ok((stretch, size))
}
