//! Postern's vocabulary, used by the ingress and the dispatcher alike: what a message is, what a
//! configuration says, and the broker between the two.
//!
//! The modules, in the order in which a message meets them: [`message`] and [`error`] are the
//! values (they know no HTTP server, no AMQP, no HTTP client), [`config`] and [`backend`] say what
//! is to be done with them, [`broker`] carries them, [`spool`] keeps them while it does not, [`dead`]
//! is for those that could not be sent, [`text`] counts segments, [`trace_context`] says what belongs
//! together. [`program`], [`telemetry`],
//! [`metrics`], [`admin`], [`bearer`], [`tls`] and [`shutdown`] are what every program of Postern has.

pub mod admin;
pub mod backend;
pub mod bearer;
pub mod broker;
pub mod callback;
mod census;
pub mod config;
pub mod dead;
pub mod error;
pub mod message;
pub mod metrics;
pub mod program;
pub mod shutdown;
pub mod spool;
pub mod telemetry;
pub mod text;
pub mod tls;
pub mod trace_context;
