//! What is published for a message that an operator cancelled.

use jiff::Timestamp;
use postern_broker::{Address, Envelope, queued::Queued};
use postern_shared::{
    callback::{self, CallbackKeys, KannelEvent},
    error::Failure,
    message::{Identity, Recipient, Report},
};

/// The code of a cancelled recipient in its report.
pub const CANCELLED: &str = "cancelled";

/// Whether the client of `queued` wants callbacks that cannot be made with `keys`, for example because this process was
/// not given the client's password.
pub(super) fn lacks_key(queued: Queued<'_>, keys: &CallbackKeys) -> bool {
    callback::token(&queued.message.context).is_some_and(|token| keys.open(token).is_none())
}

/// The report that each recipient of `queued` was cancelled at `now`, and the callbacks to the client if it
/// asked for them. There is no dead letter: nobody is to send the message again.
pub fn cancelled(queued: Queued<'_>, keys: &CallbackKeys, now: Timestamp) -> Vec<(Address, Envelope)> {
    let Queued { envelope, message, .. } = queued;
    let failure = Failure::permanent(CANCELLED, "cancelled by an operator before it was sent");
    let recipient = |identity: &Identity| Recipient::failed(identity.clone(), &failure);
    let report = Report {
        message_id: message.id,
        backend: message.backend.clone(),
        attempt: message.attempt,
        at: now,
        recipients: message.identities.iter().map(recipient).collect(),
    };
    let refused = || Some((KannelEvent::Refused, None, format!("NACK/{CANCELLED}")));
    let events = message.identities.iter().map(|_| refused());
    let callback_events = callback::callback_events(keys, message, events, now);
    let told = callback_events.iter().map(|callback_event| {
        (Address::Callbacks(callback_event.backend.clone()), Envelope::from(callback_event))
    });
    let reported = (Address::Reports(message.backend.clone()), Envelope::from(&report));
    std::iter::once(reported).chain(told).map(|(address, out)| (address, out.in_trace_of(envelope))).collect()
}
