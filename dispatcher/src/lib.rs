//! The dispatcher: takes outbound messages from their queues, calls the backends' senders, and
//! stores what became of each message before it lets go of it.
//!
//! The modules, in the order in which a message meets them: `dispatcher` is built from the
//! configuration and runs the rest; `consume` takes messages from a backend's two lanes, `read`
//! makes them values, `dispatch` takes one to its end (each `worker` does that in its way); `attempt`
//! has the parts of its text sent, one after the other; `flow` says when it may be taken and when
//! each of its requests may go; `quarantine` sets apart what may be what crashes the process; the
//! [`backends`] send; `retry` says for each
//! identity what follows, `report` and `aftermath` put that into messages, `publish` stores them;
//! `drain` ends it all in time. `application` holds what answers people in this process, and the
//! webhook that an application's own server is called by; `callbacks` tells the clients of compatibility listeners
//! what became of their messages; `courier` delivers for both, and `outgoing` makes the requests of
//! all three.

mod dispatcher;

mod consume;
mod read;

mod worker;

mod quarantine;

mod dispatch;

mod attempt;

mod flow;

pub mod backends;

mod retry;

mod report;

mod aftermath;

mod publish;

mod drain;

mod outgoing;

mod courier;

mod application;

mod callbacks;
#[cfg(feature = "measure")]
pub mod measure;

pub use dispatcher::{BuildError, Dispatcher, RunError, problems};
