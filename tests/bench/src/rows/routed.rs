//! The floors with Postern's way into a queue: through a topic exchange, to which applications may bind queues
//! of their own. The default exchange, which the floors use elsewhere, costs RabbitMQ less.

use super::{
    accept::{form, run},
    send::{CONCURRENCY, bare, ours},
};
use crate::{
    floor::ACCEPTED,
    rig::{BY_TOPIC, Bench},
    table::{Row, Table},
};
use anyhow::Result;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let config = bench.backends(1, CONCURRENCY);
    let ingress = room.ingress(&config).await;
    let (floor, base) = room.bare_handler_of("postern-bench", BY_TOPIC).await?;
    let (theirs, post) = (form(&base, "/"), form(&ingress.url(), "/backends/bench"));
    for connections in [64, 256] {
        let mut rates = Vec::new();
        for _ in 0..bench.effort.rounds {
            let there = run(&theirs, floor.id()?, connections, bench.effort.load).await?;
            room.queues.purge(ACCEPTED).await?;
            let here = run(&post, ingress.id(), connections, bench.effort.load).await?;
            room.queues.purge("postern.inbound").await?;
            rates.push((here.rate, there.rate));
        }
        let what = format!("form POST, {connections} connections");
        table.add(Row::paired(what, "accepts/s", "bare handler, topic exchange", &rates));
    }
    drop((ingress, floor));
    room.dispatcher(&config).await.terminate().await;
    let provider = bench.provider.url();
    room.bare_loop_of("postern-bench", &provider, CONCURRENCY, BY_TOPIC).await?.end().await?;
    let mut rates = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = bare(bench, &room, BY_TOPIC).await?;
        let here = ours(bench, &room, &config).await?;
        rates.push((here.rate, there.rate));
    }
    let what = format!("sent, provider answers at once, {CONCURRENCY} in flight");
    table.add(Row::paired(what, "messages/s", "bare loop, topic exchange", &rates));
    Ok(())
}
