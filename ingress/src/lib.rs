//! The ingress: takes messages over HTTP, validates them, publishes them, and says so only when the
//! broker has confirmed.
//!
//! The modules, in the order in which a message meets them: `app` listens, `routes` finds the view,
//! `observe` counts and logs, `limit` (with `rates`) refuses who asks too much, [`auth`] asks who it is, `views` reads the request, [`forms`] turns
//! it into a message, `duplicates` knows those that a provider repeats, `publish` hands the rest to
//! the broker.

mod app;
mod limit;
mod observe;
mod rates;
mod routes;

pub mod auth;
mod body;
mod problem;
mod views;

pub mod forms;
mod trace_context;

mod duplicates;
mod publish;

#[cfg(feature = "measure")]
pub mod measure;

pub use actix_web::http::{Method, header::HeaderMap};
pub use app::{Ingress, StartError, problems};
