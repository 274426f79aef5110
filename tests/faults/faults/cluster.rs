//! Three nodes on one machine, behind a proxy that balances connections as a cluster's load balancer does.

use super::broker::CONNECTION_LOST;
use crate::{
    field::{Field, PATIENCE, Setup},
    table::Row,
};
use postern_tests::{Proxy, Rabbit, Vhost, within};

/// The queues whose leader is killed, in turn; the leaders of the others are on any node.
const QUEUES: [&str; 3] = ["postern.wait.1000ms", "postern.outbound.x", "postern.inbound"];

/// The index of the node that leads `queue`.
async fn leader(nodes: &[Rabbit], vhost: &Vhost, queue: &str) -> usize {
    within(PATIENCE, "a leader that runs", async || {
        let leads = |node: &Rabbit| node.running() && node.leads(vhost, queue);
        nodes.iter().position(leads).ok_or("none")
    })
    .await
}

pub(crate) async fn leader_killed(name: &'static str, times: usize) -> Row {
    let nodes = Rabbit::cluster(3);
    let vhost = nodes[0].vhost();
    let ports: Vec<_> = nodes.iter().map(Rabbit::port).collect();
    let proxy = Proxy::to_any(&ports).await;
    let mut field = Field::pair(Setup::new(&vhost.url_at(proxy.port()))).await;
    for queue in QUEUES.iter().cycle().take(times) {
        let led = leader(&nodes, &vhost, queue).await;
        field.strike().await;
        nodes[led].kill();
        field.calm();
        let next = leader(&nodes, &vhost, queue).await;
        assert_ne!(next, led, "it leads and is dead");
        // The other nodes continue without it.
        field.recovers().await;
        // docs/guarantees.md says why RabbitMQ 3.10 may keep retries until the node is back.
        if !nodes[next].version().starts_with("3.") {
            field.retries().await;
        }
        nodes[led].start().await;
        field.recovers().await;
        field.retries().await;
    }
    field.settle(name, CONNECTION_LOST).await
}
