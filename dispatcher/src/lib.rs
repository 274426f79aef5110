//! The dispatcher: takes outbound messages from their queues, calls the backends' senders, and stores
//! what became of each message before it acknowledges it.
//!
//! The modules, in the order in which a message meets them:
//!
//! - `validated` is a configuration that can be served. `dispatcher` serves it: a `part` for each queue
//!   that is worked through, a `backend_part` for each backend. `builder` makes the parts, `running`
//!   keeps them, and a `reload` replaces those that changed.
//! - `consume` takes messages from a backend's two queues, as many as `flow` allows.
//! - `screen` gets every message first. It dead-letters, unread, messages that are too large or were lost
//!   more than `dispatcher.max_deliveries` times, and hands all others to their `worker`. At exactly that
//!   limit, the worker gives the message up without an attempt.
//! - `deliver` is the worker of a backend: it takes one message to its end. `attempt` has the parts of its
//!   text sent by the [`connectors`], and says what follows for each recipient (`outcome`, `retry`).
//!   `settle` turns that into a `report`, retries and dead letters, has them stored (`publish`) and
//!   acknowledges. `dead_letter` makes the dead letters of messages that are malformed or not read.
//! - `drain` ends everything in time, and `lease` says how much time each step has.
//!
//! Each other queue has a separate `worker`: `webhook` calls an application's server, `echo` answers people
//! in this process, `callbacks` calls the clients of compatibility listeners back, `polls` asks providers
//! that send no reports what became of messages.
//! `webhook` and `callbacks` share `http_delivery`; `outgoing` is what all HTTP requests have in common.
//! `recorder` writes the message log.
//!
//! [`program`] runs all of it in a separate process, with a shared broker; [`trial`] shows what would be
//! sent.

mod builder;
mod dispatcher;
mod reload;
mod running;
mod validated;

mod backend_part;
mod part;

mod consume;
mod flow;
mod screen;
mod worker;

mod deliver;

mod attempt;
pub mod connectors;
mod metrics;
mod outcome;
mod retry;

mod dead_letter;
mod publish;
mod report;
mod settle;

mod callbacks;
mod echo;
mod http_delivery;
mod polls;
mod webhook;

mod drain;
mod lease;
mod outgoing;
mod quarantine;
mod recorder;

pub mod program;

pub mod trial;

#[cfg(feature = "measure")]
pub mod measure;

pub use dispatcher::{Dispatcher, RunError};
pub use reload::{DispatcherReload, Drains};
pub use validated::{Validated, validate};
