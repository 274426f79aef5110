//! Calls a sender so that each identity has an outcome in time, even if the sender hangs or panics.

use super::connector::Backend;
use crate::outcome::{Outcome, Outcomes};
use futures_util::FutureExt;
use postern_config::backend::receive::MAX_EXTERNAL_ID_CHARS;
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
    outcomes.into_each(number).into_iter().map(with_fitting_id).collect()
}

/// `outcome` without the provider's id if the id is longer than one in a delivery report may be. The index of a
/// message log in PostgreSQL would not accept a very long one, and its whole batch would fail.
fn with_fitting_id(mut outcome: Outcome) -> Outcome {
    if let Ok(sent) = &mut outcome {
        let fits = |id: &String| id.chars().count() <= MAX_EXTERNAL_ID_CHARS;
        sent.external_id = sent.external_id.take().filter(fits);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Sent;
    use async_trait::async_trait;
    use postern_shared::message::MessageId;

    /// Gives each message an id of as many letters as its text says.
    struct Verbose;

    #[async_trait]
    impl Backend for Verbose {
        async fn send(&self, _: MessageId, text: &str, _: &[Identity], _: &Context) -> Outcomes {
            Outcomes::every(Ok(Sent::with_id("é".repeat(text.parse().unwrap()))))
        }
    }

    #[tokio::test]
    async fn an_id_that_no_report_may_name_is_left_out() {
        let body = br#"{"backend": "demo", "identities": ["+1", "+2"], "text": "hi"}"#;
        let (message, scope) = (Outbound::from_json(body).unwrap(), Scope::default());
        for (text, expected) in [("1", Some(1)), ("512", Some(512)), ("513", None), ("9000", None)] {
            let (context, identities) = (&message.context, &message.identities[..]);
            let call = Call { message: &message, text, context, identities, scope: &scope };
            let outcomes = send_guarded(&Verbose, call, Duration::from_secs(60)).await;
            let lengths: Vec<Option<usize>> = outcomes
                .into_iter()
                .map(|outcome| outcome.unwrap().external_id.map(|id| id.chars().count()))
                .collect();
            assert_eq!(lengths, [expected; 2], "{text}");
        }
    }
}
