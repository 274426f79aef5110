//! A network between both services and the broker that does what networks do.

use super::broker::CONNECTION_LOST;
use crate::{
    field::{Field, PATIENCE},
    table::{Allowance, Row},
};
use postern_tests::{Direction, Proxy, Rabbit, Vhost, within};
use std::time::Duration;

/// Far below `publish_timeout`: nothing may come twice.
const SLOW: Duration = Duration::from_millis(150);

struct Net {
    proxy: Proxy,
    field: Field,
    _vhost: Vhost,
}

impl Net {
    async fn start(parameters: &str) -> Self {
        let vhost = Rabbit::shared().vhost();
        let proxy = Proxy::to(vhost.port()).await;
        let url = vhost.url_at(proxy.port()) + parameters;
        Self { field: Field::pair(&url, "").await, proxy, _vhost: vhost }
    }

    /// Waits until both services have dialled again: each has two connections.
    async fn dialled_again(&self, before: usize) {
        within(PATIENCE, "the services to connect again", async || {
            let now = self.proxy.accepted();
            if now >= before + 4 { Ok(()) } else { Err(format!("{} new connections", now - before)) }
        })
        .await;
    }
}

pub(crate) async fn cut(name: &'static str, times: usize) -> Row {
    let mut net = Net::start("").await;
    for _ in 0..times {
        net.field.strike().await;
        let before = net.proxy.accepted();
        net.proxy.cut();
        net.field.calm();
        net.dialled_again(before).await;
        net.field.recovers().await;
    }
    net.field.settle(name, CONNECTION_LOST).await
}

pub(crate) async fn half_closed(name: &'static str, times: usize) -> Row {
    let mut net = Net::start("?heartbeat=5").await;
    for time in 0..times {
        net.field.strike().await;
        let before = net.proxy.accepted();
        net.proxy.half_close(if time % 2 == 0 { Direction::Down } else { Direction::Up });
        net.field.calm();
        net.dialled_again(before).await;
        net.field.recovers().await;
    }
    net.field.settle(name, CONNECTION_LOST).await
}

/// No packet arrives and nobody is told: heartbeats find it out.
pub(crate) async fn silent(name: &'static str, times: usize) -> Row {
    let mut net = Net::start("?heartbeat=5&connection_timeout=2000").await;
    for _ in 0..times {
        net.field.strike().await;
        let before = net.proxy.accepted();
        net.proxy.freeze();
        net.field.spools(30.0).await;
        net.field.calm();
        net.dialled_again(before).await;
        net.proxy.thaw();
        net.field.recovers().await;
    }
    net.field.settle(name, CONNECTION_LOST).await
}

pub(crate) async fn slow(name: &'static str, times: usize) -> Row {
    let mut net = Net::start("").await;
    for _ in 0..times {
        net.field.strike().await;
        net.proxy.delay(SLOW);
        let before = net.field.ledger.counts();
        for _ in 0..5 {
            let took = net.field.time_of_one().await;
            assert!(took > SLOW, "accepted after {took:?}, and nothing was slow");
        }
        assert!(net.field.ledger.counts().accepted > before.accepted, "nothing but those five");
        net.proxy.delay(Duration::ZERO);
        net.field.recovers().await;
    }
    net.field.settle(name, Allowance::default()).await
}
