//! Why the store cannot be used, and what its user can do about it.

use postern_broker::BrokerError;
use rusqlite::{ErrorCode, ffi};
use std::io;

/// Why the store cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another broker uses the folder.
    #[error("another process uses the folder")]
    Locked,
    /// Another program keeps the file locked. The transaction is undone.
    #[error("another program keeps postern.db locked")]
    Busy,
    /// The disk accepts nothing more: it is full, or a quota is used up. The transaction is undone.
    #[error("{0}")]
    Full(String),
    /// The disk fails: it is not known how much of the last write it holds.
    #[error("{0}")]
    Unwritable(String),
    /// Any other error, with what to do about it.
    #[error("{0}")]
    Broken(String),
}

impl StoreError {
    /// The error for callers, about the store in the folder `path`.
    pub(crate) fn explain(self, path: String) -> BrokerError {
        match self {
            Self::Locked => BrokerError::Locked { path },
            Self::Busy => BrokerError::Blocked(format!(
                "{path} cannot be written (another program keeps postern.db locked); stop it, and Postern \
                 continues by itself"
            )),
            Self::Full(why) | Self::Unwritable(why) => BrokerError::Blocked(format!(
                "{path} cannot be written ({why}); check the disk's space and health; Postern continues by \
                 itself"
            )),
            Self::Broken(why) => BrokerError::Store { path, why },
        }
    }

    /// Whether the failed transaction is undone for certain, so that the connection can still be used.
    pub(crate) fn is_undone(&self) -> bool {
        matches!(self, Self::Busy | Self::Full(_))
    }

    /// An error of the operating system while `doing`.
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{
            AlreadyExists, FileTooLarge, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
            StorageFull,
        };
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full(error.to_string()),
            AlreadyExists | NotADirectory | PermissionDenied | ReadOnlyFilesystem => {
                Self::Broken(format!("{doing}: {error}; check the path, its owner and permissions"))
            }
            _ => Self::damaged(doing, &error.to_string()),
        }
    }

    /// An error of SQLite while `doing`.
    pub(crate) fn sqlite(doing: &str, error: &rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(cause, _) = error else {
            // A column holds an impossible value.
            return Self::damaged(doing, &error.to_string());
        };
        match cause.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DiskFull => Self::Full("no space is left on the disk".to_owned()),
            ErrorCode::SystemIoFailure => match cause.extended_code {
                // SQLite also reports a used-up quota, or a limit of the process, as a failed write.
                ffi::SQLITE_IOERR_WRITE => Self::Full("the disk accepts no more data".to_owned()),
                ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS => {
                    Self::damaged(doing, &error.to_string())
                }
                _ => Self::Unwritable(cause.to_string()),
            },
            ErrorCode::OutOfMemory => Self::Unwritable("no memory is left".to_owned()),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                Self::Broken(format!("{doing}: {error}; check the path, its owner and permissions"))
            }
            _ => Self::damaged(doing, &error.to_string()),
        }
    }

    /// The error for a damaged store.
    pub(crate) fn damaged(doing: &str, why: &str) -> Self {
        Self::Broken(format!(
            "{doing}: it is damaged or belongs to another program ({why}); restore it from a backup, or move \
             the folder away to start empty"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_sqlite_says_what_to_do() {
        let of = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = StoreError::sqlite("cannot be written", &error);
            (error.is_undone(), error.explain("DIR".to_owned()).to_string())
        };
        for (code, undone, advice) in [
            (ffi::SQLITE_FULL, true, "check the disk's space"),
            (ffi::SQLITE_IOERR_WRITE, true, "check the disk's space"),
            (ffi::SQLITE_BUSY, true, "another program"),
            (ffi::SQLITE_IOERR_FSYNC, false, "check the disk's space and health"),
            (ffi::SQLITE_READONLY, false, "owner and permissions"),
            (ffi::SQLITE_CANTOPEN, false, "owner and permissions"),
            (ffi::SQLITE_CORRUPT, false, "restore it from a backup"),
            (ffi::SQLITE_NOTADB, false, "restore it from a backup"),
            (ffi::SQLITE_IOERR_SHORT_READ, false, "restore it from a backup"),
        ] {
            let (is_undone, text) = of(code);
            assert!(is_undone == undone && text.contains("DIR") && text.contains(advice), "{code}: {text}");
        }
    }
}
