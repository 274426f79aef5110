//! Calls a sender so that each identity has an outcome in time, even if the sender hangs or panics.

use super::connector::Backend;
use crate::outcome::{Outcome, Outcomes};
use futures_util::FutureExt;
use postern_service::traces::Scope;
use postern_shared::{
    error::Failure,
    message::{Context, Identity, Outbound},
};
use std::{panic::AssertUnwindSafe, time::Duration};

/// One call of a sender. It holds a text, and prints nothing.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The message.
    pub(crate) message: &'a Outbound,
    /// The message's text, or a part of it.
    pub(crate) text: &'a str,
    /// The message's context, or the entries that go with this part.
    pub(crate) context: &'a Context,
    /// The recipients of this call.
    pub(crate) identities: &'a [Identity],
    /// The place in a trace at which it is made.
    pub(crate) scope: &'a Scope,
}

/// Makes `call`, and returns one outcome for each identity, in their order, within the sender's deadline
/// and within `longest`.
pub(crate) async fn send_guarded(backend: &dyn Backend, call: Call<'_>, longest: Duration) -> Vec<Outcome> {
    let Call { message, text, context, identities, scope } = call;
    let number = identities.len();
    let deadline = backend.deadline(number).min(longest);
    // Unwind-safe: a sender has only `&self`, so no later call gets anything that a panic left half done.
    let call = backend.send_within(scope, message.id, text, identities, context);
    let call = AssertUnwindSafe(call);
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
