//! Messages on this machine's disk: [`embedded`] is the broker in the process itself, [`spool`] keeps
//! what an ingress accepts while RabbitMQ takes nothing. [`message_log`] remembers what became of every
//! message.

pub mod embedded;
pub mod message_log;
pub mod spool;
