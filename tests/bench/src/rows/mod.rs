//! The measurements, in groups.

mod accept;
mod allocations;
mod backends;
mod embedded;
mod idle;
mod instructions;
mod latency;
mod lookup;
mod memory;
mod pair;
mod peers;
mod recorder;
mod routed;
mod send;
mod slow;
mod waiting;

use crate::{rig::Bench, table::Table};
use anyhow::Result;
use clap::ValueEnum;

/// A group of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Accepts a second: forms, JSON, many recipients a request; CPU for each
    Accept,
    /// Latency of accepting at half the top rate
    Latency,
    /// Sent a second, to a provider that answers at once; CPU for each
    Send,
    /// The floors through a topic exchange, as Postern publishes
    Routed,
    /// Sent a second, to a provider that takes 300 ms
    Slow,
    /// Two dispatchers on one backend's queue
    Pair,
    /// The embedded broker: accepted and sent a second, with its message log and without
    Embedded,
    /// From the request to the provider, one message at a time
    Idle,
    /// Bytes allocated for a message
    Allocations,
    /// Instructions of a message, without sockets and broker: with valgrind
    Instructions,
    /// Memory: idle, accepting a million, starting with them, 2,000 in flight
    Memory,
    /// The message log in PostgreSQL, with RabbitMQ: what it costs, how fast it is written
    Recorder,
    /// A look-up among ten million events of the message log
    Lookup,
    /// The cost of more backends
    Backends,
    /// The cost of more messages that wait
    Waiting,
    /// Kannel, Jasmin, RapidSMS; with --peers
    Peers,
}

/// The groups in `only`, or all of them; the peers only if `peers` is set.
pub(crate) fn chosen(only: &[Group], peers: bool) -> Vec<Group> {
    let all = if only.is_empty() { Group::value_variants() } else { only };
    all.iter().copied().filter(|group| peers || *group != Group::Peers || only.contains(group)).collect()
}

impl Group {
    /// Measures the group's rows.
    pub(crate) async fn measure(self, bench: &Bench, table: &mut Table) -> Result<()> {
        match self {
            Self::Accept => accept::measure(bench, table).await,
            Self::Latency => latency::measure(bench, table).await,
            Self::Send => send::measure(bench, table).await,
            Self::Routed => routed::measure(bench, table).await,
            Self::Slow => slow::measure(bench, table).await,
            Self::Pair => pair::measure(bench, table).await,
            Self::Embedded => embedded::measure(bench, table).await,
            Self::Idle => idle::measure(bench, table).await,
            Self::Allocations => allocations::measure(bench, table).await,
            Self::Instructions => instructions::measure(table).await,
            Self::Memory => memory::measure(bench, table).await,
            Self::Recorder => recorder::measure(bench, table).await,
            Self::Lookup => lookup::measure(bench, table).await,
            Self::Backends => backends::measure(bench, table).await,
            Self::Waiting => waiting::measure(bench, table).await,
            Self::Peers => peers::measure(bench, table).await,
        }
    }
}
