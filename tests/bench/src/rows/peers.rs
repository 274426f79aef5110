//! Other programs that do the same work, each set up as its own documentation says, in turn with Postern.

mod jasmin;
mod kannel;
mod process;
mod rapidsms;

use super::{
    accept::{form, run},
    embedded, send,
};
use crate::{
    load::{Request, wrk},
    rig::{Bench, MessageLog, Room, spooled_nothing},
    table::{Row, Table, Target},
};
use anyhow::Result;
use std::time::Duration;

const CONNECTIONS: usize = 64;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    kannel(bench, &room, table).await?;
    let beside = (bench, &room);
    let rapidsms = rapidsms::RapidSms::start(&room).await;
    let what = "RapidSMS 2.2 with Celery on RabbitMQ, two workers";
    optional(beside, rapidsms, rapidsms::RapidSms::receive, what, 50.0, table).await;
    let jasmin = jasmin::Jasmin::start(&room).await;
    optional(beside, jasmin, jasmin::Jasmin::send, "Jasmin's /send, not durable", 15.0, table).await;
    Ok(())
}

/// The rows of accepted messages a second for a peer, which may not be installed. If it does not start or breaks
/// down under load, the table says so, and all other rows are still measured.
async fn optional<P>(
    (bench, room): (&Bench, &Room),
    started: Result<Option<P>>,
    way_in: fn(&P) -> Request,
    what: &str,
    target: f64,
    table: &mut Table,
) {
    let measured = match started {
        Ok(None) => {
            table.note(format!("{what}: not installed here; tests/bench/peers/install says how."));
            return;
        }
        Ok(Some(peer)) => accepts(bench, room, &way_in(&peer), what, target, table).await,
        Err(error) => Err(error),
    };
    if let Err(error) = measured {
        table.note(format!("{what}: it could not be measured ({error})."));
    }
}

/// Accepted messages a second: Postern's form POST and the peer's own request.
async fn accepts(
    bench: &Bench,
    room: &Room,
    theirs: &Request,
    peer: &str,
    target: f64,
    table: &mut Table,
) -> Result<()> {
    let ingress = room.ingress(&bench.backends(1, 64)).await;
    let ours = form(&ingress.url(), "/backends/bench");
    // Interpreters load their modules with the first requests.
    wrk::load(theirs, 4, bench.effort.load.max(Duration::from_secs(3))).await?;
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = wrk::load(theirs, CONNECTIONS, bench.effort.load).await?;
        let here = run(&ours, ingress.id(), CONNECTIONS, bench.effort.load).await?;
        room.queues.purge("postern.inbound").await?;
        pairs.push((here.rate, there.per_second));
    }
    spooled_nothing(&ingress).await?;
    let what = format!("form POST, {CONNECTIONS} connections");
    table.add(Row::paired(what, "accepts/s", peer, &pairs).judged_by(Target::AtLeast(target)));
    Ok(())
}

async fn kannel(bench: &Bench, room: &Room, table: &mut Table) -> Result<()> {
    {
        let kannel = kannel::Kannel::to_a_network().await?;
        accepts(bench, room, &kannel.sendsms(), "Kannel's sendsms, not durable", 2.0, table).await?;
        embedded_accepts(bench, &kannel, table).await?;
    }
    let config = bench.backends(1, 64);
    room.dispatcher(&config).await.terminate().await;
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = kannel_sends(bench).await?;
        let here = send::ours(bench, room, &config).await?;
        pairs.push((here.rate, there));
    }
    let row = Row::paired("sent, provider answers at once", "messages/s", "Kannel, HTTP to HTTP", &pairs);
    table.add(row.judged_by(Target::AtLeast(1.5)));
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = kannel_sends(bench).await?;
        let here = embedded::drain(bench, bench.effort.messages, 1, MessageLog::On).await?;
        pairs.push((here.rate, there));
    }
    let what = "embedded broker, sent, provider answers at once";
    table.add(Row::paired(what, "messages/s", "Kannel, HTTP to HTTP", &pairs));
    Ok(())
}

/// Neither Kannel nor Postern as one process needs a separate broker, so these two are compared. But Postern's
/// answer means that the message is on the disk.
async fn embedded_accepts(bench: &Bench, kannel: &kannel::Kannel, table: &mut Table) -> Result<()> {
    let mut pairs = Vec::new();
    for _ in 0..bench.effort.rounds {
        let there = wrk::load(&kannel.sendsms(), CONNECTIONS, bench.effort.load).await?;
        let here = embedded::accepts(bench, CONNECTIONS, MessageLog::On).await?;
        pairs.push((here.rate, there.per_second));
    }
    let what = format!("embedded broker, form POST, {CONNECTIONS} connections");
    table.add(Row::paired(what, "accepts/s", "Kannel's sendsms, not durable", &pairs));
    Ok(())
}

/// How many messages a second Kannel sends to the provider, after it has accepted enough of them.
async fn kannel_sends(bench: &Bench) -> Result<f64> {
    let kannel = kannel::Kannel::to_http(&bench.provider.url()).await?;
    let seen = bench.provider.expect(1_000_000, Duration::ZERO);
    let messages = wrk::load(&kannel.sendsms(), CONNECTIONS, bench.effort.load).await?.answers as u64;
    seen.reach(messages).await?;
    Ok(seen.rate(messages, 0.1, 0.9))
}
