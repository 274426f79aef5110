//! What is written, one transaction each, and who does it.

use super::{erase, record::record};
use crate::message_log::{Keeping, LogError};
use async_trait::async_trait;
use postern_shared::event::Event;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;

/// Something to be written, in one transaction.
#[derive(Debug)]
pub(crate) enum WriteJob {
    Record(Vec<Event>),
    /// One step of forgetting a person who is written as one of these.
    Forget(Vec<String>),
    /// One step of removing what was created before, in milliseconds since 1970.
    ExpireOlder(i64),
    ExpireOldest,
    /// Empties the write-ahead log, which holds pages as they were.
    EmptyWal,
}

/// The thread that writes to the file.
#[async_trait]
pub(crate) trait Jobs: Send + Sync {
    /// Has `job` done. After the deadline it is not known whether it was.
    async fn run(&self, job: WriteJob) -> Result<u64, LogError>;

    /// Changes after each job that wrote something.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Ends the work after what was begun.
    async fn close(&self);
}

impl WriteJob {
    /// Does it on `connection`, on which no transaction is open. Returns how many messages it changed or
    /// removed; 0 where nobody counts.
    pub(crate) fn run(&self, connection: &Connection, keeping: &Keeping) -> Result<u64, LogError> {
        let transaction = |doing: &dyn Fn(&Connection) -> rusqlite::Result<u64>| {
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            let rows = doing(&transaction)?;
            transaction.commit()?;
            Ok(rows)
        };
        match self {
            Self::Record(events) => transaction(&|file| record(file, keeping, events).map(|()| 0)),
            Self::Forget(forms) => transaction(&|file| erase::forget(file, forms)),
            Self::ExpireOlder(before) => transaction(&|file| erase::expire_older(file, *before)),
            Self::ExpireOldest => transaction(&|file| erase::expire_oldest(file)),
            Self::EmptyWal => empty_wal(connection),
        }
    }
}

fn empty_wal(connection: &Connection) -> Result<u64, LogError> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match busy {
        0 => Ok(0),
        _ => Err(LogError::Unavailable(
            "the rows are erased, but a program that reads the file keeps older pages in its write-ahead \
             log: end it, and run forget again"
                .to_owned(),
        )),
    }
}
