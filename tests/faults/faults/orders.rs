//! Operators' orders under load, and a `kill -9` of the process that carries them out.

use crate::{
    field::{FORWARDED, Field, IN_HAND, PATIENCE, TOKEN},
    load::UNDER_WAY,
    services::Service,
    table::{Allowance, Row},
};
use postern_tests::{Folder, Rabbit, fetch, http_client, within};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// What docs/guarantees.md says that an interrupted cancellation or move may double.
const AT_ONCE: usize = 256;
/// How many messages wait for the backend when an order strikes: more than are settled at once.
const WAITING: usize = 2 * AT_ONCE;
/// What was in flight, and in the dispatcher's hands: of two backends and a webhook.
const IN_FLIGHT: Allowance = Allowance { doubled: 2 * IN_HAND, repeated: UNDER_WAY };
const INTERRUPTED: Allowance = Allowance { doubled: 2 * IN_HAND + AT_ONCE, ..IN_FLIGHT };

/// An order that is carried out when its process is killed.
#[derive(Clone, Copy)]
enum Order {
    Pause,
    Cancel,
    Move,
}

/// Gives an order over the admin port.
async fn give(service: &Service, path: &str, body: Value) -> Value {
    let url = format!("http://127.0.0.1:{}{path}", service.program().admin_port());
    let request = http_client().post(url).bearer_auth(TOKEN).json(&body).timeout(PATIENCE);
    let reply = fetch(request).await.expect("an answer to the order");
    assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    reply.json()
}

async fn pause(service: &Service) {
    assert_eq!(give(service, "/v1/backends/x/pause", json!({})).await["paused"], true, "it is not paused");
}

/// Begins an order, and kills its process in the middle; each time at another moment.
async fn interrupted(field: &mut Field, time: usize, path: &str, body: Value) {
    let moment = Duration::from_millis(20 * (1 + time as u64 % 6));
    let _ = tokio::time::timeout(moment, give(&field.front, path, body)).await;
    field.front.kill();
}

async fn orders(name: &'static str, mut field: Field, times: usize, order: Order) -> Row {
    for time in 0..times {
        match order {
            Order::Pause => {
                field.strike().await;
                pause(&field.front).await;
                field.front.kill();
            }
            Order::Cancel => {
                pause(&field.front).await;
                field.piles_up(WAITING).await;
                interrupted(&mut field, time, "/v1/backends/x/cancel", json!({})).await;
            }
            Order::Move => {
                pause(&field.front).await;
                field.piles_up(WAITING).await;
                interrupted(&mut field, time, "/v1/queues/x/move", json!({"to": "y"})).await;
            }
        }
        field.calm();
        field.goes_unanswered(UNDER_WAY).await;
        field.front.restart().await;
        within(PATIENCE, "the pause to hold", async || {
            let ready = field.front.program().ready().await.map_err(|error| error.to_string())?;
            if ready.text.contains("backend x is paused by an operator") { Ok(()) } else { Err(ready.text) }
        })
        .await;
        // Who got no answer gives the order again.
        match order {
            Order::Pause => {}
            Order::Cancel => drop(give(&field.front, "/v1/backends/x/cancel", json!({})).await),
            Order::Move => drop(give(&field.front, "/v1/queues/x/move", json!({"to": "y"})).await),
        }
        give(&field.front, "/v1/backends/x/resume", json!({})).await;
        field.recovers().await;
        field.spool_empties().await;
    }
    let ledger = Arc::clone(&field.ledger);
    let allowed = if matches!(order, Order::Pause) { IN_FLIGHT } else { INTERRUPTED };
    // While RabbitMQ is slow to confirm, what is accepted goes through the spool.
    let spooled = if field.is_embedded() { 0 } else { FORWARDED };
    let allowed = Allowance { doubled: allowed.doubled + spooled, ..allowed };
    let mut row = field.settle(name, allowed).await;
    let cancelled = ledger.cancellations();
    if matches!(order, Order::Cancel) && cancelled < times * WAITING {
        row.problems.push(format!("only {cancelled} messages were cancelled"));
    }
    row
}

async fn shared() -> Field {
    Field::alone(&Rabbit::shared().vhost().url()).await
}

async fn embedded(folder: &Folder) -> Field {
    Field::alone(&format!("embedded:{}", folder.path().join("data").display())).await
}

pub(crate) async fn paused(name: &'static str, times: usize) -> Row {
    orders(name, shared().await, times, Order::Pause).await
}

pub(crate) async fn cancelled(name: &'static str, times: usize) -> Row {
    orders(name, shared().await, times, Order::Cancel).await
}

pub(crate) async fn moved(name: &'static str, times: usize) -> Row {
    orders(name, shared().await, times, Order::Move).await
}

pub(crate) async fn paused_embedded(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    orders(name, embedded(&folder).await, times, Order::Pause).await
}

pub(crate) async fn cancelled_embedded(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    orders(name, embedded(&folder).await, times, Order::Cancel).await
}

pub(crate) async fn moved_embedded(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    orders(name, embedded(&folder).await, times, Order::Move).await
}
