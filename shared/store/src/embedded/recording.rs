//! The message log in the broker's own file: events are written in the transaction of the change that they are
//! about.

use crate::{
    message_log::{
        Keeping, LogError,
        sqlite::{self, WriteJob},
    },
    sqlite::StoreError,
};
use postern_shared::event::Event;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, ffi};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{oneshot, watch};

/// The numbers of events that were written or lost since the broker was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordedEvents {
    /// How many were written.
    pub recorded: u64,
    /// How many were lost although the change itself was stored: the message log's tables could not take them.
    pub failed: u64,
}

/// What the writer needs to write events. Clones share the counters.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    /// What the message log keeps.
    pub(super) keeping: Keeping,
    changes: watch::Sender<u64>,
    recorded: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Recording {
    /// A recording that has not written anything yet.
    pub(super) fn new(keeping: Keeping) -> Self {
        let (changes, recorded, failed) = (watch::Sender::new(0), Arc::default(), Arc::default());
        Self { keeping, changes, recorded, failed }
    }

    /// Counts events that are on the disk now.
    pub(super) fn wrote(&self, events: u64) {
        self.recorded.fetch_add(events, Ordering::Relaxed);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Writes `events` in the transaction that is open on `connection`. Returns whether the tables took them:
    /// if not, some events may be written, and the transaction must be rolled back.
    ///
    /// # Errors
    /// Nothing at all can be written.
    pub(super) fn write(&self, connection: &Connection, events: &[Event]) -> Result<bool, StoreError> {
        match sqlite::noting(connection, || sqlite::record(connection, &self.keeping, events)) {
            Ok(()) => Ok(true),
            Err(error) if is_of_the_file(&error) => Err(StoreError::sqlite("cannot be written", &error)),
            Err(error) => {
                self.missed(events, &error);
                Ok(false)
            }
        }
    }

    /// Counts events that the tables did not take.
    fn missed(&self, events: &[Event], error: &rusqlite::Error) {
        self.failed.fetch_add(events.len() as u64, Ordering::Relaxed);
        tracing::error!(
            events = events.len(), %error,
            "events are missing from the message log: its tables did not accept them, but their messages are \
             stored; run `postern store check`"
        );
    }

    /// Does `job` in the store of `connection`, and sends the answer.
    ///
    /// # Errors
    /// The disk fails: it is not known what it holds of the write-ahead log.
    pub(super) fn run(
        &self,
        connection: &Connection,
        job: &WriteJob,
        answer: oneshot::Sender<Result<u64, LogError>>,
    ) -> Result<(), StoreError> {
        let done = job.attempt(connection, &self.keeping);
        if matches!(done, Ok(Ok(_))) && !matches!(job, WriteJob::EmptyWal) {
            self.changes.send_modify(|changes| *changes += 1);
        }
        let failed = done.as_ref().err().filter(|error| is_of_the_file(error));
        let failed = failed.map(|error| StoreError::sqlite("cannot be written", error));
        // The asker may have given up.
        let _ = answer.send(done.unwrap_or_else(|error| Err(error.into())));
        failed.filter(|store_error| !store_error.is_undone()).map_or(Ok(()), Err)
    }

    /// The numbers of written and lost events.
    pub(super) fn events(&self) -> RecordedEvents {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecordedEvents { recorded: read(&self.recorded), failed: read(&self.failed) }
    }

    /// A counter that changes when something was written.
    pub(super) fn changes(&self) -> &watch::Sender<u64> {
        &self.changes
    }
}

/// Makes sure that the file has the message log's tables, in this version and written with the same key.
///
/// # Errors
/// The file does not have them, and they cannot be created.
pub(super) fn prepare(connection: &Connection, keeping: &Keeping) -> Result<(), StoreError> {
    let prepare = || {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        sqlite::noting(&transaction, || sqlite::prepare(&transaction, keeping))?;
        transaction.commit()?;
        if let Err(error) = sqlite::begin_to_note(connection) {
            if is_of_the_file(&error) {
                return Err(error.into());
            }
            tracing::warn!(%error, "the size of the message log cannot be determined: log.max_bytes has no effect");
        }
        // Also for the queues' messages: no free page may hold a person who was forgotten.
        connection.pragma_update(None, "secure_delete", "ON")?;
        Ok(())
    };
    prepare().map_err(|error: LogError| match error {
        LogError::Broken(why) => StoreError::Broken(format!("holds a message log that {why}")),
        other => StoreError::Unwritable(other.to_string()),
    })
}

/// Whether an error concerns the whole file, and not only the log's rows: one of them may be on a page that the disk
/// cannot read.
fn is_of_the_file(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OutOfMemory, ReadOnly,
        SystemIoFailure,
    };
    let Some(cause) = error.sqlite_error() else { return false };
    match cause.code {
        SystemIoFailure => !matches!(
            cause.extended_code,
            ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS
        ),
        CannotOpen
        | DatabaseBusy
        | DatabaseLocked
        | DiskFull
        | FileLockingProtocolFailed
        | OutOfMemory
        | ReadOnly => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_log_that_cannot_be_read_holds_up_no_message_and_a_full_disk_does() {
        let of_the_file = |code| is_of_the_file(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_BUSY] {
            assert!(of_the_file(code), "{code}");
        }
        for code in [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_CORRUPTFS, ffi::SQLITE_CORRUPT] {
            assert!(!of_the_file(code), "{code}");
        }
    }
}
