//! A RabbitMQ node that crashes, and one that accepts no publishes.

use crate::{
    field::{FORWARDED, Field, IN_HAND, PATIENCE, Setup},
    load::UNDER_WAY,
    table::{Allowance, Row},
};
use postern_tests::{Alarm, HarmedRabbit, Rabbit, within};

/// The number of messages spooled before the broker comes back.
const SPOOLED: f64 = 30.0;
/// The number of messages spooled during an alarm, while nothing is sent.
const BLOCKED: f64 = 150.0;

/// May come twice: what is being published when the connection is lost, what the spool forwards, and what is
/// being sent.
pub(crate) const CONNECTION_LOST: Allowance =
    Allowance { doubled: UNDER_WAY + FORWARDED + IN_HAND, repeated: UNDER_WAY };

/// An alarm loses nothing: a message on its way may be both in the broker and in the spool, and a retry whose
/// confirm is late is published twice.
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

/// Kills the node and both services, and starts all three again.
pub(crate) async fn cut_power(field: &mut Field, rabbit: &Rabbit) {
    field.strike().await;
    rabbit.kill();
    field.front.kill();
    field.dispatcher().kill();
    field.calm();
    field.goes_unanswered(UNDER_WAY).await;
    // At boot, services start before the broker is ready.
    field.front.restart().await;
    field.spools(SPOOLED).await;
    rabbit.start().await;
    field.dispatcher().restart().await;
    field.recovers().await;
}

/// Raises an alarm, and clears it once many messages are spooled.
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
