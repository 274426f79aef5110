//! The messages that the queues carry, as values that cannot be invalid.
//!
//! Five messages travel through Postern, each one JSON object in UTF-8: [`Inbound`] (a person wrote),
//! [`Outbound`] (an application answers), [`Report`] (what became of an outbound message),
//! [`CallbackEvent`] (a client is to be told what became of it) and [`Poll`] (a provider is to be asked
//! what became of it). Nothing behind the ingress ever sees a provider's own field name.

mod bounded;
mod callback_event;
mod identifier;
mod inbound;
mod json;
mod outbound;
mod poll;
mod report;

pub use callback_event::CallbackEvent;
pub use identifier::{BackendName, Identity, InvalidName, MessageId};
pub use inbound::Inbound;
pub(crate) use json::{read_json, write_json};
pub use outbound::{
    Context, MAX_CONTEXT_BYTES, MAX_IDENTITIES, MAX_OUTBOUND_BYTES, MAX_TEXT_CHARS, Outbound, Priority,
};
pub use poll::Poll;
pub use report::{MAX_DETAIL, Reason, Recipient, Report, State, line};

/// The AMQP `type` property of [`Inbound`].
pub const INBOUND_V1: &str = "postern.inbound.v1";
/// The AMQP `type` property of [`Outbound`].
pub const OUTBOUND_V1: &str = "postern.outbound.v1";
/// The AMQP `type` property of [`Report`].
pub const REPORT_V1: &str = "postern.report.v1";
/// The AMQP `type` property of [`CallbackEvent`].
pub const CALLBACK_V1: &str = "postern.callback.v1";

/// The AMQP `type` property of [`Poll`].
pub const POLL_V1: &str = "postern.poll.v1";

/// The AMQP `type` property of an [`Event`](crate::event::Event) that is published by itself.
pub const EVENT_V1: &str = "postern.event.v1";

/// A queued body that is not a message of the expected type.
#[derive(Debug, thiserror::Error)]
#[error("not a {kind} message: {why}")]
pub struct Malformed {
    /// The type that was expected, such as [`OUTBOUND_V1`].
    pub kind: &'static str,
    /// What is wrong with the body. It names the field and never quotes a value.
    pub why: String,
}
