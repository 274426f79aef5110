//! Why a request is not made.

use crate::outcome::NOT_BEGUN;
use postern_shared::error::Failure;

/// Why a request was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Sending paused before.
    Paused,
    /// It would have waited too long.
    TooLong,
    /// The process drains: what is in flight is to finish, and what is not begun is for another one.
    Draining,
}

impl Held {
    /// The failure of each recipient of the request.
    pub(crate) fn failure(self) -> Failure {
        Failure::transient(
            NOT_BEGUN,
            match self {
                Self::Paused => "sending through this backend paused before its turn: it was not begun",
                Self::TooLong => "its turn did not come in time: it was not begun",
                Self::Draining => "this process is about to end: it was not begun",
            },
        )
    }
}
