//! Requests that are not made.

use crate::outcome::NOT_BEGUN;
use postern_shared::error::Failure;

/// Why a request was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Sending was paused before the request's turn.
    Paused,
    /// Its turn did not come in time.
    TooLong,
    /// The message expired before the request's turn.
    Expired,
    /// An operator cancelled the message before the request's turn.
    Cancelled,
    /// The process drains: requests in flight finish, and the others are left to another process.
    Draining,
}

impl Held {
    /// The failure of each recipient of the request.
    pub(crate) fn failure(self) -> Failure {
        Failure::transient(
            NOT_BEGUN,
            match self {
                Self::Paused => "not sent: the backend paused before this request's turn",
                Self::TooLong => "not sent: this request's turn did not come in time",
                Self::Expired => "not sent: the message expired before this request's turn",
                Self::Cancelled => "not sent: an operator cancelled the message before this request's turn",
                Self::Draining => "not sent: this process is draining",
            },
        )
    }
}
