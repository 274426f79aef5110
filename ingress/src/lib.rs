//! The ingress: takes messages over HTTP, validates them, publishes them, and says so only when the
//! broker has confirmed.
//!
//! The modules, in the order in which a message meets them: `app` listens, `routes` finds the
//! handler, `respond` holds the request to its address's rate (`limits`), calls the handler
//! and logs and counts the `answer` that it returns. The handlers are `views` (providers and `/v1`)
//! and `compat` (clients of other gateways); all of them work with the `state`, in whose place `reload` puts
//! another while `lasting` stays. What a provider brings is read by `provider`: `auth` checks that it is the provider's own, [`forms`] turn it into a message,
//! `dedup` knows those that a provider repeats, `report_lookup` the messages of delivery reports. What somebody
//! wants sent goes through `accept`, which alone decides whether it is taken. `publish` hands both to the
//! broker. Both ask the message log by `log_lookup`; `log_reader` tells from it what became of messages.
//! [`program`] runs it all, alone beside a shared broker.

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

mod compat;
mod lasting;
mod openapi;
mod state;
mod views;

mod auth;
mod body;
pub mod forms;
mod provider;
mod report_lookup;
mod trace_context;

mod accept;
mod dedup;
mod publish;

pub mod program;

#[cfg(feature = "measure")]
pub mod measure;

pub use actix_web::http::{Method, header::HeaderMap};
pub use app::{Ingress, StartError, problems};
pub use reload::{IngressReload, PreparedIngress};
