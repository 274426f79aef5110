//! The kinds of connectors through which backends send. Each is a folder: its validation, its sender,
//! its tests.
//!
//! A connector has a life: it is validated, which makes a value that can be started; started, which
//! makes a sender; called; and stopped. A kind without a connection of its own implements [`Backend`]
//! alone, whose one required function is `send`. A kind that holds a session, or receives, implements
//! [`Connector`] too.

mod connector;
pub mod console;
mod context;
mod guard;
pub mod http;
mod lifecycle;
mod registry;

pub use crate::outcome::{Outcome, Outcomes, Polled, Sent};
pub use connector::{Backend, Connector};
pub use context::{ConnectorContext, ReceivedPublisher};
pub(crate) use guard::{Call, send_guarded};
pub(crate) use lifecycle::{start, stop};
pub use postern_service::traces::{Scope, Span};
pub use registry::ConnectorRegistry;
pub(crate) use registry::Connectors;
