//! The statements that the broker runs on `postern.db`. Each is prepared once, and found again by its text.

mod delayed;
mod leases;
mod messages;

pub(super) use leases::Note;
pub(super) use messages::{Chunk, Range, read_past_damage};

use super::{
    record::{self, BEYOND, Position, Record, RowKey, StoredMessage, message_columns},
    recording::{self, Recording},
};
use crate::{
    message_log::{
        Keeping, LogError,
        sqlite::{STATEMENTS as LOG_STATEMENTS, WriteJob},
    },
    sqlite::{self, Database, Folder, NUMBER_BITS, StoreError},
};
use postern_shared::event::Event;
use rusqlite::{CachedStatement, Transaction, TransactionBehavior, config::DbConfig, params};
use std::collections::BTreeSet;
use tokio::sync::oneshot;

const PUT: &str =
    concat!("INSERT INTO message (id, ", message_columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
const REMOVE: &str = "DELETE FROM message WHERE id = ?1";
const LAST: &str = "SELECT max(id) FROM message WHERE id >= ?1 AND id < ?2";
const FIRST: &str = "SELECT min(id) FROM message WHERE id >= ?1";

const QUEUES: &str = "SELECT id, name, next, messages, bytes, handed, checksum FROM queue ORDER BY id";
const SET_POSITION: &str = "INSERT INTO queue (id, name, next, messages, bytes, handed, checksum) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET next = excluded.next, \
    messages = excluded.messages, bytes = excluded.bytes, handed = excluded.handed, \
    checksum = excluded.checksum";

/// How many statements of this file stay prepared.
const STATEMENTS: usize = 32;

/// The frames of the write-ahead log after which they are moved into the file: 4 MiB.
const CHECKPOINT: i64 = 1000;

/// The open store; closed when it is dropped.
pub(super) struct Store {
    connection: Database,
    /// How many frames the write-ahead log may hold before they are moved into the file.
    checkpoint_at: i64,
}

impl Store {
    /// Opens the store in `folder`, or creates it. With `keeping`, it also has the tables of the message log.
    pub(super) fn open(folder: &Folder, keeping: Option<&Keeping>) -> Result<Self, StoreError> {
        let connection = sqlite::open(folder)?;
        if let Some(keeping) = keeping {
            recording::prepare(&connection, keeping)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS + LOG_STATEMENTS);
        }
        Ok(Self { connection, checkpoint_at: CHECKPOINT })
    }

    /// Does `job` on the message log, and sends the answer.
    ///
    /// # Errors
    /// Those of [`Recording::run`].
    pub(super) fn run(
        &self,
        recording: &Recording,
        job: &WriteJob,
        answer: oneshot::Sender<Result<u64, LogError>>,
    ) -> Result<(), StoreError> {
        recording.run(&self.connection, job, answer)
    }

    /// Every queue that the store knows, with its position.
    ///
    /// # Errors
    /// The rows cannot be read from the disk, or were altered: then nothing is known about the queues' messages.
    pub(super) fn queues(&self) -> Result<Vec<(String, Position)>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(QUEUES)?;
            statement.query_and_then([], Position::decode)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|error| StoreError::sqlite("cannot be read", &error))?;
        let mut queues = Vec::with_capacity(rows.len());
        for row in rows {
            let why = |error: record::MalformedRecord| {
                StoreError::damaged("cannot be used", &format!("the row of a queue: {error}"))
            };
            queues.push(row.map_err(why)?);
        }
        Ok(queues)
    }

    /// The id of a queue that has messages but is not in `known`.
    pub(super) fn stray(&self, known: &BTreeSet<u32>) -> Result<Option<i64>, StoreError> {
        let mut from = i64::MIN;
        let next = |from: i64| {
            self.connection.prepare_cached(FIRST)?.query_row([from], |row| row.get::<_, Option<i64>>(0))
        };
        while let Some(id) = next(from).map_err(|error| StoreError::sqlite("cannot be read", &error))? {
            let queue = id >> NUMBER_BITS;
            if !u32::try_from(queue).is_ok_and(|queue| known.contains(&queue)) {
                return Ok(Some(queue));
            }
            from = (queue + 1) << NUMBER_BITS;
        }
        Ok(None)
    }

    /// The messages of `range`: see [`messages::read`].
    pub(super) fn read(&self, range: Range, most: (usize, u64)) -> rusqlite::Result<Chunk> {
        messages::read(&self.connection, range, most, None)
    }

    /// The messages of `range` that can be read if the disk is damaged: see [`messages::read_past_damage`].
    pub(super) fn read_past_damage(&self, range: Range, most: (usize, u64)) -> Chunk {
        messages::read_past_damage(&self.connection, range, most, None)
    }

    /// Message `number` of queue `id`.
    pub(super) fn get(&self, id: u32, number: u64) -> rusqlite::Result<Option<StoredMessage>> {
        messages::get(&self.connection, id, number)
    }

    /// One more than the number of the last message of queue `id`, if there are messages from `tail` on.
    pub(super) fn beyond(&self, id: u32, tail: u64) -> Result<Option<u64>, StoreError> {
        let last = || {
            let mut statement = self.connection.prepare_cached(LAST)?;
            statement.query_row([row_id(id, tail), row_id(id, BEYOND)], |row| row.get::<_, Option<i64>>(0))
        };
        let last = last().map_err(|error| StoreError::sqlite("cannot be read", &error))?;
        Ok(last.map(|last| number(last) + 1))
    }

    /// Begins a transaction. Nothing is stored before [`WriteTransaction::commit`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn batch(&self) -> Result<WriteTransaction<'_>, StoreError> {
        let begin = || {
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let (put, remove) =
                (self.connection.prepare_cached(PUT)?, self.connection.prepare_cached(REMOVE)?);
            Ok(WriteTransaction { put, remove, transaction })
        };
        begin().map_err(|error: rusqlite::Error| StoreError::sqlite("cannot be written", &error))
    }

    /// Makes a minimal write, to see whether the store can be written.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn touch(&self) -> Result<(), StoreError> {
        sqlite::touch(&self.connection).map_err(|error| StoreError::sqlite("cannot be written", &error))
    }

    /// Moves the write-ahead log into the file if it has grown. This is done between two writes, so that none
    /// waits long. If it fails, nothing is lost, and it is retried.
    ///
    /// # Errors
    /// The disk fails: it is not known what it holds of the write-ahead log.
    pub(super) fn checkpoint(&mut self) -> Result<(), StoreError> {
        let state = |mode: &str| {
            let mut statement = self.connection.prepare_cached(mode)?;
            statement.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
        };
        let done = || {
            let left = state("PRAGMA wal_checkpoint(NOOP)")?;
            if left < self.checkpoint_at {
                return Ok(None);
            }
            state("PRAGMA wal_checkpoint(PASSIVE)").map(Some)
        };
        match done() {
            Ok(None) => {}
            // Frames that another connection still reads stay in the write-ahead log.
            Ok(Some(left)) => self.checkpoint_at = left + CHECKPOINT,
            Err(error) => {
                let error: rusqlite::Error = error;
                let store_error = StoreError::sqlite("cannot be written", &error);
                if !store_error.is_undone() {
                    return Err(store_error);
                }
                tracing::warn!(%error, "checkpoint of the embedded store failed, retrying: its write-ahead log is not moved into its file");
                self.checkpoint_at += CHECKPOINT;
            }
        }
        Ok(())
    }

    /// Makes room in the write-ahead log, if that is possible without more space on the disk.
    ///
    /// # Errors
    /// Those of [`checkpoint`](Self::checkpoint).
    pub(super) fn make_room(&mut self) -> Result<(), StoreError> {
        self.checkpoint_at = 0;
        self.checkpoint()
    }

    /// Closes the file without touching the write-ahead log, since it is not known what the disk holds of it.
    pub(super) fn abandon(self) {
        if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!(%error, "the embedded store may make a checkpoint on close, although its write-ahead log may be damaged");
        }
    }

    /// The unused bytes of the file.
    pub(super) fn free_bytes(&self) -> u64 {
        let pages = self.connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
        let size = self.connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0));
        match (pages, size) {
            (Ok(pages), Ok(size)) => u64::try_from(pages.saturating_mul(size)).unwrap_or(0),
            _ => 0,
        }
    }

    /// Returns `pages` unused pages of the file to the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn shrink(&self, pages: u32) -> Result<(), StoreError> {
        let step = || {
            let mut statement = self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        step().map_err(|error: rusqlite::Error| StoreError::sqlite("cannot be written", &error))
    }
}

/// Changes that are written together or not at all. If it is dropped, nothing is stored.
pub(super) struct WriteTransaction<'s> {
    put: CachedStatement<'s>,
    remove: CachedStatement<'s>,
    transaction: Transaction<'s>,
}

impl WriteTransaction<'_> {
    /// Adds a message.
    pub(super) fn put(&mut self, id: u32, number: u64, record: &Record) -> Result<(), StoreError> {
        written(self.put.execute(record.row(RowKey::Message(row_id(id, number)))))
    }

    /// Adds `events` to the message log. Returns whether its tables took them: if not, the whole transaction
    /// must be dropped.
    ///
    /// # Errors
    /// Nothing at all can be written.
    pub(super) fn record(&self, recording: &Recording, events: &[Event]) -> Result<bool, StoreError> {
        recording.write(&self.transaction, events)
    }

    /// Removes a message.
    pub(super) fn remove(&mut self, id: u32, number: u64) -> Result<(), StoreError> {
        written(self.remove.execute([row_id(id, number)]))
    }

    /// Sets a queue's position, or adds the queue.
    pub(super) fn set_position(&self, name: &str, position: &Position) -> Result<(), StoreError> {
        let [next, messages, bytes, handed] = position.numbers();
        let checksum = position.checksum(name);
        self.execute(SET_POSITION, params![position.id, name, next, messages, bytes, handed, checksum])
    }

    /// Writes everything and waits until it is on the disk.
    ///
    /// # Errors
    /// If the error [is undone](StoreError::is_undone), nothing is stored; otherwise the changes may be stored.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        let Self { put, remove, transaction } = self;
        drop((put, remove));
        transaction.commit().map_err(|error| StoreError::sqlite("cannot be written", &error))
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), StoreError> {
        let execute = || self.transaction.prepare_cached(sql)?.execute(params);
        written(execute())
    }
}

fn written(outcome: rusqlite::Result<usize>) -> Result<(), StoreError> {
    outcome.map(drop).map_err(|error| StoreError::sqlite("cannot be written", &error))
}

/// The id of the row of message `number` in queue `id`.
fn row_id(id: u32, number: u64) -> i64 {
    (i64::from(id) << NUMBER_BITS) + i64::try_from(number).unwrap_or(i64::MAX >> 1)
}

/// The message's number in the row id `row_id`.
fn number(row_id: i64) -> u64 {
    u64::try_from(row_id & ((1 << NUMBER_BITS) - 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_write_reaches_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let store = Store::open(&folder, None).unwrap();
        let written = || std::fs::metadata(dir.path().join("postern.db-wal")).unwrap().len();
        let before = written();
        store.touch().unwrap();
        assert!(written() > before);
    }
}
