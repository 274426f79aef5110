//! Why the store cannot go on, and what its user can do about it.

use super::record::MalformedRecord;
use postern_broker::BrokerError;
use std::io;

/// Why the store cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreError {
    /// Another broker has it.
    Locked,
    /// The disk takes no more: no room, a quota used up, or it fails.
    Unwritable(String),
    /// Anything else, and what to do.
    Broken(String),
}

impl StoreError {
    /// What a caller learns of it, about the folder `path`.
    pub(super) fn explain(self, path: String) -> BrokerError {
        match self {
            Self::Locked => BrokerError::Locked { path },
            Self::Unwritable(why) => BrokerError::Blocked(format!(
                "{path} cannot be written ({why}); check the disk's space and health, it goes on by itself"
            )),
            Self::Broken(why) => BrokerError::Store { path, why },
        }
    }

    /// An error of the operating system while `doing`.
    pub(super) fn io(doing: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{
            AlreadyExists, FileTooLarge, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
            StorageFull,
        };
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Unwritable(error.to_string()),
            AlreadyExists | NotADirectory | PermissionDenied | ReadOnlyFilesystem => {
                Self::Broken(format!("{doing}: {error}; check the path, its owner and permissions"))
            }
            _ => Self::damaged(doing, &error.to_string()),
        }
    }

    /// An error of fjall while `doing`.
    pub(super) fn fjall(doing: &str, error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                Self::io(doing, &error)
            }
            // Of the threads in the background nothing more is known.
            fjall::Error::Poisoned => Self::Unwritable("a write in the background failed".to_owned()),
            other => Self::damaged(doing, &format!("{other:?}")),
        }
    }

    /// The store is not what it should be.
    pub(super) fn damaged(doing: &str, why: &str) -> Self {
        Self::Broken(format!(
            "{doing}: it is damaged or of an unknown version ({why}); restore it from a copy, or move the folder away to start empty"
        ))
    }

    /// A record of the store's own cannot be read.
    pub(super) fn malformed(what: &str, error: MalformedRecord) -> Self {
        Self::Broken(format!(
            "holds a record of {what} that cannot be read ({error}); use the version of Postern that wrote it, restore it from a copy, or move the folder away to start empty"
        ))
    }
}
