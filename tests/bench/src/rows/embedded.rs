//! The embedded broker, each message on the disk before its answer, beside the floors on RabbitMQ.

use super::{
    accept::{form, run},
    send::bare,
};
use crate::{
    floor::ACCEPTED,
    queue::outbound,
    rig::{Bench, Stretch, sending},
    table::{Row, Table, Target},
};
use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use postern_broker::{Address, Broker, BrokerOptions, Envelope, Topology};
use postern_shared::message::{BackendName, Priority};
use postern_store::embedded::EmbeddedBroker;
use postern_tests::Launch;
use std::{path::Path, time::Duration};

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let (floor, base) = room.bare_handler().await?;
    let bare_post = form(&base, "/");
    for connections in [64, 256] {
        let mut pairs = Vec::new();
        for _ in 0..bench.effort.rounds {
            let there = run(&bare_post, floor.id()?, connections, bench.effort.load).await?;
            room.queues.purge(ACCEPTED).await?;
            let here = accepts(bench, connections).await?;
            pairs.push((here.rate, there.rate));
        }
        let what = format!("embedded broker, form POST, {connections} connections");
        let row = Row::paired(what, "accepts/s", "bare handler on RabbitMQ", &pairs);
        table.add(row.judged_by(Target::AtLeast(1.5)));
    }
    floor.end().await?;
    room.bare_loop(&bench.provider.url(), 64).await?.end().await?;
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = bare(bench, &room, &[]).await?;
        let here = drain(bench, bench.effort.messages, 1).await?;
        pairs.push((here.rate, there.rate));
    }
    let row =
        Row::paired("embedded broker, sent, 64 in flight", "messages/s", "bare loop on RabbitMQ", &pairs);
    table.add(row.judged_by(Target::AtLeast(2.0)));
    Ok(())
}

/// How fast a gateway with nothing in its store accepts.
pub(super) async fn accepts(bench: &Bench, connections: usize) -> Result<Stretch> {
    let gateway = Launch::gateway().config(&bench.gateway(1, 64, false)).unread_log().start().await;
    let post = form(&gateway.url(), "/backends/bench");
    let stretch = run(&post, gateway.id(), connections, bench.effort.load).await?;
    gateway.terminate().await;
    Ok(stretch)
}

/// How fast the first `effort.messages` of those that wait are sent.
pub(super) async fn drain(bench: &Bench, waiting: u64, backends: usize) -> Result<Stretch> {
    let launch = Launch::gateway().config(&bench.gateway(backends, 64, true)).unread_log();
    fill(&launch.folder().path().join("data"), waiting).await?;
    let measured = bench.effort.messages;
    let seen = bench.provider.expect(waiting.max(measured), Duration::ZERO);
    let gateway = launch.start().await;
    let stretch = sending(&seen, measured, &[gateway.id()]).await?;
    if waiting > measured {
        gateway.kill();
    } else {
        gateway.terminate().await;
    }
    Ok(stretch)
}

/// Puts messages for `bench` into the embedded store in `folder`, and closes it.
pub(super) async fn fill(folder: &Path, messages: u64) -> Result<()> {
    let backend: BackendName = "bench".parse()?;
    let topology = Topology {
        backends: [backend.clone()].into(),
        delays: [Duration::from_secs(5)].into(),
        max_reports: 1_000_000,
        max_callbacks: 100_000,
        max_messages: None,
        log: postern_broker::LogRoute::None,
    };
    let options = BrokerOptions {
        topology,
        publish_timeout: Duration::from_secs(30),
        client_name: "bench".to_owned(),
        min_free_disk: 64 << 20,
        max_deliveries: 20,
    };
    let broker = EmbeddedBroker::open(folder, options).await?;
    let batch = |first: u64| {
        (first..(first + 500).min(messages))
            .map(|number| {
                let envelope = Envelope { body: outbound(number).into(), ..Envelope::default() };
                (Address::Outbound(backend.clone(), Priority::Normal), envelope)
            })
            .collect::<Vec<_>>()
    };
    let batches = (0..messages).step_by(500).map(|first| broker.publish(batch(first)));
    stream::iter(batches).buffer_unordered(8).try_collect::<Vec<()>>().await?;
    broker.close().await;
    Ok(())
}
