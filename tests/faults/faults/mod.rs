//! The faults. Each is a scenario that lets a fault strike several times and checks that it did strike and that
//! everything flows again. The last line of a scenario says what docs/guarantees.md allows.

pub(crate) mod broker;
pub(crate) mod cluster;
pub(crate) mod commands;
pub(crate) mod disk;
pub(crate) mod network;
pub(crate) mod processes;
pub(crate) mod spool;

use crate::table::Row;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// How long each scenario is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// How often a fault strikes.
    pub(crate) times: usize,
    /// How long an attack lasts.
    pub(crate) attack: Duration,
}

/// A fault or an attack: its name, and the function that runs it.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&'static str, Extent) -> LocalBoxFuture<'static, Row>,
}

/// A fault as a scenario: `scenario!("what happens", function)`.
macro_rules! scenario {
    ($name:literal, $run:path) => {
        $crate::faults::Scenario { name: $name, run: |name, extent| Box::pin($run(name, extent.times)) }
    };
}

/// The faults of a lane strike one after the other; the lanes run at the same time. Most of the time they wait
/// for timers and for programs to start.
pub(crate) const LANES: &[&[Scenario]] = &[
    &[
        scenario!("kill -9 of the broker", broker::killed),
        scenario!("the broker's memory alarm", broker::memory_alarm),
        scenario!("the broker's disk alarm", broker::disk_alarm),
    ],
    &[scenario!("three nodes: kill -9 of the queues' leader", cluster::leader_killed)],
    &[
        scenario!("kill -9 of the ingress", processes::ingress_killed),
        scenario!("kill -9 of the dispatcher", processes::dispatcher_killed),
        scenario!("kill -9 of the one process, RabbitMQ", processes::gateway_killed),
        scenario!("SIGTERM to the ingress", processes::ingress_drained),
        scenario!("SIGTERM to the dispatcher", processes::dispatcher_drained),
    ],
    &[
        scenario!("the network cuts every connection to the broker", network::cut),
        scenario!("the network closes one direction", network::half_closed),
        scenario!("the network goes silent", network::silent),
        scenario!("the network is slow", network::slow),
    ],
    &[
        scenario!("kill -9 of the one process, embedded", processes::embedded_killed),
        scenario!("SIGTERM to the one process, embedded", processes::embedded_drained),
        scenario!("full disk under the embedded broker, and kill -9", disk::full_under_embedded),
        scenario!("a pause and kill -9 of the one process, embedded", commands::paused_embedded),
        scenario!("kill -9 during a cancellation, embedded", commands::cancelled_embedded),
        scenario!("kill -9 during a move, embedded", commands::moved_embedded),
        scenario!("kill -9 of the broker, the ingress and the dispatcher at once", broker::power_cut),
    ],
    &[
        scenario!("full disk under the spool", disk::full_under_spool),
        scenario!("kill -9 of the ingress with a spool that is not empty", spool::killed),
        scenario!("a pause and kill -9 of the one process, RabbitMQ", commands::paused),
        scenario!("kill -9 during a cancellation, RabbitMQ", commands::cancelled),
        scenario!("kill -9 during a move, RabbitMQ", commands::moved),
    ],
];
