//! Postern's own processes are killed or told to stop.

use crate::{
    field::{ECHOED, Field, IN_HAND, Setup},
    load::UNDER_WAY,
    services::Service,
    table::{Allowance, Row},
};
use postern_tests::{Folder, Rabbit};

async fn shared() -> String {
    Rabbit::shared().vhost().into_url()
}

/// Messages in flight at the ingress: senders that got no answer repeat them.
pub(crate) const UNANSWERED: Allowance = Allowance { doubled: 0, repeated: UNDER_WAY };
/// Messages that the dispatcher holds.
pub(crate) const HELD: Allowance = Allowance { doubled: IN_HAND, repeated: 0 };
/// Messages in flight at the ingress, and those that its dispatcher and its echo hold.
const ONE_PROCESS: Allowance = Allowance { doubled: IN_HAND + ECHOED, ..UNANSWERED };

/// How a process is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and waiting for the drain.
    Drain,
}

impl End {
    async fn strike(self, service: &mut Service) {
        match self {
            Self::Kill => service.kill(),
            Self::Drain => service.drain().await,
        }
    }
}

/// Ends the process that accepts messages, the ingress or the one process, and starts it again.
pub(crate) async fn end_front(field: &mut Field, end: End) {
    field.strike().await;
    end.strike(&mut field.front).await;
    field.calm();
    field.goes_unanswered(UNDER_WAY).await;
    field.front.restart().await;
    field.recovers().await;
    field.spool_empties().await;
}

/// Ends the dispatcher while the ingress accepts messages, and starts it again.
pub(crate) async fn end_dispatcher(field: &mut Field, end: End) {
    field.strike().await;
    end.strike(field.dispatcher()).await;
    field.calm();
    field.accepts_meanwhile().await;
    field.dispatcher().restart().await;
    field.recovers().await;
}

async fn front(name: &'static str, mut field: Field, times: usize, end: End, allowed: Allowance) -> Row {
    for _ in 0..times {
        end_front(&mut field, end).await;
    }
    field.settle(name, allowed).await
}

async fn back(name: &'static str, times: usize, end: End, allowed: Allowance) -> Row {
    let mut field = Field::pair(Setup::new(&shared().await).patient()).await;
    for _ in 0..times {
        end_dispatcher(&mut field, end).await;
    }
    field.settle(name, allowed).await
}

pub(crate) async fn ingress_killed(name: &'static str, times: usize) -> Row {
    let field = Field::pair(Setup::new(&shared().await).patient()).await;
    front(name, field, times, End::Kill, UNANSWERED).await
}

pub(crate) async fn dispatcher_killed(name: &'static str, times: usize) -> Row {
    back(name, times, End::Kill, HELD).await
}

pub(crate) async fn gateway_killed(name: &'static str, times: usize) -> Row {
    let field = Field::gateway(Setup::new(&shared().await).patient().echo()).await;
    front(name, field, times, End::Kill, ONE_PROCESS).await
}

pub(crate) async fn embedded_killed(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    let field = Field::gateway(Setup::new(&embedded(&folder)).patient().echo()).await;
    front(name, field, times, End::Kill, ONE_PROCESS).await
}

pub(crate) async fn ingress_drained(name: &'static str, times: usize) -> Row {
    let field = Field::pair(Setup::new(&shared().await).patient()).await;
    front(name, field, times, End::Drain, Allowance::NONE).await
}

pub(crate) async fn dispatcher_drained(name: &'static str, times: usize) -> Row {
    back(name, times, End::Drain, Allowance::NONE).await
}

pub(crate) async fn embedded_drained(name: &'static str, times: usize) -> Row {
    let folder = Folder::new();
    let field = Field::gateway(Setup::new(&embedded(&folder)).patient().echo()).await;
    front(name, field, times, End::Drain, Allowance::NONE).await
}

fn embedded(folder: &Folder) -> String {
    format!("embedded:{}", folder.path().join("data").display())
}
