//! Operators' commands under load, and a `kill -9` of the process that carries them out.

use crate::{
    field::{FORWARDED, Field, IN_HAND, PATIENCE, Setup, TOKEN},
    load::UNDER_WAY,
    services::Service,
    table::{Allowance, Row},
};
use postern_tests::{Folder, Rabbit, fetch, http_client, within};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How many messages an interrupted cancellation or move may duplicate on RabbitMQ (docs/guarantees.md); the
/// embedded broker replaces messages in one transaction.
const MAY_DOUBLE: usize = 512;
/// How many messages wait for the backend when a command strikes: more than are settled at once.
const WAITING: usize = 512;
/// Messages in flight, and those that the dispatcher holds for two backends and a webhook.
pub(crate) const IN_FLIGHT: Allowance = Allowance { doubled: 2 * IN_HAND, repeated: UNDER_WAY };
const INTERRUPTED: Allowance = Allowance { doubled: 2 * IN_HAND + MAY_DOUBLE, ..IN_FLIGHT };

/// A command whose process is killed while carrying it out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Command {
    Pause,
    Cancel,
    Move,
}

impl Command {
    /// The path and the body of its request.
    fn request(self) -> (&'static str, Value) {
        match self {
            Self::Pause => ("/v1/backends/x/pause", json!({})),
            Self::Cancel => ("/v1/backends/x/cancel", json!({})),
            Self::Move => ("/v1/queues/x/move", json!({"to": "y"})),
        }
    }

    /// What the command may duplicate if it is interrupted.
    pub(crate) const fn allowance(self, embedded: bool) -> Allowance {
        let in_flight = embedded || matches!(self, Self::Pause);
        let allowed = if in_flight { IN_FLIGHT } else { INTERRUPTED };
        // While RabbitMQ is slow to confirm, accepted messages go through the spool.
        let spooled = if embedded { 0 } else { FORWARDED };
        Allowance { doubled: allowed.doubled + spooled, ..allowed }
    }
}

/// Sends a command to the admin port until it is carried out: a process that has just started may not be
/// connected to its broker.
async fn give(service: &Service, (path, body): (&str, Value)) -> Value {
    within(PATIENCE, path, async || {
        let reply = fetch(command(service, path, &body)).await.map_err(|error| error.to_string())?;
        if reply.status == 200 { Ok(reply.json()) } else { Err(reply.text) }
    })
    .await
}

fn command(service: &Service, path: &str, body: &Value) -> RequestBuilder {
    let url = format!("http://127.0.0.1:{}{path}", service.program().admin_port());
    http_client().post(url).bearer_auth(TOKEN).json(body).timeout(PATIENCE)
}

async fn pause(service: &Service) {
    assert_eq!(give(service, Command::Pause.request()).await["paused"], true, "it is not paused");
}

/// Kills the sending process while it carries out a command, at another moment for each `time`. The services are
/// one process or two.
pub(crate) async fn interrupt(field: &mut Field, time: usize, command: Command) {
    if command == Command::Pause {
        field.strike().await;
        pause(field.dispatcher()).await;
    } else {
        pause(field.dispatcher()).await;
        field.piles_up(WAITING).await;
        let moment = Duration::from_millis(20 * (1 + time as u64 % 6));
        let _ = tokio::time::timeout(moment, give(field.dispatcher(), command.request())).await;
    }
    field.dispatcher().kill();
    field.calm();
    if field.back.is_none() {
        field.goes_unanswered(UNDER_WAY).await;
    }
    field.dispatcher().restart().await;
    let dispatcher = field.dispatcher();
    within(PATIENCE, "the pause to hold", async || {
        let ready = dispatcher.program().ready().await.map_err(|error| error.to_string())?;
        if ready.text.contains("backend x is paused by an operator") { Ok(()) } else { Err(ready.text) }
    })
    .await;
    // A client that got no answer repeats the command.
    if command != Command::Pause {
        give(field.dispatcher(), command.request()).await;
    }
    give(field.dispatcher(), ("/v1/backends/x/resume", json!({}))).await;
    field.recovers().await;
    field.spool_empties().await;
}

async fn commands(name: &'static str, mut field: Field, times: usize, command: Command) -> Row {
    for time in 0..times {
        interrupt(&mut field, time, command).await;
    }
    let (ledger, allowed) = (Arc::clone(&field.ledger), command.allowance(field.is_embedded()));
    let mut row = field.settle(name, allowed).await;
    let cancelled = ledger.cancellations();
    if command == Command::Cancel && cancelled < times * WAITING {
        row.problems.push(format!("only {cancelled} messages were cancelled"));
    }
    row
}

async fn shared() -> Field {
    Field::gateway(Setup::new(&Rabbit::shared().vhost().into_url()).backend("y")).await
}

async fn embedded(folder: &Folder) -> Field {
    let url = format!("embedded:{}", folder.path().join("data").display());
    Field::gateway(Setup::new(&url).backend("y")).await
}

pub(crate) async fn paused(name: &'static str, times: usize) -> Row {
    commands(name, shared().await, times, Command::Pause).await
}

pub(crate) async fn cancelled(name: &'static str, times: usize) -> Row {
    commands(name, shared().await, times, Command::Cancel).await
}

pub(crate) async fn moved(name: &'static str, times: usize) -> Row {
    commands(name, shared().await, times, Command::Move).await
}

pub(crate) async fn paused_embedded(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    commands(name, embedded(&folder).await, times, Command::Pause).await
}

pub(crate) async fn cancelled_embedded(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    commands(name, embedded(&folder).await, times, Command::Cancel).await
}

pub(crate) async fn moved_embedded(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    commands(name, embedded(&folder).await, times, Command::Move).await
}
