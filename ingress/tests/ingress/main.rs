//! The ingress over real sockets, with a broker that remembers what it was given and fails when told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it starts the program")]

mod client;
mod server;
mod smuggling;

mod api;
mod batches;
mod handshakes;
mod hostile;
mod logged;
mod looked_up;
mod numbers;
mod program;
mod raw_targets;
mod receive;
mod refusals;
mod reload;
mod repeated;
mod repetitions;
mod running;
mod signed;
