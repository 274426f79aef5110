//! The dispatcher between a broker in memory and a provider on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "it starts the program")]

mod bad_answers;
mod callbacks;
mod commands;
mod connectors;
mod consumer_loop;
mod drains;
mod echo;
mod flow;
mod poison;
mod polls;
mod program;
mod provider;
mod provider_tls;
mod publishers;
mod refused;
mod reload;
mod requests;
mod setup;
mod tokens;
mod webhook;
