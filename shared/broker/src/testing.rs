//! What tests open a broker with.

use crate::{BrokerOptions, LogRoute, Topology};
use postern_shared::message::BackendName;
use std::time::Duration;

/// The queues of `backends`, with limits that no test meets by chance, one retry delay of a second, no
/// polls and no message log.
pub fn topology(backends: impl IntoIterator<Item = BackendName>) -> Topology {
    Topology {
        backends: backends.into_iter().collect(),
        polled: [].into(),
        delays: [Duration::from_secs(1)].into(),
        max_reports: 100_000,
        max_callbacks: 100_000,
        max_messages: None,
        log: LogRoute::None,
    }
}

/// The options for `topology`: 30 seconds for a publish, the default limit of deliveries, and no space
/// that must stay free on the disk.
pub fn options(topology: Topology) -> BrokerOptions {
    BrokerOptions {
        topology,
        publish_timeout: Duration::from_secs(30),
        client_name: "test".to_owned(),
        min_free_disk: 0,
        max_deliveries: 20,
    }
}
