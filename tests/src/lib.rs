//! The foundation of Postern's end-to-end tests: real programs, a real RabbitMQ node, a provider that answers as
//! the test says, and waiting for conditions instead of for a time.
//!
//! Everything here sees Postern from outside: through its programs, its configuration, HTTP and AMQP.
//!
//! - [`Launch`] and [`Program`]: `postern`, `postern-ingress`, `postern-dispatcher`
//! - [`Peer`]: another project's program
//! - [`Rabbit`], [`Vhost`] and [`Tap`]: the broker, and the application's side of it
//! - [`Postgres`]: a database server
//! - [`Proxy`]: a network that delays, freezes and cuts; [`SmallDisk`]: a disk that fills up
//! - [`Pair`]: both services around one virtual host
//! - [`Provider`], [`Answer`], [`Gate`]: the HTTP provider (and an application's webhook)
//! - [`Collector`]: a receiver of OpenTelemetry spans
//! - [`eventually`], [`Metrics`], [`assert_silent`], [`usage`]: looking at what happened
//!
//! A helper that fails panics with what it saw last, so that tests stay short.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's harness fails by panicking in the test that uses it"
)]

mod collector;
mod disk;
mod epmd;
mod guard;
mod leaks;
mod log;
mod metrics;
mod pair;
mod peer;
mod postgres;
mod program;
mod provider;
mod proxy;
mod rabbit;
mod tap;
pub mod usage;
mod vhost;
mod wait;
mod wire;

pub use collector::{Collector, Span};
pub use disk::{FailingDisk, SmallDisk};
pub use guard::{Folder, free_port, free_ports};
pub use leaks::{assert_silent, stands_in_ids};
pub use log::Log;
pub use metrics::Metrics;
pub use pair::Pair;
pub use peer::Peer;
pub use postgres::{PASSWORD, Postgres};
pub use program::{Ended, Launch, Program};
pub use provider::{Answer, Gate, Provider};
pub use proxy::{Direction, Proxy};
pub use rabbit::{Alarm, HarmedRabbit, Rabbit};
pub use tap::{Message, Properties, Tap};
pub use vhost::{QueueInfo, Vhost};
pub use wait::{LIMIT, eventually, within};
pub use wire::{Reply, Request, fetch, http_client, pairs};
