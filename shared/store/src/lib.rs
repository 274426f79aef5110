//! Messages on this machine's disk: [`embedded`] is the broker in the process itself, [`spool`] keeps
//! what an ingress accepts while RabbitMQ takes nothing. Each has a folder of its own with one file of
//! SQLite in it, which `sqlite` opens and [`maintenance`] looks at from outside. [`message_log`] remembers
//! what became of every message.

pub mod embedded;
pub mod maintenance;
pub mod message_log;
pub mod spool;
mod sqlite;

pub use sqlite::{FILE, is_used};
