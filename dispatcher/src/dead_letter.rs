//! Dead letters of messages that are malformed, too large or beyond the limit of deliveries, and of those
//! that `echo` and `polls` give up at that limit. All others are made by `settle` and `http_delivery`, even
//! if no attempt was made.

use crate::metrics::OutcomeLabel;
use postern_broker::{
    Address, Envelope, QueueName,
    dead_letter::{Cause, dead_letter},
    refused::NO_BACKEND,
};
use postern_service::traces::TraceSpan;
use postern_shared::{
    error::{Failure, FailureClass},
    message::{BackendName, MAX_OUTBOUND_BYTES},
};

/// The code of a dead letter whose body is not a message of the kind that its queue holds.
const MALFORMED: &str = "malformed";
/// The code of a dead letter whose body is larger than a message may be. Only its beginning is kept.
const TOO_LARGE: &str = "too_large";

/// The dead letter of a message that is given up unchanged because of `failure`.
pub(crate) fn unread(original: &Envelope, queue: &QueueName, failure: &Failure) -> Vec<(Address, Envelope)> {
    let reason = reason(failure);
    addressed(
        original,
        queue,
        Cause { class: failure.class, code: &failure.code, reason: &reason, attempts: 0 },
    )
}

/// Makes the dead letter of `original`, whose body is not a message of the kind that `queue` holds, and
/// logs it.
pub(crate) fn malformed(original: &Envelope, queue: &QueueName, why: &str) -> Vec<(Address, Envelope)> {
    let message_id = original.id().map(tracing::field::display);
    tracing::warn!(
        queue = queue.as_str(),
        message_id,
        error = why,
        "dead-lettered: its body is not a valid message"
    );
    let class = FailureClass::Permanent;
    addressed(original, queue, Cause { class, code: MALFORMED, reason: why, attempts: 0 })
}

/// Notes in `span` that the body was not a message of the kind that its queue holds.
pub(crate) fn note_malformed(span: &mut TraceSpan) {
    span.note_failure(&Failure::permanent(MALFORMED, ""));
    span.note_outcome(OutcomeLabel::Malformed.as_str());
}

/// Why `original`, which came from `queue`, is given up if it is too large. `None` if it is not.
pub(crate) fn too_large(original: &Envelope, queue: &QueueName) -> Option<Failure> {
    let (body, cut) = (original.body.len() as u64, original.cut_from());
    let most = queue.backend().map_or(u64::MAX, |_| MAX_OUTBOUND_BYTES as u64);
    let bytes = cut.or((body > most).then_some(body))?;
    let why = format!("a body of {bytes} bytes is too large; only its beginning is kept");
    Some(Failure::permanent(TOO_LARGE, why))
}

fn addressed(original: &Envelope, queue: &QueueName, cause: Cause<'_>) -> Vec<(Address, Envelope)> {
    let backend = queue.backend().or_else(|| NO_BACKEND.parse().ok());
    let letter = |backend: BackendName| (Address::Dead(backend), dead_letter(original.clone(), queue, cause));
    backend.map(letter).into_iter().collect()
}

/// `failure` in words, for the dead letter's header.
pub(crate) fn reason(failure: &Failure) -> String {
    let colon = if failure.detail.is_empty() { "" } else { ": " };
    format!("{}{colon}{}", failure.code, failure.detail)
}
