//! Postern's own processes: killed, or told to end.

use crate::{
    field::{ECHOED, Field, IN_HAND},
    load::UNDER_WAY,
    table::{Allowance, Row},
};
use postern_tests::{Folder, Rabbit};

async fn shared() -> String {
    Rabbit::shared().vhost().url()
}

/// What was in flight at the ingress: senders that got no answer repeat themselves.
const UNANSWERED: Allowance = Allowance { doubled: 0, repeated: UNDER_WAY };

pub(crate) async fn ingress_killed(name: &'static str, times: usize) -> Row {
    let mut field = Field::pair(&shared().await, "").await;
    for _ in 0..times {
        field.strike().await;
        field.front.kill();
        field.calm();
        field.goes_unanswered(UNDER_WAY).await;
        field.front.restart().await;
        field.recovers().await;
        field.spool_empties().await;
    }
    field.settle(name, UNANSWERED).await
}

pub(crate) async fn dispatcher_killed(name: &'static str, times: usize) -> Row {
    let mut field = Field::pair(&shared().await, "").await;
    for _ in 0..times {
        field.strike().await;
        field.dispatcher().kill();
        field.calm();
        field.accepts_meanwhile().await;
        field.dispatcher().restart().await;
        field.recovers().await;
    }
    field.settle(name, Allowance { doubled: IN_HAND, repeated: 0 }).await
}

async fn one_process_killed(name: &'static str, mut field: Field, times: usize) -> Row {
    for _ in 0..times {
        field.strike().await;
        field.front.kill();
        field.calm();
        field.goes_unanswered(UNDER_WAY).await;
        field.front.restart().await;
        field.recovers().await;
        field.spool_empties().await;
    }
    field.settle(name, Allowance { doubled: IN_HAND + ECHOED, ..UNANSWERED }).await
}

pub(crate) async fn gateway_killed(name: &'static str, times: usize) -> Row {
    let field = Field::gateway(&shared().await, "").await;
    one_process_killed(name, field, times).await
}

pub(crate) async fn embedded_killed(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    let field = Field::gateway(&embedded(&folder), "").await;
    one_process_killed(name, field, times).await
}

pub(crate) async fn ingress_drained(name: &'static str, times: usize) -> Row {
    let mut field = Field::pair(&shared().await, "").await;
    for _ in 0..times {
        field.strike().await;
        field.front.drain().await;
        field.calm();
        field.goes_unanswered(UNDER_WAY).await;
        field.front.restart().await;
        field.recovers().await;
        field.spool_empties().await;
    }
    field.settle(name, Allowance::default()).await
}

pub(crate) async fn dispatcher_drained(name: &'static str, times: usize) -> Row {
    let mut field = Field::pair(&shared().await, "").await;
    for _ in 0..times {
        field.strike().await;
        field.dispatcher().drain().await;
        field.calm();
        field.accepts_meanwhile().await;
        field.dispatcher().restart().await;
        field.recovers().await;
    }
    field.settle(name, Allowance::default()).await
}

pub(crate) async fn embedded_drained(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    let mut field = Field::gateway(&embedded(&folder), "").await;
    for _ in 0..times {
        field.strike().await;
        field.front.drain().await;
        field.calm();
        field.goes_unanswered(UNDER_WAY).await;
        field.front.restart().await;
        field.recovers().await;
        field.spool_empties().await;
    }
    field.settle(name, Allowance::default()).await
}

fn embedded(folder: &Folder) -> String {
    format!("embedded:{}", folder.path().join("data").display())
}
