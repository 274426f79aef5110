//! A RabbitMQ node that crashes, and one that takes no publishes.

use crate::{
    field::{FORWARDED, Field, IN_HAND, PATIENCE, Setup},
    load::UNDER_WAY,
    table::{Allowance, Row},
};
use postern_tests::{Alarm, HarmedRabbit, Rabbit, within};

/// So many messages are spooled before the broker comes back.
const SPOOLED: f64 = 30.0;
/// So many are spooled during an alarm: sending comes to a halt meanwhile.
const BLOCKED: f64 = 150.0;

/// What is published when the connection is lost, what is forwarded then, and what is sent.
pub(crate) const CONNECTION_LOST: Allowance =
    Allowance { doubled: UNDER_WAY + FORWARDED + IN_HAND, repeated: UNDER_WAY };

/// Nothing is lost with an alarm: what was on its way may be in the broker and in the spool, and retries whose
/// confirm is late are published twice.
pub(crate) const BLOCKED_BROKER: Allowance = Allowance { doubled: UNDER_WAY + IN_HAND, repeated: 0 };

async fn node() -> HarmedRabbit {
    Rabbit::to_harm().await
}

async fn is_away(field: &mut Field) {
    field.front_metric("postern_broker_connected", |connected| connected == 0.0).await;
    let dispatcher = field.dispatcher();
    within(PATIENCE, "the dispatcher to miss the broker", async || {
        let connected = dispatcher.metric("postern_broker_connected").await?;
        if connected == 0.0 { Ok(()) } else { Err(connected.to_string()) }
    })
    .await;
}

/// Kills the node, and starts it again once messages are spooled.
pub(crate) async fn kill(field: &mut Field, rabbit: &Rabbit) {
    field.strike().await;
    rabbit.kill();
    field.calm();
    is_away(field).await;
    field.spools(SPOOLED).await;
    rabbit.start().await;
    field.recovers().await;
    field.spool_empties().await;
}

/// Kills the node and both services, and starts all of them again.
pub(crate) async fn cut_power(field: &mut Field, rabbit: &Rabbit) {
    field.strike().await;
    rabbit.kill();
    field.front.kill();
    field.dispatcher().kill();
    field.calm();
    field.goes_unanswered(UNDER_WAY).await;
    // A machine that boots starts its services before the broker is ready.
    field.front.restart().await;
    field.spools(SPOOLED).await;
    rabbit.start().await;
    field.dispatcher().restart().await;
    field.recovers().await;
}

/// Raises an alarm, and ends it once many messages are spooled.
pub(crate) async fn raise(field: &mut Field, rabbit: &Rabbit, alarm: Alarm) {
    field.strike().await;
    rabbit.alarm(alarm, true);
    field.calm();
    field.front_metric("postern_broker_blocked", |blocked| blocked == 1.0).await;
    field.spools(BLOCKED).await;
    rabbit.alarm(alarm, false);
    field.recovers().await;
    field.spool_empties().await;
}

pub(crate) async fn killed(name: &'static str, times: usize) -> Row {
    let rabbit = node().await;
    let mut field = Field::pair(Setup::new(&rabbit.vhost().into_url())).await;
    for _ in 0..times {
        kill(&mut field, &rabbit).await;
    }
    field.settle(name, CONNECTION_LOST).await
}

pub(crate) async fn power_cut(name: &'static str, times: usize) -> Row {
    let rabbit = node().await;
    let mut field = Field::pair(Setup::new(&rabbit.vhost().into_url())).await;
    for _ in 0..times {
        cut_power(&mut field, &rabbit).await;
    }
    field.settle(name, CONNECTION_LOST).await
}

async fn alarm(name: &'static str, times: usize, alarm: Alarm) -> Row {
    let rabbit = node().await;
    let mut field = Field::pair(Setup::new(&rabbit.vhost().into_url())).await;
    for _ in 0..times {
        raise(&mut field, &rabbit, alarm).await;
    }
    field.settle(name, BLOCKED_BROKER).await
}

pub(crate) async fn memory_alarm(name: &'static str, times: usize) -> Row {
    alarm(name, times, Alarm::Memory).await
}

pub(crate) async fn disk_alarm(name: &'static str, times: usize) -> Row {
    alarm(name, times, Alarm::Disk).await
}
