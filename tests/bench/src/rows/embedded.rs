//! The embedded broker, which has each message on the disk before it answers, compared with the floors on
//! RabbitMQ.

use super::{
    accept::{form, run},
    send::bare,
};
use crate::{
    floor,
    queue::outbound,
    rig::{Bench, MessageLog, Served, Stretch, sending},
    table::{Row, Table, Target},
};
use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use postern_broker::{Address, Broker, Envelope, LogRoute, Topology, testing};
use postern_shared::message::{BackendName, Priority};
use postern_store::{embedded::EmbeddedBroker, message_log::Keeping};
use postern_tests::Launch;
use std::{path::Path, time::Duration};

/// The targets, compared with the floor and with the gateway without its message log.
const ACCEPTED: Target = Target::AtLeast(2.5);
const SENT: Target = Target::AtLeast(2.0);
const RECORDING: Target = Target::AtLeast(0.75);

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let (floor, base) = room.bare_handler().await?;
    let bare_post = form(&base, "/");
    for connections in [64, 256] {
        let mut rounds = Rounds::default();
        for _ in 0..bench.effort.rounds {
            let there = run(&bare_post, floor.id()?, connections, bench.effort.load).await?;
            room.queues.purge(floor::ACCEPTED).await?;
            let without = accepts(bench, connections, MessageLog::Off).await?;
            rounds.0.push([there, without, accepts(bench, connections, MessageLog::On).await?]);
        }
        let what = format!("embedded broker, form POST, {connections} connections");
        rounds.beside_floor(table, (&what, "accepts/s", "bare handler on RabbitMQ"), ACCEPTED, Target::Shown);
        rounds.beside_without(table, (&what, "accepts/s"), RECORDING);
    }
    floor.end().await?;
    room.bare_loop(&bench.provider.url(), 64).await?.end().await?;
    let mut rounds = Rounds::default();
    for _ in 0..bench.effort.rounds {
        let there = bare(bench, &room, &[]).await?;
        let without = drain(bench, bench.effort.messages, 1, MessageLog::Off).await?;
        rounds.0.push([there, without, drain(bench, bench.effort.messages, 1, MessageLog::On).await?]);
    }
    let what = "embedded broker, sent, 64 in flight";
    rounds.beside_floor(table, (what, "messages/s", "bare loop on RabbitMQ"), SENT, SENT);
    rounds.beside_without(table, (what, "messages/s"), Target::Shown);
    Ok(())
}

/// For each round: the floor, the gateway without its message log, and the gateway with it.
#[derive(Debug, Default)]
struct Rounds(Vec<[Stretch; 3]>);

impl Rounds {
    fn pairs(&self, ours: usize, theirs: usize, figure: impl Fn(&Stretch) -> f64) -> Vec<(f64, f64)> {
        self.0.iter().map(|round| (figure(&round[ours]), figure(&round[theirs]))).collect()
    }

    /// Compares the gateway without its message log, and with it, with the floor.
    fn beside_floor(
        &self,
        table: &mut Table,
        (what, unit, floor): (&str, &'static str, &str),
        without: Target,
        with: Target,
    ) {
        for (ours, log, target) in [(1, "off", without), (2, "on", with)] {
            let rates = self.pairs(ours, 0, |stretch| stretch.rate);
            table.add(Row::paired(format!("{what}, log {log}"), unit, floor, &rates).judged_by(target));
        }
    }

    /// Compares the gateway with its message log and without.
    fn beside_without(&self, table: &mut Table, (what, unit): (&str, &'static str), target: Target) {
        let rates = self.pairs(2, 1, |stretch| stretch.rate);
        table.add(Row::paired(format!("{what}, log on"), unit, "log off", &rates).judged_by(target));
        let cpu = self.pairs(2, 1, |stretch| stretch.cpu);
        table.add(Row::paired(format!("{what}, log on: CPU"), "µs each", "log off", &cpu));
    }
}

/// How fast a gateway with an empty store accepts.
pub(super) async fn accepts(bench: &Bench, connections: usize, log: MessageLog) -> Result<Stretch> {
    let config = bench.gateway(1, Served::None, log);
    let gateway = Launch::gateway().config(&config).unread_log().start().await;
    let post = form(&gateway.url(), "/backends/bench");
    let stretch = run(&post, gateway.id(), connections, bench.effort.load).await?;
    gateway.terminate().await;
    Ok(stretch)
}

/// How fast `messages` messages are sent that were in the store before the gateway started.
pub(super) async fn drain(bench: &Bench, messages: u64, backends: usize, log: MessageLog) -> Result<Stretch> {
    let launch = Launch::gateway().config(&bench.gateway(backends, Served::All, log)).unread_log();
    fill(&launch.folder().path().join("data"), messages, log).await?;
    let seen = bench.provider.expect(messages, Duration::ZERO);
    let gateway = launch.start().await;
    let stretch = sending(&seen, messages, Some(gateway.id())).await?;
    gateway.terminate().await;
    Ok(stretch)
}

/// Stores messages for `bench` in the embedded store in `folder`, as if a gateway had accepted them, and closes
/// the store.
pub(super) async fn fill(folder: &Path, messages: u64, log: MessageLog) -> Result<()> {
    let backend: BackendName = "bench".parse()?;
    let log_route = match log {
        MessageLog::On => LogRoute::Store,
        MessageLog::Off => LogRoute::None,
    };
    let topology = Topology { log: log_route, ..testing::topology([backend.clone()]) };
    let options = testing::options(topology);
    let broker = match log {
        MessageLog::On => EmbeddedBroker::open_recording(folder, options, Keeping::full()).await?,
        MessageLog::Off => EmbeddedBroker::open(folder, options).await?,
    };
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
