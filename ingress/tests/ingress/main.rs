//! The ingress over real sockets, with a broker that remembers what it was given and fails when told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod broker;
mod client;
mod server;

mod api;
mod hostile;
mod program;
mod receive;
mod running;
