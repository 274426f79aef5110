//! The statements that the broker runs on `postern.db`. Each is prepared once and found again by its
//! text.

mod leases;

pub(super) use leases::Note;

use super::{
    record::{self, BEYOND, Key, Position, Record, StoredMessage},
    recording::{self, Recording},
};
use crate::{
    message_log::{
        Keeping, LogError,
        sqlite::{Job, STATEMENTS as LOG_STATEMENTS},
    },
    sqlite::{self, Database, Folder, NUMBER_BITS, StoreError},
};
use postern_broker::Envelope;
use postern_shared::event::Event;
use rusqlite::{CachedStatement, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{BTreeSet, HashMap};
use tokio::sync::oneshot;

const READ: &str = "SELECT id, message_id, type, content_type, headers, body, checksum FROM message \
    WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";
const GET: &str =
    "SELECT id, message_id, type, content_type, headers, body, checksum FROM message WHERE id = ?1";
const PUT: &str = "INSERT INTO message (id, message_id, type, content_type, headers, body, checksum) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const REMOVE: &str = "DELETE FROM message WHERE id = ?1";
const LAST: &str = "SELECT max(id) FROM message WHERE id >= ?1 AND id < ?2";
const FIRST: &str = "SELECT min(id) FROM message WHERE id >= ?1";

const QUEUES: &str = "SELECT id, name, next, messages, bytes, handed, checksum FROM queue ORDER BY id";
const SET_POSITION: &str = "INSERT INTO queue (id, name, next, messages, bytes, handed, checksum) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET next = excluded.next, \
    messages = excluded.messages, bytes = excluded.bytes, handed = excluded.handed, \
    checksum = excluded.checksum";

// Two steps, so that one row that the disk does not give stops no other.
const DUE: &str =
    "SELECT due, id FROM delayed INDEXED BY delayed_due WHERE due <= ?1 ORDER BY due, id LIMIT ?2";
const NEXT_DUE: &str = "SELECT due FROM delayed INDEXED BY delayed_due WHERE due > ?1 ORDER BY due LIMIT 1";
const GET_DELAYED: &str = "SELECT queue, message_id, type, content_type, headers, body, checksum \
    FROM delayed WHERE id = ?1";
const PUT_DELAYED: &str = "INSERT INTO delayed (id, message_id, type, content_type, headers, body, checksum, due, queue) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const REMOVE_DELAYED: &str = "DELETE FROM delayed WHERE id = ?1";
const SET_DELAYED_COUNT: &str = "INSERT INTO delayed_count (queue, messages) VALUES (?1, ?2) \
    ON CONFLICT (queue) DO UPDATE SET messages = excluded.messages";

/// How many statements of this file stay prepared.
const STATEMENTS: usize = 32;

/// The frames of the write-ahead log that are moved into the file at once: 4 MiB.
const CHECKPOINT: i64 = 1000;

/// The open store; closed when it is dropped.
pub(super) struct Store {
    connection: Database,
    /// How many frames the log may hold that are not in the file, before they are moved there.
    checkpoint_at: i64,
}

impl Store {
    /// Opens the store in `folder`, making it where there is none; with the tables of the message log, if it
    /// is to keep that.
    pub(super) fn open(folder: &Folder, keeping: Option<&Keeping>) -> Result<Self, StoreError> {
        let connection = sqlite::open(folder)?;
        if let Some(keeping) = keeping {
            recording::prepare(&connection, keeping)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS + LOG_STATEMENTS);
        }
        Ok(Self { connection, checkpoint_at: CHECKPOINT })
    }

    /// Does `job` on the message log, and passes the answer on.
    pub(super) fn run(
        &self,
        recording: &Recording,
        job: &Job,
        answer: oneshot::Sender<Result<u64, LogError>>,
    ) {
        recording.run(&self.connection, job, answer);
    }

    /// Every queue that the store knows, with its position.
    ///
    /// # Errors
    /// The disk does not give them, or they are not what was written: then nothing can be told of what
    /// is in them.
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

    /// The id of a queue that has messages, and is none of `known`.
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

    /// The messages of queue `id` from the number `from` to below `to`, in order: at least one where
    /// there is one, at most `count`, and no more once they have `bytes`. The flag says whether there
    /// are none behind them.
    pub(super) fn read(
        &self,
        id: u32,
        from: u64,
        to: u64,
        count: usize,
        bytes: u64,
    ) -> rusqlite::Result<Chunk> {
        let mut chunk = Chunk { messages: Vec::new(), last: false };
        let mut size = 0;
        let mut statement = self.connection.prepare_cached(READ)?;
        let most = i64::try_from(count).unwrap_or(i64::MAX);
        let mut rows = statement.query([row_id(id, from), row_id(id, to), most])?;
        while size < bytes {
            let Some(row) = rows.next()? else {
                chunk.last = chunk.messages.len() < count;
                break;
            };
            let row_id: i64 = row.get(0)?;
            let (envelope, its) = record::decode(row, 1, Key::Message(row_id))?;
            size += its;
            chunk.messages.push(StoredMessage { number: number(row_id), size: its, envelope });
        }
        Ok(chunk)
    }

    /// One message.
    pub(super) fn get(&self, id: u32, number: u64) -> rusqlite::Result<Option<StoredMessage>> {
        let row_id = row_id(id, number);
        let mut statement = self.connection.prepare_cached(GET)?;
        let mut rows = statement.query([row_id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (envelope, size) = record::decode(row, 1, Key::Message(row_id))?;
        Ok(Some(StoredMessage { number, size, envelope }))
    }

    /// The number behind the last message of queue `id`, if there are messages from `tail` on.
    pub(super) fn beyond(&self, id: u32, tail: u64) -> Result<Option<u64>, StoreError> {
        let last = || {
            let mut statement = self.connection.prepare_cached(LAST)?;
            statement.query_row([row_id(id, tail), row_id(id, BEYOND)], |row| row.get::<_, Option<i64>>(0))
        };
        let last = last().map_err(|error| StoreError::sqlite("cannot be read", &error))?;
        Ok(last.map(|last| number(last) + 1))
    }

    /// How many delayed messages return to the queue of each name, and the id for the next one.
    pub(super) fn delayed(&self) -> Result<(HashMap<String, u64>, i64), StoreError> {
        let read = || {
            let mut counts = self.delayed_counts("SELECT queue, messages FROM delayed_count")?;
            let one = |sql| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            let stored = one("SELECT count(*) FROM delayed")?;
            let counted: u64 = counts.values().fold(0, |sum, count| sum.saturating_add(*count));
            if u64::try_from(stored) != Ok(counted) {
                tracing::error!(
                    counted,
                    found = stored,
                    "the embedded store holds another number of delayed messages than it counted: it was damaged; check the disk"
                );
                counts = self.delayed_counts("SELECT queue, count(*) FROM delayed GROUP BY queue")?;
            }
            Ok((counts, one("SELECT coalesce(max(id), 0) FROM delayed")?.saturating_add(1)))
        };
        read().map_err(|error: rusqlite::Error| StoreError::sqlite("cannot be read", &error))
    }

    fn delayed_counts(&self, sql: &str) -> rusqlite::Result<HashMap<String, u64>> {
        let mut statement = self.connection.prepare(sql)?;
        let count =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)));
        statement.query_map([], count)?.collect()
    }

    /// At most `count` delayed messages that are due at `now` (ms since 1970), the earliest first, but
    /// for those in `passed_over`, to which the ones are added that the disk does not give. Then when the
    /// next one is due.
    pub(super) fn due(
        &self,
        now: u64,
        count: usize,
        passed_over: &mut BTreeSet<i64>,
    ) -> Result<Due, StoreError> {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let keys = || {
            let most = i64::try_from(count + 1 + passed_over.len()).unwrap_or(i64::MAX);
            let mut statement = self.connection.prepare_cached(DUE)?;
            let keys = statement.query_map([now, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut keys = keys.collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
            keys.retain(|(_, id)| !passed_over.contains(id));
            let next = match keys.get(count) {
                Some((next, _)) => Some(*next),
                None => {
                    self.connection.prepare_cached(NEXT_DUE)?.query_row([now], |row| row.get(0)).optional()?
                }
            };
            keys.truncate(count);
            Ok((keys, next))
        };
        let (keys, next) =
            keys().map_err(|error: rusqlite::Error| StoreError::sqlite("cannot be read", &error))?;
        let mut due = Due { messages: Vec::new(), next: next.map(|next| u64::try_from(next).unwrap_or(0)) };
        for (at, id) in keys {
            match self.get_delayed(at, id) {
                Ok(message) => due.messages.push(message),
                Err(error) => {
                    tracing::error!(%error, "a delayed message cannot be read from the disk; it is passed over until the next start: check the disk");
                    passed_over.insert(id);
                }
            }
        }
        Ok(due)
    }

    fn get_delayed(&self, due: i64, id: i64) -> rusqlite::Result<DelayedMessage> {
        let mut statement = self.connection.prepare_cached(GET_DELAYED)?;
        statement.query_row([id], |row| {
            let queue = String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
            let (envelope, _) = record::decode(row, 1, Key::Delayed(id, due, &queue))?;
            Ok(DelayedMessage { id, queue, envelope })
        })
    }

    /// Begins to write; nothing is stored before [`Batch::commit`].
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn batch(&self) -> Result<Batch<'_>, StoreError> {
        let begin = || {
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let (put, remove) =
                (self.connection.prepare_cached(PUT)?, self.connection.prepare_cached(REMOVE)?);
            Ok(Batch { put, remove, transaction })
        };
        begin().map_err(|error: rusqlite::Error| StoreError::sqlite("cannot be written", &error))
    }

    /// Writes next to nothing, to see whether that is possible.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn touch(&self) -> Result<(), StoreError> {
        written(self.connection.execute("UPDATE store SET opened = opened", []))
    }

    /// Moves the log into the file, if it has grown: between two writes, so that none waits long. What
    /// fails here has failed nobody, and is tried again.
    pub(super) fn checkpoint(&mut self) {
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
            // What a reader beside it still needs stays where it is.
            Ok(Some(left)) => self.checkpoint_at = left + CHECKPOINT,
            Err(error) => {
                let error: rusqlite::Error = error;
                tracing::warn!(%error, "the write-ahead log of the embedded store cannot be moved into its file; it is tried again");
                self.checkpoint_at += CHECKPOINT;
            }
        }
    }

    /// Makes room in the log, where that is possible without more of the disk.
    pub(super) fn make_room(&mut self) {
        self.checkpoint_at = 0;
        self.checkpoint();
    }

    /// The bytes of the file that hold nothing.
    pub(super) fn free_bytes(&self) -> u64 {
        let pages = self.connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
        let size = self.connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0));
        match (pages, size) {
            (Ok(pages), Ok(size)) => u64::try_from(pages.saturating_mul(size)).unwrap_or(0),
            _ => 0,
        }
    }

    /// Gives `pages` of the file that hold nothing back to the disk.
    ///
    /// # Errors
    /// It cannot be written.
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

/// What is to be written together, or not at all. Dropped, nothing of it is stored.
pub(super) struct Batch<'s> {
    put: CachedStatement<'s>,
    remove: CachedStatement<'s>,
    transaction: Transaction<'s>,
}

impl Batch<'_> {
    /// Adds a message.
    pub(super) fn put(&mut self, id: u32, number: u64, record: &Record) -> Result<(), StoreError> {
        let row_id = row_id(id, number);
        let ([message_id, kind, content_type, headers], body) = record.columns();
        let checksum = record.checksum(Key::Message(row_id));
        let put = self.put.execute(params![row_id, message_id, kind, content_type, headers, body, checksum]);
        written(put)
    }

    /// Adds `events` to the message log. Returns whether its tables took them: if not, the batch is to be
    /// dropped, with what else is in it.
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

    /// Adds a message to `queue` that is due at `due` (ms since 1970).
    pub(super) fn put_delayed(
        &self,
        id: i64,
        due: u64,
        queue: &str,
        record: &Record,
    ) -> Result<(), StoreError> {
        let due = i64::try_from(due).unwrap_or(i64::MAX);
        let ([message_id, kind, content_type, headers], body) = record.columns();
        let checksum = record.checksum(Key::Delayed(id, due, queue));
        self.execute(
            PUT_DELAYED,
            params![id, message_id, kind, content_type, headers, body, checksum, due, queue],
        )
    }

    /// Removes a delayed message.
    pub(super) fn remove_delayed(&self, id: i64) -> Result<(), StoreError> {
        self.execute(REMOVE_DELAYED, [id])
    }

    /// Sets how many delayed messages return to `queue`.
    pub(super) fn set_delayed_count(&self, queue: &str, messages: u64) -> Result<(), StoreError> {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        self.execute(SET_DELAYED_COUNT, params![queue, messages])
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
    /// Nothing of it is stored if the error [is undone](StoreError::is_undone); else it may be.
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

/// Messages read in one go.
pub(super) struct Chunk {
    /// In order.
    pub(super) messages: Vec<StoredMessage>,
    /// Whether the range holds no more.
    pub(super) last: bool,
}

/// Delayed messages whose time has come.
pub(super) struct Due {
    /// The earliest first.
    pub(super) messages: Vec<DelayedMessage>,
    /// When the first one is due that was not read (ms since 1970).
    pub(super) next: Option<u64>,
}

/// A delayed message.
pub(super) struct DelayedMessage {
    /// Its row's id.
    pub(super) id: i64,
    /// The queue that it returns to.
    pub(super) queue: String,
    /// The message, if it can be decoded.
    pub(super) envelope: Result<Envelope, record::Spoiled>,
}

/// The id of the row of message `number` in queue `id`.
fn row_id(id: u32, number: u64) -> i64 {
    (i64::from(id) << NUMBER_BITS) + i64::try_from(number).unwrap_or(i64::MAX >> 1)
}

/// The number of the message in the row `row_id`.
fn number(row_id: i64) -> u64 {
    u64::try_from(row_id & ((1 << NUMBER_BITS) - 1)).unwrap_or_default()
}
