//! Writing jobs, each in one transaction, and the thread that does them.

use super::{
    erase,
    record::record,
    size::{note_again, noting},
};
use crate::{
    message_log::{Keeping, LogError},
    sqlite::touch,
};
use async_trait::async_trait;
use postern_shared::event::Event;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;

/// A job that writes in one transaction.
#[derive(Debug)]
pub(crate) enum WriteJob {
    Record(Vec<Event>),
    /// One step of forgetting a person, with the forms of their identity in rows.
    Forget(Vec<String>),
    /// One step of removing messages that were created before this time, in milliseconds since 1970.
    ExpireOlder(i64),
    ExpireOldest,
    /// Empties the write-ahead log, which holds older pages.
    EmptyWal,
}

/// The thread that writes to the file.
#[async_trait]
pub(crate) trait Jobs: Send + Sync {
    /// Does `job`. After the deadline it is not known whether it was done.
    async fn run(&self, job: WriteJob) -> Result<u64, LogError>;

    /// A counter that changes after each job that wrote something.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Ends the work after jobs that have begun.
    async fn close(&self);
}

impl WriteJob {
    /// Does the job on `connection`, on which no transaction may be open. Returns how many messages were erased or
    /// removed; 0 for other jobs.
    pub(crate) fn run(&self, connection: &Connection, keeping: &Keeping) -> Result<u64, LogError> {
        self.attempt(connection, keeping)?
    }

    /// Like [`run`](Self::run), with the errors of SQLite as they are.
    pub(crate) fn attempt(
        &self,
        connection: &Connection,
        keeping: &Keeping,
    ) -> rusqlite::Result<Result<u64, LogError>> {
        let transaction = |doing: &dyn Fn(&Connection) -> rusqlite::Result<u64>| {
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            let messages = noting(&transaction, || doing(&transaction))?;
            transaction.commit()?;
            Ok(Ok(messages))
        };
        match self {
            Self::Record(events) => transaction(&|file| record(file, keeping, events).map(|()| 0)),
            Self::Forget(forms) => transaction(&|file| erase::forget(file, forms)),
            Self::ExpireOlder(before) => transaction(&|file| erase::expire_older(file, *before)),
            Self::ExpireOldest => transaction(&|file| {
                let messages = erase::expire_oldest(file)?;
                if messages == 0 {
                    // The log is empty, and yet too large.
                    note_again(file)?;
                }
                Ok(messages)
            }),
            Self::EmptyWal => empty_wal(connection),
        }
    }
}

fn empty_wal(connection: &Connection) -> rusqlite::Result<Result<u64, LogError>> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        return Ok(Err(LogError::Unavailable(
            "the rows are erased, but a program that reads the file keeps older pages in its write-ahead \
             log: end it, and run forget again"
                .to_owned(),
        )));
    }
    // After a crash, an embedded broker takes the end of an empty write-ahead log for lost.
    touch(connection)?;
    Ok(Ok(0))
}
