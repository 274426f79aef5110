//! What the application is told of an attempt.

use crate::{
    attempt::{Attempt, Fate},
    retry::Verdict,
};
use jiff::Timestamp;
use postern_shared::{
    error::FailureClass,
    message::{Identity, Reason, Recipient, Report, State},
};

/// The report of `attempt`, one recipient for each of its identities.
pub(crate) fn report(attempt: &Attempt<'_>, now: Timestamp) -> Report {
    let message = attempt.message;
    Report {
        message_id: message.id,
        backend: message.backend.clone(),
        attempt: message.attempt,
        at: now,
        recipients: attempt.each().map(|(identity, fate)| recipient(attempt, identity, fate)).collect(),
    }
}

fn recipient(attempt: &Attempt<'_>, identity: &Identity, fate: &Fate) -> Recipient {
    let (state, external_id, failure) = match &fate.verdict {
        Verdict::Sent(sent) => (State::Sent, sent.external_id.clone(), None),
        Verdict::Again { failure, .. } | Verdict::Postponed { failure, .. } => {
            (State::Retrying, None, Some(failure))
        }
        // The provider may have it: "failed" would say too much.
        Verdict::Dead(failure) if failure.class == FailureClass::Unknown => {
            (State::Unknown, None, Some(failure))
        }
        Verdict::Dead(failure) => (State::Failed, None, Some(failure)),
        Verdict::Expired(failure) => (State::Expired, None, failure.as_ref()),
    };
    let in_parts = !fate.before.is_empty() || attempt.message.parts_sent > 0;
    let external_ids = fate.sent().filter(|_| in_parts).filter_map(|sent| sent.external_id.clone()).collect();
    let segments = attempt.segments(fate).map(|(sent, _)| sent).filter(|sent| *sent > 0);
    let (identity, reason) = (Some(identity.clone()), failure.map(Reason::from));
    Recipient { identity, state, external_id, external_ids, segments, reason }
}
