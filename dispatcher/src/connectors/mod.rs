//! The kinds of connectors through which backends send. Each is a folder: its validation, its sender, its
//! tests.
//!
//! A connector is validated, started, called and stopped:
//!
//! 1. [`validate`](crate::validate) makes a [`Connector`] of each backend's configuration, a value that
//!    can be started, or collects every problem with its key and line. The dispatcher starts that value
//!    and validates nothing again; `postern check` ends here.
//! 2. `backend_part` starts it with a [`ConnectorContext`]: the backend's name, a publisher for what it
//!    receives, the backend's health, the metrics, and a token that is cancelled when the backend drains.
//!    A connector that fails is started again after a growing pause. Its messages wait in their queue,
//!    and no other backend waits.
//! 3. The start returns a sender. It is called until the drain is over, and is then told to stop within the
//!    deadline.
//!
//! A kind that keeps no connection, such as `http`, `console` or a short connector of yours, implements
//! [`Backend`] alone, whose one required function is `send`: every `Backend` is also a `Connector`, which
//! starts as its own sender. A kind that holds a session, or receives, implements [`Connector`] too.

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
pub use postern_service::traces::{Scope, TraceSpan};
pub use registry::ConnectorRegistry;
pub(crate) use registry::Connectors;
