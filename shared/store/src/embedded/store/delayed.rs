//! Delayed messages, which wait until they are due.

use super::{
    super::record::{self, Record, RowKey, message_columns},
    Store, WriteTransaction,
};
use crate::sqlite::StoreError;
use postern_broker::Envelope;
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeSet, HashMap};

// Reading has two steps, so that one unreadable row does not stop the others.
const DUE: &str =
    "SELECT due, id FROM delayed INDEXED BY delayed_due WHERE due <= ?1 ORDER BY due, id LIMIT ?2";
const NEXT_DUE: &str = "SELECT due FROM delayed INDEXED BY delayed_due WHERE due > ?1 ORDER BY due LIMIT 1";
const GET_DELAYED: &str = concat!("SELECT queue, ", message_columns!(), " FROM delayed WHERE id = ?1");
const PUT_DELAYED: &str = concat!(
    "INSERT INTO delayed (id, ",
    message_columns!(),
    ", due, queue) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
);
const REMOVE_DELAYED: &str = "DELETE FROM delayed WHERE id = ?1";
const SET_DELAYED_COUNT: &str = "INSERT INTO delayed_count (queue, messages) VALUES (?1, ?2) \
    ON CONFLICT (queue) DO UPDATE SET messages = excluded.messages";

/// Delayed messages that are due.
pub(in super::super) struct Due {
    /// The messages, the earliest first.
    pub(in super::super) messages: Vec<DelayedMessage>,
    /// When the first message that was not read is due, in milliseconds since 1970.
    pub(in super::super) next: Option<u64>,
}

/// A delayed message.
pub(in super::super) struct DelayedMessage {
    /// Its row's id.
    pub(in super::super) id: i64,
    /// The queue that it returns to.
    pub(in super::super) queue: String,
    /// The message, if it can be decoded.
    pub(in super::super) envelope: Result<Envelope, record::Spoiled>,
}

impl Store {
    /// How many delayed messages return to the queue of each name, and the id for the next delayed message.
    pub(in super::super) fn delayed(&self) -> Result<(HashMap<String, u64>, i64), StoreError> {
        let read = || {
            let mut counts = self.delayed_counts("SELECT queue, messages FROM delayed_count")?;
            let one = |sql| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            let stored = one("SELECT count(*) FROM delayed")?;
            let counted: u64 = counts.values().fold(0, |sum, count| sum.saturating_add(*count));
            if u64::try_from(stored) != Ok(counted) {
                tracing::error!(
                    counted,
                    found = stored,
                    "the embedded store contains a different number of delayed messages than it counted: it \
                     was damaged; check the disk, then run `postern store check`"
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

    /// At most `count` delayed messages that are due at `now` (ms since 1970), the earliest first, and when the
    /// next one is due. Messages in `passed_over` are skipped; those that cannot be read from the disk are
    /// added to it.
    pub(in super::super) fn due(
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
                    tracing::error!(%error,
                        "a delayed message cannot be read from the disk; it is skipped until the next \
                         start: check the disk");
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
            let (envelope, _) = record::decode(row, 1, RowKey::Delayed(id, due, &queue))?;
            Ok(DelayedMessage { id, queue, envelope })
        })
    }
}

impl WriteTransaction<'_> {
    /// Adds a delayed message that returns to `queue` at `due` (ms since 1970).
    pub(in super::super) fn put_delayed(
        &self,
        id: i64,
        due: u64,
        queue: &str,
        record: &Record,
    ) -> Result<(), StoreError> {
        let due = i64::try_from(due).unwrap_or(i64::MAX);
        self.execute(PUT_DELAYED, record.row(RowKey::Delayed(id, due, queue)))
    }

    /// Removes a delayed message.
    pub(in super::super) fn remove_delayed(&self, id: i64) -> Result<(), StoreError> {
        self.execute(REMOVE_DELAYED, [id])
    }

    /// Sets how many delayed messages return to `queue`.
    pub(in super::super) fn set_delayed_count(&self, queue: &str, messages: u64) -> Result<(), StoreError> {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        self.execute(SET_DELAYED_COUNT, params![queue, messages])
    }
}
