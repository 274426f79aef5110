//! Accepted requests a second: 2xx answers to requests whose messages are confirmed by a quorum queue.

use crate::{
    floor::ACCEPTED,
    load::{Request, wrk},
    queue::TEXT,
    rig::{Bench, Stretch, spooled_nothing},
    table::{Row, Table, Target},
};
use anyhow::Result;
use postern_tests::usage;
use serde_json::json;
use std::time::Duration;

/// The number of recipients in one request.
const RECIPIENTS: usize = 100;
const CONNECTIONS: [usize; 2] = [64, 256];

/// The form that is posted to Postern and to the floor.
pub(crate) fn form(base: &str, path: &str) -> Request {
    Request::form(base, path, &format!("identity=%2B15551234567&text={}", TEXT.replace(' ', "+")))
}

/// The same message as JSON, to `recipients` recipients.
pub(crate) fn json(base: &str, recipients: usize) -> Request {
    let identities: Vec<String> = (0..recipients).map(|n| format!("+1555{n:07}")).collect();
    Request::json(base, "/v1/messages", &json!({"backend": "bench", "identities": identities, "text": TEXT}))
}

/// One run: the rate of `post`, and what each request costs `process`.
pub(crate) async fn run(post: &Request, process: u32, connections: usize, load: Duration) -> Result<Stretch> {
    let before = usage::cpu(process);
    let rate = wrk::load(post, connections, load).await?;
    let cpu = (usage::cpu(process) - before).as_secs_f64() * 1e6 / rate.answers.max(1.0);
    Ok(Stretch { rate: rate.per_second, cpu })
}

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let room = bench.room().await?;
    let ingress = room.ingress(&bench.backends(1, 64)).await;
    let (floor, base) = room.bare_handler().await?;
    let (ours, theirs) = (ingress.id(), floor.id()?);
    let bare = form(&base, "/");
    let posts = [
        ("form POST", form(&ingress.url(), "/backends/bench"), "postern.inbound"),
        ("JSON /v1/messages", json(&ingress.url(), 1), "postern.outbound.bench"),
        ("100 recipients a request", json(&ingress.url(), RECIPIENTS), "postern.outbound.bench"),
    ];
    for (_, post, _) in &posts {
        run(post, ours, 64, Duration::from_secs(1)).await?;
    }
    let purge = async || -> Result<()> {
        for queue in [ACCEPTED, "postern.inbound", "postern.outbound.bench"] {
            room.queues.purge(queue).await?;
        }
        Ok(())
    };
    run(&bare, theirs, 64, Duration::from_secs(1)).await?;
    purge().await?;
    spooled_nothing(&ingress).await?;
    for connections in CONNECTIONS {
        let mut pairs: [Vec<(Stretch, Stretch)>; 3] = Default::default();
        for _ in 0..bench.effort.rounds {
            for ((_, post, _), pairs) in posts.iter().zip(&mut pairs) {
                let there = run(&bare, theirs, connections, bench.effort.load).await?;
                purge().await?;
                let here = run(post, ours, connections, bench.effort.load).await?;
                purge().await?;
                pairs.push((here, there));
            }
        }
        spooled_nothing(&ingress).await?;
        for (index, ((what, ..), pairs)) in posts.iter().zip(&pairs).enumerate() {
            let recipients = if index == 2 { RECIPIENTS as f64 } else { 1.0 };
            let rates: Vec<_> =
                pairs.iter().map(|(here, there)| (here.rate * recipients, there.rate)).collect();
            let what = format!("{what}, {connections} connections");
            let (unit, target) = match index {
                0 => ("accepts/s", Target::AtLeast(1.0)),
                1 => ("accepts/s", Target::AtLeast(0.9)),
                _ => ("recipients/s", Target::AtLeast(5.0)),
            };
            table.add(Row::paired(&what, unit, "bare handler", &rates).judged_by(target));
            let cpu: Vec<_> = pairs.iter().map(|(here, there)| (here.cpu, there.cpu)).collect();
            table.add(Row::paired(format!("{what}: CPU"), "µs/request", "bare handler", &cpu));
        }
    }
    Ok(())
}
