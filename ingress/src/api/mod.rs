//! The handlers of `/v1`, and of the routes that every listener has: one module for each resource.
//!
//! `messages` takes a message to send, whose body `submission` reads. `logged` shows what became of messages,
//! as the `query` asks. `backends` lists the backends. `authenticate` says who calls. On every listener there
//! are `health` and `openapi`, and `unmatched` answers what is nowhere.

mod authenticate;
pub(crate) mod backends;
pub(crate) mod health;
pub(crate) mod logged;
pub(crate) mod messages;
pub(crate) mod openapi;
mod query;
mod submission;
pub(crate) mod unmatched;
