//! A network between both services and the broker that delays, cuts and goes silent.

use super::broker::CONNECTION_LOST;
use crate::{
    field::{Field, PATIENCE, Setup},
    table::{Allowance, Row},
};
use postern_tests::{Direction, Proxy, Rabbit, Vhost, within};
use std::time::Duration;

/// Far below `publish_timeout`, so nothing may come twice.
const SLOW: Duration = Duration::from_millis(150);
/// Parameters of the broker's address with which a silent broker is noticed soon.
pub(crate) const HEARTBEAT: &str = "?heartbeat=5&connection_timeout=2000";
/// The directions that are closed, in turn.
pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::Down, Direction::Up];

/// Waits until both services have connected again; each has two connections.
async fn dialled_again(proxy: &Proxy, before: usize) {
    within(PATIENCE, "the services to connect again", async || {
        let now = proxy.accepted();
        if now >= before + 4 { Ok(()) } else { Err(format!("{} new connections", now - before)) }
    })
    .await;
}

/// Cuts every connection.
pub(crate) async fn cut_all(field: &mut Field, proxy: &Proxy) {
    field.strike().await;
    let before = proxy.accepted();
    proxy.cut();
    field.calm();
    dialled_again(proxy, before).await;
    field.recovers().await;
}

/// Closes one direction of every connection.
pub(crate) async fn half_close(field: &mut Field, proxy: &Proxy, direction: Direction) {
    field.strike().await;
    let before = proxy.accepted();
    proxy.half_close(direction);
    field.calm();
    dialled_again(proxy, before).await;
    field.recovers().await;
}

/// Lets no packet through and closes nothing: heartbeats notice it.
pub(crate) async fn silence(field: &mut Field, proxy: &Proxy) {
    field.strike().await;
    let before = proxy.accepted();
    proxy.freeze();
    field.spools(30.0).await;
    field.calm();
    dialled_again(proxy, before).await;
    proxy.thaw();
    field.recovers().await;
}

/// Delays everything.
pub(crate) async fn slow_down(field: &mut Field, proxy: &Proxy) {
    field.strike().await;
    proxy.delay(SLOW);
    let before = field.ledger.counts();
    let mut slowed = 0;
    within(PATIENCE, "five messages to be slowed down", async || {
        let took = field.time_of_one().await;
        // While RabbitMQ is slow to confirm, a message goes through the spool, for which the network is not needed.
        slowed += usize::from(took > SLOW);
        if slowed == 5 { Ok(()) } else { Err(format!("{slowed}; the last was accepted after {took:?}")) }
    })
    .await;
    assert!(field.ledger.counts().accepted > before.accepted, "nothing but those five");
    proxy.delay(Duration::ZERO);
    field.recovers().await;
}

struct Net {
    proxy: Proxy,
    field: Field,
    _vhost: Vhost,
}

impl Net {
    async fn start(parameters: &str) -> Self {
        Self::with(|url| Setup::new(&(url + parameters))).await
    }

    async fn with(setup: impl FnOnce(String) -> Setup) -> Self {
        let vhost = Rabbit::shared().vhost();
        let proxy = Proxy::to(vhost.port()).await;
        let setup = setup(vhost.url_at(proxy.port()));
        Self { field: Field::pair(setup).await, proxy, _vhost: vhost }
    }
}

pub(crate) async fn cut(name: &'static str, times: usize) -> Row {
    let mut net = Net::start("").await;
    for _ in 0..times {
        cut_all(&mut net.field, &net.proxy).await;
    }
    net.field.settle(name, CONNECTION_LOST).await
}

pub(crate) async fn half_closed(name: &'static str, times: usize) -> Row {
    let mut net = Net::start(HEARTBEAT).await;
    for direction in DIRECTIONS.iter().cycle().take(times) {
        half_close(&mut net.field, &net.proxy, *direction).await;
    }
    net.field.settle(name, CONNECTION_LOST).await
}

pub(crate) async fn silent(name: &'static str, times: usize) -> Row {
    let mut net = Net::start(HEARTBEAT).await;
    for _ in 0..times {
        silence(&mut net.field, &net.proxy).await;
    }
    net.field.settle(name, CONNECTION_LOST).await
}

pub(crate) async fn slow(name: &'static str, times: usize) -> Row {
    let mut net = Net::with(|url| Setup::new(&url).patient()).await;
    for _ in 0..times {
        slow_down(&mut net.field, &net.proxy).await;
    }
    net.field.settle(name, Allowance::NONE).await
}
