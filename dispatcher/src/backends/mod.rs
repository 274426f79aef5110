//! Senders: what takes a message to a provider and says, per identity, what became of it.

pub mod console;
mod engines;
mod guard;
pub mod http;

pub use crate::outcome::{Outcome, Outcomes, Sent};
pub use engines::{EngineError, Engines};
pub(crate) use guard::{Call, send_guarded};

use async_trait::async_trait;
use postern_shared::message::{Context, Identity, MessageId};
use std::time::Duration;

/// Sends messages through one backend.
///
/// ```
/// use async_trait::async_trait;
/// use postern_dispatcher::backends::{Backend, Outcomes, Sent};
/// use postern_shared::{error::Failure, message::{Context, Identity, MessageId}};
///
/// struct Pigeon;
///
/// #[async_trait]
/// impl Backend for Pigeon {
///     async fn send(&self, id: MessageId, _: &str, identities: &[Identity], _: &Context) -> Outcomes {
///         let fly = |identity: &Identity| match identity.as_str().strip_prefix("loft-") {
///             Some(loft) => Ok(Sent::with_id(format!("{id}/{loft}"))),
///             None => Err(Failure::permanent("no_loft", "no pigeon knows the way")),
///         };
///         identities.iter().map(fly).collect()
///     }
/// }
/// ```
#[async_trait]
pub trait Backend: Send + Sync {
    /// Sends `text` to every one of `identities` (at least one, in the application's order,
    /// doubles included), and says what became of it for each.
    ///
    /// It must not block its thread. A panic, and a call that outlasts [`deadline`](Self::deadline),
    /// count as an `unknown` failure for all of `identities`, with the codes `panic` and `timeout`:
    /// a sender that knows of some that were sent should answer in time.
    ///
    /// Failures for which [`Failure::says_down`](postern_shared::error::Failure::says_down) holds
    /// count for the backend's circuit breaker, those of class `throttled` pause the backend.
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], context: &Context) -> Outcomes;

    /// The most identities of one call. By default a call has all of a message's identities; if the
    /// backend has a rate, a single one, or as many as its `send` table has in one request.
    fn recipients_per_request(&self) -> Option<usize> {
        None
    }

    /// How long one call for so many identities may take; by default a minute. A call is given at most
    /// 25 minutes after its message was taken: after 30, RabbitMQ hands the message to another consumer.
    fn deadline(&self, identities: usize) -> Duration {
        let _ = identities;
        Duration::from_secs(60)
    }
}
