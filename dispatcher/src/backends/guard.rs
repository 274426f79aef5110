//! Calling a sender so that whatever it does, every identity has an outcome in time.

use super::{Backend, Outcome, Outcomes};
use futures_util::FutureExt;
use postern_shared::{
    error::Failure,
    message::{Identity, Outbound},
};
use std::{panic::AssertUnwindSafe, time::Duration};

/// The longest that a message is worked on: RabbitMQ takes one back that was not settled within 30
/// minutes.
pub(crate) const LONGEST: Duration = Duration::from_secs(25 * 60);

/// One outcome for each of `identities`, in their order, within the sender's deadline: what became
/// of `text`, which is `message`'s or a part of it.
pub(crate) async fn send_guarded(
    backend: &dyn Backend,
    message: &Outbound,
    text: &str,
    identities: &[Identity],
) -> Vec<Outcome> {
    let number = identities.len();
    let deadline = backend.deadline(number).min(LONGEST);
    // A sender is not asked again with what it left half done: it has only &self.
    let call = AssertUnwindSafe(async { backend.send(message.id, text, identities, &message.context).await });
    let outcomes = match tokio::time::timeout(deadline, call.catch_unwind()).await {
        Ok(Ok(outcomes)) => outcomes,
        Ok(Err(_)) => Outcomes::every(Err(Failure::unknown("panic", "the backend's sender panicked"))),
        Err(_) => {
            let why = format!("the backend's sender did not answer within {deadline:?}");
            Outcomes::every(Err(Failure::unknown("timeout", why)))
        }
    };
    outcomes.into_each(number)
}
