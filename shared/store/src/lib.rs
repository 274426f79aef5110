//! Messages on this machine's disk: [`embedded`] is the broker in the process itself, [`spool`] keeps
//! what an ingress accepts while RabbitMQ takes nothing.

pub mod embedded;
pub mod spool;
