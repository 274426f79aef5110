//! The dispatcher: takes outbound messages from their queues, calls the backends' senders, and
//! stores what became of each message before it acknowledges it.
//!
//! The modules, in the order in which a message meets them. `validated` is a configuration that can be
//! served, `dispatcher` serves it: in a `part` for each queue that is worked through, a `backend_part`
//! for each backend, all made by `builder` and kept `running`, where a `reload` replaces what changed, whose [`connectors`] have a life of their own. `consume` takes messages from a backend's two queues, as many as
//! `flow` allows; `deliver` takes one to its end: `attempt` has the parts of
//! its text sent by the [`connectors`] and says for each recipient what follows (`outcome`, `retry`),
//! and `settle` puts that into messages (`report`, `dead_letter`), has them stored (`publish`) and
//! acknowledges. `poison` gives up what is taken again and again without being settled; `drain` ends
//! it all in time, and `lease` says how much time each step has.
//!
//! What works on another queue implements the same `worker` in its own file: `webhook` calls an
//! application's server, `echo` answers people in this process, `callbacks` tells the clients of compatibility listeners
//! what became of their messages. The first and the last share `http_delivery`; `outgoing` is what
//! all HTTP requests have in common. `recorder` writes the message log.
//!
//! [`program`] runs all of it, alone beside a shared broker; [`trial`] shows what would be sent.

mod builder;
mod dispatcher;
mod reload;
mod running;
mod validated;

mod backend_part;
mod part;

mod consume;
mod flow;
mod poison;
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
