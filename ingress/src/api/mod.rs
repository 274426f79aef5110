//! The handlers of `/v1`, and of the routes that every listener has: one module for each resource.
//!
//! `messages` accepts a message to send, whose body `submission` reads. `logged` shows what became of
//! messages, as the `query` asks. `backends` lists the backends. `authenticate` finds out who calls. Every
//! listener has `health`, `openapi`, and `unmatched` for requests to unknown paths or with a wrong method.

mod authenticate;
pub(crate) mod backends;
pub(crate) mod health;
pub(crate) mod logged;
pub(crate) mod messages;
pub(crate) mod openapi;
mod query;
mod submission;
pub(crate) mod unmatched;
