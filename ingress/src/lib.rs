//! The ingress: takes messages over HTTP, validates them, publishes them, and answers 2xx only when the
//! broker has confirmed them.
//!
//! The modules, in the order in which a request meets them:
//!
//! - `app` listens. `routes` finds the handler. `respond` wraps every handler but that of `/health`: it
//!   limits the request by its address's rate (`limits`), calls the handler, and logs and counts the `answer`
//!   that the handler returns.
//! - The handlers are in `provider` (messages and delivery reports of providers), `api` (`/v1`, for
//!   applications) and `compat` (clients of other gateways). All of them work with the `state`. A `reload`
//!   replaces the state; `lasting` is what outlives it.
//! - `provider` reads a provider's request: `auth` checks that it is the provider's own, [`forms`] turn it
//!   into a message. `dedup` recognizes messages that a provider repeats.
//! - `accept` alone decides whether to accept a message that an application or a client of another gateway
//!   wants sent.
//! - `publish` publishes messages of both directions to the broker.
//! - `log_lookup` asks the message log on behalf of a request. `log_reader` reads from it what became of
//!   messages.
//!
//! [`program`] runs all of it as a program of its own, with a shared broker; [`trial`] processes single
//! recorded requests.

mod app;
mod certificates;
mod reload;
mod routes;

mod answer;
mod limits;
mod log_lookup;
mod log_reader;
mod metrics;
mod problem;
mod refusal_reason;
mod respond;

mod lasting;
mod openapi;
mod state;

mod api;
mod compat;
mod provider;

mod auth;
mod body;
pub mod forms;
mod trace_context;

mod accept;
mod dedup;
mod publish;

pub mod program;

pub mod trial;

#[cfg(feature = "measure")]
pub mod measure;

#[cfg(test)]
mod processor_time;

pub use actix_web::http::{Method, header::HeaderMap};
pub use app::{Ingress, StartError, problems};
pub use reload::{IngressReload, PreparedIngress};
