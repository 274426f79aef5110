//! Dead letters: a message as it was, with the reason for its death in its headers.

use postern_broker::{Address, Envelope, QueueName, header};
use postern_shared::{
    clock,
    error::{Failure, FailureClass},
    message::BackendName,
};

/// The code of a dead letter whose body is not the message that its queue holds.
const MALFORMED: &str = "malformed";
/// The longest `x-postern-reason`, in characters.
pub(crate) const MAX_REASON: usize = 500;
/// The routing key of a dead letter that came from no backend's queue and was not read.
const NO_BACKEND: &str = "unknown";

/// Why a message is dead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    /// The failure's class.
    pub(crate) class: FailureClass,
    /// The failure's name.
    pub(crate) code: &'a str,
    /// What happened, for the operator. Cut after [`MAX_REASON`] characters.
    pub(crate) reason: &'a str,
    /// How many attempts the message had.
    pub(crate) attempts: u32,
}

/// `original`, taken from `queue`, as a dead letter.
pub(crate) fn dead_letter(original: Envelope, queue: &QueueName, cause: Cause<'_>) -> Envelope {
    let reason = match cause.reason.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &cause.reason[..end]),
        None => cause.reason.to_owned(),
    };
    original
        .with(header::REASON, reason)
        .with(header::CLASS, cause.class.as_str())
        .with(header::CODE, cause.code)
        .with(header::DEAD_AT, clock::Written(clock::now()).to_string())
        .with(header::ATTEMPTS, i64::from(cause.attempts))
        .with(header::QUEUE, queue.as_str())
}

/// The dead letter of a message that is given up because of `failure` without being read.
pub(crate) fn unread(original: &Envelope, queue: &QueueName, failure: &Failure) -> Vec<(Address, Envelope)> {
    let reason = reason(failure);
    addressed(
        original,
        queue,
        Cause { class: failure.class, code: &failure.code, reason: &reason, attempts: 0 },
    )
}

/// The dead letter of `original`, whose body is not the message that `queue` holds, and its log line.
pub(crate) fn malformed(original: &Envelope, queue: &QueueName, why: &str) -> Vec<(Address, Envelope)> {
    let message_id = original.id().map(tracing::field::display);
    tracing::warn!(queue = queue.as_str(), message_id, why, "dead-lettered unread");
    let class = FailureClass::Permanent;
    addressed(original, queue, Cause { class, code: MALFORMED, reason: why, attempts: 0 })
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
