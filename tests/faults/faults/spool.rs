//! An ingress that is killed while its spool holds messages, and while it forwards them.

use super::broker::CONNECTION_LOST;
use crate::{
    field::{Field, Setup},
    load::UNDER_WAY,
    table::{Allowance, Row},
};
use postern_tests::{Proxy, Rabbit};

/// How many messages are in the spool when the ingress is killed.
const HELD: f64 = 200.0;

/// Each time, the ingress is killed twice.
pub(crate) const TWICE: Allowance = Allowance { repeated: 2 * UNDER_WAY, ..CONNECTION_LOST };

/// Kills the ingress while its spool holds messages, and again while it forwards them.
pub(crate) async fn kill(field: &mut Field, proxy: &Proxy) {
    field.strike().await;
    proxy.refuse(true);
    proxy.cut();
    field.front_metric("postern_spool_messages", |messages| messages >= HELD).await;
    field.front.kill();
    field.calm();
    field.goes_unanswered(UNDER_WAY).await;
    field.front.restart().await;
    field.front_metric("postern_spool_messages", |messages| messages >= HELD).await;
    proxy.refuse(false);
    field.forwards().await;
    field.front.kill();
    field.front.restart().await;
    field.recovers().await;
    field.spool_empties().await;
}

pub(crate) async fn killed(name: &'static str, times: usize) -> Row {
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let mut field = Field::pair(Setup::new(&vhost.url_at(proxy.port()))).await;
    for _ in 0..times {
        kill(&mut field, &proxy).await;
    }
    field.settle(name, TWICE).await
}
