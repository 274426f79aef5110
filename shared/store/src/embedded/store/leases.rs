//! Notes of leases: which messages consumers held when a process crashed, and how often.
//!
//! A row of `lease` says how many leases of the message have begun and not ended without a crash. It is written
//! before the message is delivered, and only into the operating system's memory: it must outlive only the process,
//! and costs no wait for the disk.
//!
//! Notes are kept only of messages that were there when the store was opened, so a message that is sent at once
//! costs nothing. The price: a crash of the process that a message was published to is not counted.

use super::{super::record::BEYOND, Store, StoreError, WriteTransaction, number, row_id};
use crate::sqlite::NUMBER_BITS;
use rusqlite::params;

const SET: &str = "INSERT INTO lease (message, begun) VALUES (?1, ?2) \
    ON CONFLICT (message) DO UPDATE SET begun = excluded.begun";
const REMOVE: &str = "DELETE FROM lease WHERE message = ?1";

/// A note: a queue's id, a message's number, and how many leases began.
pub(in super::super) type Note = (u32, u64, u32);

impl Store {
    /// Every note.
    pub(in super::super) fn leases(&self) -> Result<Vec<Note>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare_cached("SELECT message, begun FROM lease")?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|error| StoreError::sqlite("cannot be read", &error))?;
        let note = |(message, begun): (i64, i64)| {
            let (queue, number) = (u32::try_from(message >> NUMBER_BITS).ok()?, number(message));
            (number < BEYOND).then_some((queue, number, u32::try_from(begun).ok()?))
        };
        Ok(rows.into_iter().filter_map(note).collect())
    }

    /// Writes notes so that they outlive this process, though not a power cut.
    ///
    /// # Errors
    /// The notes cannot be written.
    pub(in super::super) fn note_leases(
        &self,
        notes: impl IntoIterator<Item = Note>,
    ) -> Result<(), StoreError> {
        let mut notes = notes.into_iter().peekable();
        if notes.peek().is_none() {
            return Ok(());
        }
        self.synchronous("NORMAL")?;
        let mut write = || {
            let batch = self.batch()?;
            notes.try_for_each(|note| batch.note_lease(note))?;
            batch.commit()
        };
        let written = write();
        self.synchronous("FULL")?;
        written
    }

    /// Sets `synchronous` to `mode`. With `NORMAL` the next commit does not wait for the disk.
    fn synchronous(&self, mode: &str) -> Result<(), StoreError> {
        let set = self.connection.pragma_update(None, "synchronous", mode);
        set.map_err(|error| StoreError::sqlite("cannot be written", &error))
    }
}

impl WriteTransaction<'_> {
    /// Sets a note; 0 removes it.
    pub(in super::super) fn note_lease(&self, (id, number, begun): Note) -> Result<(), StoreError> {
        match begun {
            0 => self.execute(REMOVE, [row_id(id, number)]),
            _ => self.execute(SET, params![row_id(id, number), begun]),
        }
    }
}
