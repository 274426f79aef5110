//! The fjall database under the broker: its folder, its keyspaces, its errors.
//!
//! `DIR/lock` is held while the broker is open. `DIR/store` is the database; it is made as
//! `DIR/store.new` and renamed when complete, so that one half made is never taken for a real one.
//! `DIR/mark` is the last mark: a number, counted up on opening and on closing, that the database
//! gets first. A database with a lower one has lost the end of its journal.
//!
//! | keyspace | key | value |
//! | --- | --- | --- |
//! | `messages` | queue's id (u32), sequence number (u64), big endian | a message |
//! | `delayed` | due time (ms since 1970, u64), sequence number (u64), big endian | a delayed message |
//! | `meta` | `format`; `mark`; `queue/<name>`; `delayed` | the format's version; the mark; a position each |
//! | `meta` | `lease/`, queue's id, sequence number | how often the message was out, see `leases` |

mod leases;

pub(super) use leases::Note;

use super::{
    folder::{Folder, private},
    journal::Journals,
    manifest,
    record::{BEYOND, Position, Waiting},
    store_error::StoreError,
};
use bytes::Bytes;
use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    compaction::Leveled,
    config::{FilterPolicy, FilterPolicyEntry},
};
use std::{
    fs::File,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// The version of everything that is stored, as `meta` holds it.
const FORMAT: u32 = 1;

const MIB: u64 = 1024 * 1024;
/// Blocks read from disk. Messages are read once, in order: a large cache would only hold the past.
const CACHE: u64 = 2 * MIB;
/// What is written is held in memory until this much is there. There may be three of them at once.
const MEMTABLE: u64 = 2 * MIB;
/// Positions are overwritten all the time.
const META_MEMTABLE: u64 = MIB / 2;
const TABLE: u64 = 32 * MIB;
const JOURNALS: u64 = 128 * MIB;

/// The open database.
pub(super) struct Store {
    db: Database,
    messages: Keyspace,
    delayed: Keyspace,
    meta: Keyspace,
}

impl Store {
    /// Opens the database in `folder`, making it where there is none.
    pub(super) fn open(folder: &Folder) -> Result<Self, StoreError> {
        let path = folder.path().join("store");
        let opening = || {
            if !exists(&path)? {
                Self::make(folder, &path)?;
            }
            Self::recover(folder, &path)
        };
        // fjall asserts what it expects of its files; damaged ones break that.
        catch_unwind(AssertUnwindSafe(opening))
            .unwrap_or_else(|_| Err(StoreError::damaged("cannot be opened", "see the log")))
    }

    fn make(folder: &Folder, path: &Path) -> Result<(), StoreError> {
        let unfinished = folder.path().join("store.new");
        let make = |error: &io::Error| StoreError::io("cannot be made", error);
        if exists(&unfinished)? {
            std::fs::remove_dir_all(&unfinished).map_err(|error| make(&error))?;
        }
        // The folder around it may be one that others made, and may read.
        private(&unfinished).map_err(|error| make(&error))?;
        let store =
            Self::keyspaces(&unfinished).map_err(|error| StoreError::fjall("cannot be made", error))?;
        let mut batch = store.batch();
        batch.insert(&store.meta, "format", FORMAT.to_le_bytes());
        store.commit(batch)?;
        drop(store);
        std::fs::rename(&unfinished, path).map_err(|error| make(&error))?;
        File::open(folder.path()).and_then(|folder| folder.sync_all()).map_err(|error| make(&error))
    }

    fn recover(folder: &Folder, path: &Path) -> Result<Self, StoreError> {
        if !exists(&path.join("version"))? {
            return Err(StoreError::damaged("cannot be opened", "the file store/version is missing"));
        }
        if let Some(damage) = manifest::damage(path) {
            return Err(StoreError::damaged("cannot be opened", &damage));
        }
        let journals = Journals::inspect(path).map_err(|error| StoreError::io("cannot be read", &error))?;
        // fjall would begin a new one, and pass over what is written to that when it is opened next.
        if journals.is_empty() {
            return Err(StoreError::damaged("cannot be opened", "its journal store/*.jnl is missing"));
        }
        let store = Self::keyspaces(path).map_err(|error| StoreError::fjall("cannot be opened", error))?;
        let discarded = journals.discarded();
        let format = store.meta.get("format").map_err(|error| StoreError::fjall("cannot be read", error))?;
        match format.as_deref().and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes) {
            Some(FORMAT) => {
                store.check_mark(folder, discarded)?;
                Ok(store)
            }
            Some(other) => Err(StoreError::Broken(format!(
                "was written in format {other}, this version knows format {FORMAT}; use the version of Postern that wrote it"
            ))),
            None => Err(StoreError::damaged("cannot be opened", "its format is missing")),
        }
    }

    fn keyspaces(path: &Path) -> fjall::Result<Self> {
        let db = Database::builder(path)
            .cache_size(CACHE)
            // With more, one of fjall's threads spins for as long as another compacts.
            .worker_threads(1)
            .max_journaling_size(JOURNALS)
            .manual_journal_persist(true)
            .open()?;
        let options = |memtable| {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(memtable)
                .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE)))
                // Messages are found by walking on from a known key, so filters would only cost memory.
                .filter_policy(FilterPolicy::new([FilterPolicyEntry::None]))
        };
        Ok(Self {
            messages: db.keyspace("messages", || options(MEMTABLE))?,
            delayed: db.keyspace("delayed", || options(MEMTABLE))?,
            meta: db.keyspace("meta", || options(META_MEMTABLE))?,
            db,
        })
    }

    /// Says so where the database is not all that it was.
    fn check_mark(&self, folder: &Folder, discarded: u64) -> Result<(), StoreError> {
        let last = std::fs::read(folder.path().join("mark")).ok();
        let last = last.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let mark = self.mark()?;
        if discarded > 0 || mark < last {
            tracing::error!(
                path = %folder.path().display(), bytes = discarded, mark, last,
                "the end of the embedded store's journal is missing or damaged: messages that were confirmed last are lost, others may come again; check the disk"
            );
        }
        self.set_mark(folder, mark.max(last).saturating_add(1))
    }

    fn mark(&self) -> Result<u64, StoreError> {
        let mark = self.meta.get("mark").map_err(|error| StoreError::fjall("cannot be read", error))?;
        Ok(mark.as_deref().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    fn set_mark(&self, folder: &Folder, mark: u64) -> Result<(), StoreError> {
        let mut batch = self.batch();
        batch.insert(&self.meta, "mark", mark.to_le_bytes());
        self.commit(batch)?;
        let (path, next) = (folder.path().join("mark"), folder.path().join("mark.new"));
        let write = || {
            let mut file = File::create(&next)?;
            file.write_all(&mark.to_le_bytes())?;
            file.sync_all()?;
            std::fs::rename(&next, &path)
        };
        write().map_err(|error| StoreError::io("cannot be written", &error))
    }

    /// The last write before the store is closed.
    pub(super) fn close(self, folder: &Folder) {
        if let Err(store_error) = self.mark().and_then(|mark| self.set_mark(folder, mark.saturating_add(1))) {
            tracing::warn!(path = %folder.path().display(), ?store_error, "the embedded store was not closed well");
        }
    }

    /// Every queue that the store knows, with its position.
    pub(super) fn queues(&self) -> Result<Vec<(String, Position)>, StoreError> {
        let mut queues = Vec::new();
        for entry in self.meta.prefix("queue/") {
            let (key, value) =
                entry.into_inner().map_err(|error| StoreError::fjall("cannot be read", error))?;
            let name = String::from_utf8_lossy(&key[b"queue/".len()..]).into_owned();
            let position = Position::decode(value.into())
                .map_err(|error| StoreError::malformed(&format!("queue {name}"), error))?;
            queues.push((name, position));
        }
        Ok(queues)
    }

    /// Where the delayed messages stand.
    pub(super) fn waiting(&self) -> Result<Waiting, StoreError> {
        match self.meta.get("delayed").map_err(|error| StoreError::fjall("cannot be read", error))? {
            Some(record) => Waiting::decode(record.into())
                .map_err(|error| StoreError::malformed("the delayed messages", error)),
            None => Ok(Waiting::default()),
        }
    }

    /// The messages of queue `id` from sequence number `from` to below `to`, in order: at least one
    /// where there is one, at most `count`, and no more once they have `bytes`. The flag says
    /// whether there are none behind them.
    pub(super) fn read(
        &self,
        id: u32,
        from: u64,
        to: u64,
        count: usize,
        bytes: usize,
    ) -> fjall::Result<Chunk> {
        let mut chunk = Chunk { messages: Vec::new(), last: true };
        let mut size = 0;
        for entry in self.messages.range(message_key(id, from)..message_key(id, to)) {
            if chunk.messages.len() >= count || size >= bytes {
                chunk.last = false;
                break;
            }
            let (key, value) = entry.into_inner()?;
            let Some(sequence) = key.get(4..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
            else {
                continue;
            };
            size += value.len();
            chunk.messages.push((sequence, value.into()));
        }
        Ok(chunk)
    }

    /// The sequence number behind the last message of queue `id`, if there are messages from `tail` on.
    pub(super) fn beyond(&self, id: u32, tail: u64) -> Result<Option<u64>, StoreError> {
        let mut found = self.messages.range(message_key(id, tail)..message_key(id, BEYOND));
        let Some(last) = found.next_back() else { return Ok(None) };
        let (key, _) = last.into_inner().map_err(|error| StoreError::fjall("cannot be read", error))?;
        let sequence = key.get(4..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        Ok(sequence.map(|sequence| sequence + 1))
    }

    /// One message's record.
    pub(super) fn get(&self, id: u32, sequence: u64) -> fjall::Result<Option<Bytes>> {
        Ok(self.messages.get(message_key(id, sequence))?.map(Into::into))
    }

    /// Delayed messages with keys from `from`, in order; at most `count` that are due at `now`. Then
    /// the key of the next one, due or not.
    pub(super) fn due(&self, from: (u64, u64), now: u64, count: usize) -> Result<Due, StoreError> {
        let mut due = Due { records: Vec::new(), next: None };
        for entry in self.delayed.range(delayed_key(from)..) {
            let (key, value) =
                entry.into_inner().map_err(|error| StoreError::fjall("cannot be read", error))?;
            let Some((at, sequence)) = key.split_at_checked(8) else { continue };
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or(0);
            let key = (number(at), number(sequence));
            if key.0 > now || due.records.len() >= count {
                due.next = Some(key);
                break;
            }
            due.records.push((key, value.into()));
        }
        Ok(due)
    }

    /// An empty batch.
    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::SyncData))
    }

    /// Adds a message.
    pub(super) fn put(&self, batch: &mut OwnedWriteBatch, id: u32, sequence: u64, record: Vec<u8>) {
        batch.insert(&self.messages, message_key(id, sequence), record);
    }

    /// Removes a message.
    pub(super) fn remove(&self, batch: &mut OwnedWriteBatch, id: u32, sequence: u64) {
        batch.remove(&self.messages, message_key(id, sequence));
    }

    /// Adds a delayed message.
    pub(super) fn put_delayed(&self, batch: &mut OwnedWriteBatch, key: (u64, u64), record: Vec<u8>) {
        batch.insert(&self.delayed, delayed_key(key), record);
    }

    /// Removes a delayed message.
    pub(super) fn remove_delayed(&self, batch: &mut OwnedWriteBatch, key: (u64, u64)) {
        batch.remove(&self.delayed, delayed_key(key));
    }

    /// Sets a queue's position.
    pub(super) fn set_position(&self, batch: &mut OwnedWriteBatch, name: &str, position: &Position) {
        batch.insert(&self.meta, format!("queue/{name}").as_str(), position.encode());
    }

    /// Sets where the delayed messages stand.
    pub(super) fn set_waiting(&self, batch: &mut OwnedWriteBatch, waiting: &Waiting) {
        batch.insert(&self.meta, "delayed", waiting.encode());
    }

    /// Writes `batch` and waits until it is on the disk. After an error nothing of it may be
    /// assumed, and this store takes no more: open it again.
    pub(super) fn commit(&self, batch: OwnedWriteBatch) -> Result<(), StoreError> {
        self.wait_for_room()?;
        batch.commit().map_err(|error| StoreError::fjall("cannot be written", error))
    }

    /// Waits while fjall is behind with moving data from memory to tables. It would wait itself,
    /// but for ever where the thread that should do it has died of a full disk.
    #[expect(clippy::disallowed_methods, reason = "writing has a thread of its own")]
    fn wait_for_room(&self) -> Result<(), StoreError> {
        let behind =
            |keyspace: &Keyspace| keyspace.sealed_memtable_count() >= 2 || keyspace.tree.l0_run_count() >= 16;
        while [&self.messages, &self.delayed, &self.meta].into_iter().any(behind) {
            self.db
                .persist(PersistMode::Buffer)
                .map_err(|error| StoreError::fjall("cannot be written", error))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The bytes of the tables that hold messages, those acked included until they are compacted.
    pub(super) fn table_bytes(&self) -> u64 {
        self.messages.disk_space() + self.delayed.disk_space()
    }

    /// A closure that gives back the space of removed messages, for a thread of its own: it
    /// rewrites all that is left.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
    pub(super) fn compaction(&self) -> impl FnOnce() -> fjall::Result<()> + Send + 'static {
        let (messages, delayed, meta) = (self.messages.clone(), self.delayed.clone(), self.meta.clone());
        move || {
            for keyspace in [&meta, &delayed, &messages] {
                keyspace.rotate_memtable()?;
            }
            let end = std::time::Instant::now() + Duration::from_secs(10);
            while [&meta, &delayed, &messages].iter().any(|keyspace| keyspace.sealed_memtable_count() > 0) {
                if std::time::Instant::now() > end {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            messages.major_compact()?;
            delayed.major_compact()
        }
    }
}

/// Messages read in one go.
pub(super) struct Chunk {
    /// Sequence number and record.
    pub(super) messages: Vec<(u64, Bytes)>,
    /// Whether the range holds no more.
    pub(super) last: bool,
}

/// Delayed messages whose time has come.
pub(super) struct Due {
    /// Key and record.
    pub(super) records: Vec<((u64, u64), Bytes)>,
    /// The key of the first one that was not read.
    pub(super) next: Option<(u64, u64)>,
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(|error| StoreError::io("cannot be read", &error))
}

fn message_key(id: u32, sequence: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..].copy_from_slice(&sequence.to_be_bytes());
    key
}

fn delayed_key((due, sequence): (u64, u64)) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&due.to_be_bytes());
    key[8..].copy_from_slice(&sequence.to_be_bytes());
    key
}
