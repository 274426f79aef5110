//! The meaning of SQLite's errors, and how long an operation may take.

use crate::message_log::{LogError, raw::UnreadableRow};
use rusqlite::{ErrorCode, types::Type};
use std::time::Duration;

/// How long an operation may take. [`forget`](crate::message_log::MessageLog::forget) takes as many steps as it
/// needs, each with this limit.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The error for a closed log.
pub(super) fn closed() -> LogError {
    LogError::Unavailable("it is closed".to_owned())
}

/// The error for an unreadable row, as one of SQLite's.
pub(super) fn unreadable(why: UnreadableRow) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(why))
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        let mend = "restore a backup of the file, or move the file away to start empty";
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => Self::Broken(format!("is damaged: {error}; {mend}")),
            Some(ErrorCode::NotADatabase) => Self::Broken(format!("is not an SQLite file: {mend}")),
            Some(ErrorCode::DiskFull) => Self::Unavailable("the disk is full: free some space".to_owned()),
            Some(ErrorCode::ReadOnly) => {
                Self::Unavailable("the file is read-only: make it writable for Postern's user".to_owned())
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Unavailable("another program keeps the file locked: stop that program".to_owned())
            }
            Some(ErrorCode::OperationInterrupted) => Self::TimedOut(DEADLINE),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => Self::Rejected(error.to_string()),
            Some(_) => Self::Unavailable(error.to_string()),
            None => match error {
                rusqlite::Error::FromSqlConversionFailure(_, _, why) => Self::Broken(why.to_string()),
                error => Self::Broken(format!("does not contain what this version expects: {error}; {mend}")),
            },
        }
    }
}
