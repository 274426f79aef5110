//! Notes of leases: which messages were out when a process ended without a word, and how often.
//!
//! In `meta`, under `lease/`, the queue's id (u32) and the sequence number (u64), big endian: a
//! version, and how many leases of the message have begun (u32, little endian) and not been taken
//! back in order. A note is written before its message is handed out, and only into the system's
//! memory: it outlives the process, which is all that it is for, and costs no wait for the disk.

use super::{super::store_error::StoreError, Store, message_key};
use fjall::{OwnedWriteBatch, PersistMode};

const PREFIX: &[u8] = b"lease/";
/// The layout written and read by this version of the program.
const V1: u8 = 1;

/// A note: a queue's id, a sequence number, and how many leases began.
pub(in super::super) type Note = (u32, u64, u32);

impl Store {
    /// Every note.
    pub(in super::super) fn leases(&self) -> Result<Vec<Note>, StoreError> {
        let mut notes = Vec::new();
        for entry in self.meta.prefix(PREFIX) {
            let (key, value) =
                entry.into_inner().map_err(|error| StoreError::fjall("cannot be read", error))?;
            let place = key.get(PREFIX.len()..).and_then(|place| place.split_at_checked(4));
            let Some((Ok(id), Ok(sequence))) = place.map(|(id, rest)| (id.try_into(), rest.try_into()))
            else {
                continue;
            };
            if let [V1, count @ ..] = &*value
                && let Ok(count) = count.try_into()
            {
                let (id, sequence) = (u32::from_be_bytes(id), u64::from_be_bytes(sequence));
                notes.push((id, sequence, u32::from_le_bytes(count)));
            }
        }
        Ok(notes)
    }

    /// Sets a note; 0 removes it.
    pub(in super::super) fn note_lease(&self, batch: &mut OwnedWriteBatch, (id, sequence, count): Note) {
        let key = [PREFIX, &message_key(id, sequence)].concat();
        match count {
            0 => batch.remove(&self.meta, key),
            _ => batch.insert(&self.meta, key, [&[V1][..], &count.to_le_bytes()].concat()),
        }
    }

    /// Writes notes so that they outlive this process, if not a power cut. What [`Store::commit`] says
    /// about errors holds.
    pub(in super::super) fn note_leases(
        &self,
        notes: impl IntoIterator<Item = Note>,
    ) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
        let mut any = false;
        for note in notes {
            any = true;
            self.note_lease(&mut batch, note);
        }
        if any { self.commit(batch) } else { Ok(()) }
    }
}
