//! Postern from outside: its programs, HTTP and AMQP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it measured"
)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod access;
mod alerts;
mod amplification;
mod api;
mod broker;
mod callbacks;
mod commands;
mod compat;
mod compose;
mod config;
mod custom;
mod dashboards;
mod dead;
mod demo;
mod disk;
mod flow;
mod guides;
mod halves;
mod harness;
mod health;
mod hostile;
mod log_command;
mod media;
mod message_log;
mod numbers;
mod operations;
mod outage;
mod packages;
mod pair;
mod poison;
mod policy;
mod printed;
mod providers;
mod publishers;
mod queues;
mod readme;
mod receive;
mod recorder;
mod reload;
mod repeated;
mod reports;
mod retry;
mod rolling;
mod send;
mod spool;
mod standalone;
mod store;
mod systemd;
mod text;
mod traces;
mod upstream;
mod webhook;
