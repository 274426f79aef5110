//! Dead letters: messages that were given up, unchanged, with the reason in their headers.
//!
//! A message that expires becomes a dead letter as well: every accepted message ends as sent or as a dead
//! letter.

use crate::{Envelope, QueueName, header};
use postern_shared::{clock, error::FailureClass, text::shortened};

/// The longest `x-postern-reason`, in characters.
pub const MAX_REASON: usize = 500;

/// The longest `x-postern-code`, in characters.
const MAX_CODE: usize = 100;

/// Why a message is dead-lettered.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// The failure's class.
    pub class: FailureClass,
    /// The failure's name. Cut after 100 characters.
    pub code: &'a str,
    /// What happened, for the operator. Cut after [`MAX_REASON`] characters.
    pub reason: &'a str,
    /// How many attempts the message had.
    pub attempts: u32,
}

/// `original`, taken from `queue`, as a dead letter.
pub fn dead_letter(original: Envelope, queue: &QueueName, cause: Cause<'_>) -> Envelope {
    original
        .with(header::REASON, shortened(cause.reason, MAX_REASON))
        .with(header::CLASS, cause.class.as_str())
        .with(header::CODE, shortened(cause.code, MAX_CODE))
        .with(header::DEAD_AT, clock::Written(clock::now()).to_string())
        .with(header::ATTEMPTS, i64::from(cause.attempts))
        .with(header::QUEUE, queue.as_str())
}
