//! Messages on this machine's disk: [`embedded`] is the broker in the process itself, and [`spool`] stores what
//! an ingress accepts while RabbitMQ takes nothing. Each has its own folder with one SQLite file, which
//! `sqlite` opens and [`maintenance`] reads from outside. [`message_log`] records what became of every message.

pub mod embedded;
pub mod maintenance;
pub mod message_log;
pub mod spool;
mod sqlite;

pub use sqlite::{FILE, is_used};
