//! Reports the result of an attempt: to the application in a report, and to a client of a compatibility listener in
//! callbacks.

use crate::{
    attempt::{Attempt, RecipientResult},
    retry::Disposition,
};
use jiff::Timestamp;
use postern_broker::{Address, Envelope};
use postern_shared::{
    callback::{self, CallbackKeys, KannelEvent},
    error::FailureClass,
    message::{CallbackEvent, Identity, Reason, Recipient, Report, State},
};

/// The report of `attempt`, with one recipient for each of its identities.
pub(crate) fn report(attempt: &Attempt<'_>, now: Timestamp) -> Report {
    let message = attempt.message;
    Report {
        message_id: message.id,
        backend: message.backend.clone(),
        attempt: message.attempt,
        at: now,
        recipients: attempt.each().map(|(identity, result)| recipient(attempt, identity, result)).collect(),
    }
}

fn recipient(attempt: &Attempt<'_>, identity: &Identity, result: &RecipientResult) -> Recipient {
    let disposition = &result.disposition;
    let (state, external_id) = match disposition {
        Disposition::Sent(sent) => (State::Sent, sent.external_id.clone()),
        Disposition::Retry { .. } | Disposition::Deferred { .. } => (State::Retrying, None),
        // The provider may have it: "failed" would say too much.
        Disposition::Dead(failure) if failure.class == FailureClass::Unknown => (State::Unknown, None),
        Disposition::Dead(_) => (State::Failed, None),
        Disposition::Expired(_) => (State::Expired, None),
    };
    let in_parts = !result.before.is_empty() || attempt.message.parts_sent > 0;
    let external_ids =
        result.sent().filter(|_| in_parts).filter_map(|sent| sent.external_id.clone()).collect();
    let segments = attempt.segments(result).map(|(sent, _)| sent).filter(|sent| *sent > 0);
    let failure = disposition.failure();
    let (http_status, duration_ms) = match disposition {
        Disposition::Sent(sent) => (sent.http_status, sent.duration_ms),
        _ => failure.map_or((None, None), |failure| (failure.http_status, failure.duration_ms)),
    };
    let (identity, reason) = (Some(identity.clone()), failure.map(Reason::from));
    let duration_ms = duration_ms.map(u64::from);
    Recipient { identity, state, external_id, external_ids, segments, reason, http_status, duration_ms }
}

/// The callbacks for the client that asked for them after `attempt`, whose envelope was `original`: that
/// the provider accepted the message, or that it was given up. If the provider may have a message that was
/// given up, the client is told nothing: a client may send again what it is told was refused.
pub(crate) fn callbacks(
    keys: &CallbackKeys,
    original: &Envelope,
    attempt: &Attempt<'_>,
    now: Timestamp,
) -> Vec<(Address, Envelope)> {
    let events = attempt.dispositions().map(|disposition| match disposition {
        Disposition::Sent(sent) => Some((KannelEvent::Accepted, sent.external_id.clone(), "ACK/".to_owned())),
        Disposition::Dead(failure) if failure.class == FailureClass::Unknown => None,
        Disposition::Dead(failure) => Some((KannelEvent::Refused, None, format!("NACK/{}", failure.code))),
        Disposition::Expired(_) => Some((KannelEvent::Refused, None, "NACK/expired".to_owned())),
        Disposition::Retry { .. } | Disposition::Deferred { .. } => None,
    });
    let callback_events = callback::callback_events(keys, attempt.message, events, now);
    let envelope = |event: &CallbackEvent| Envelope::from(event).in_trace_of(original);
    let addressed = |event: &CallbackEvent| (Address::Callbacks(event.backend.clone()), envelope(event));
    callback_events.iter().map(addressed).collect()
}

#[cfg(test)]
mod tests;
