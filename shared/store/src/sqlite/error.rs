//! Why the store cannot go on, and what its user can do about it.

use postern_broker::BrokerError;
use rusqlite::{ErrorCode, ffi};
use std::io;

/// Why the store cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// Another broker has it.
    Locked,
    /// Another program keeps the file locked; what was begun is undone.
    Busy,
    /// The disk took nothing more: no room, or a quota used up. What was begun is undone.
    Full(String),
    /// The disk fails: what of the last write it holds is not known.
    Unwritable(String),
    /// Anything else, and what to do.
    Broken(String),
}

impl StoreError {
    /// What a caller learns of it, about the folder `path`.
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

    /// Whether the transaction that failed is undone for certain, and the connection can be used on.
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
            // A column holds what cannot be in it.
            return Self::damaged(doing, &error.to_string());
        };
        match cause.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::DiskFull => Self::Full("no space is left on the disk".to_owned()),
            ErrorCode::SystemIoFailure => match cause.extended_code {
                // Also what SQLite does not tell from a broken disk: a quota, a limit of the process.
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

    /// The store is not what it should be.
    pub(crate) fn damaged(doing: &str, why: &str) -> Self {
        Self::Broken(format!(
            "{doing}: it is damaged or belongs to another program ({why}); restore it from a copy, or move \
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
            (ffi::SQLITE_CORRUPT, false, "restore it from a copy"),
            (ffi::SQLITE_NOTADB, false, "restore it from a copy"),
            (ffi::SQLITE_IOERR_SHORT_READ, false, "restore it from a copy"),
        ] {
            let (is_undone, text) = of(code);
            assert!(is_undone == undone && text.contains("DIR") && text.contains(advice), "{code}: {text}");
        }
    }
}
