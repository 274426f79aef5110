//! The message log in SQLite.
//!
//! The tables' functions take a connection, so that the embedded broker can write events in the transaction
//! of the queue entries that they belong to. [`SqliteLog`] has a file of its own.
//!
//! [`forget`](crate::message_log::MessageLog::forget) overwrites rows with zeros in the file (`secure_delete`),
//! and then empties the write-ahead log, which holds older pages. Copies elsewhere are not erased: backups,
//! snapshots of the file system, and blocks of the disk that the emptied write-ahead log released.

mod erase;
mod failure;
mod file;
mod job;
mod query;
mod record;
mod schema;
mod size;
mod writer;

pub use erase::{STEP, expire_older, expire_oldest, forget};
pub use query::{callback, first_answer, ids, message, messages, sent_as};
pub use record::record;
pub use schema::{STATEMENTS, prepare};

pub(crate) use failure::DEADLINE;
pub(crate) use job::{Jobs, WriteJob};
pub(crate) use size::{begin_to_note, noting};

use super::{
    Keeping, KnownAnswer, LogError, LoggedCallback, LoggedMessage, MessageLog, MessageQuery, Page, Retention,
    SentMessage,
};
use crate::sqlite::{FILE, Folder, StoreError, open as store};
use async_trait::async_trait;
use failure::closed;
use jiff::Timestamp;
use postern_shared::{
    event::Event,
    message::{BackendName, Identity, MessageId},
};
use rusqlite::Connection;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Semaphore, watch};
use writer::LogWriter;

/// How many queries run at the same time.
const READERS: usize = 2;

/// A message log in a SQLite file: a separate file, or the embedded broker's. One thread writes it. Other
/// processes may read the file meanwhile, and may also write if it is a separate file.
///
/// An operation has ten seconds. [`forget`](MessageLog::forget) takes as many steps as it needs, each with this
/// limit.
pub struct SqliteLog {
    keeping: Keeping,
    writer: Box<dyn Jobs>,
    readers: Arc<Readers>,
    /// The locked folder of an embedded broker's store if no gateway uses it, so that none starts on it meanwhile.
    _alone: Option<Folder>,
}

/// What a log that belongs to another process is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only for reading. Every write fails.
    Read,
    /// For reading and erasing.
    Write,
}

struct Readers {
    file: PathBuf,
    connect: fn(&Path) -> rusqlite::Result<Connection>,
    free: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl SqliteLog {
    /// Opens the log in `folder`. The folder and the file are created if they are missing, readable for their
    /// owner only.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] if the file cannot be opened or written now; [`LogError::Broken`] if it is
    /// damaged, is not a message log, or was written with another key.
    pub async fn open(folder: &Path, keeping: Keeping) -> Result<Self, LogError> {
        let (folder, kept) = (folder.to_owned(), keeping.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let file = file::create(&folder)?;
            let mut connection = file::writing(&file)?;
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            prepare(&transaction, &kept)?;
            transaction.commit()?;
            Ok::<_, LogError>((file, connection))
        });
        let (file, connection) = opened.await.map_err(|e| LogError::Unavailable(e.to_string()))??;
        let writer = LogWriter::start(connection, keeping.clone())?;
        Ok(Self::written_by(Box::new(writer), file, keeping))
    }

    /// The log in `file`, which must have the tables, and which only `writer` writes.
    pub(crate) fn written_by(writer: Box<dyn Jobs>, file: PathBuf, keeping: Keeping) -> Self {
        Self { keeping, writer, readers: Readers::new(file, file::reading), _alone: None }
    }

    /// The path of the log's file in `folder`.
    pub fn file_in(folder: &Path) -> PathBuf {
        folder.join(file::NAME)
    }

    /// Opens the log in the existing `file`, which a gateway may have open. The file is not created, and the
    /// tables are not updated.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] if the file cannot be opened now; [`LogError::Broken`] if it has no log, is
    /// damaged, or was written with another key.
    pub async fn beside(file: &Path, keeping: Keeping, access: Access) -> Result<Self, LogError> {
        let (file, kept) = (file.to_owned(), keeping.clone());
        let opened = tokio::task::spawn_blocking(move || {
            if !file.exists() {
                return Err(LogError::Broken(format!("does not exist: there is no file {}", file.display())));
            }
            let alone = if access == Access::Write { tidied(&file)? } else { None };
            let connection = match access {
                Access::Read => file::reading_beside(&file)?,
                Access::Write => file::writing_beside(&file)?,
            };
            schema::check(&connection, &kept)?;
            Ok((file, connection, alone))
        });
        let (file, connection, alone) = opened.await.map_err(|e| LogError::Unavailable(e.to_string()))??;
        let writer = LogWriter::start(connection, keeping.clone())?;
        let readers = Readers::new(file, file::reading_beside);
        Ok(Self { keeping, writer: Box::new(writer), readers, _alone: alone })
    }

    /// The bytes that the log's rows take in the file, without the queues of an embedded broker.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn bytes(&self) -> Result<u64, LogError> {
        let shares = self.readers.file.ends_with(FILE);
        let size = if shares { size::noted } else { size::of_file };
        self.readers.read(size).await
    }
}

#[async_trait]
impl MessageLog for SqliteLog {
    async fn record(&self, events: &[Event]) -> Result<(), LogError> {
        if events.is_empty() {
            return Ok(());
        }
        self.writer.run(WriteJob::Record(events.to_vec())).await.map(drop)
    }

    async fn message(&self, id: MessageId) -> Result<Option<LoggedMessage>, LogError> {
        self.readers.read(move |connection| message(connection, id)).await
    }

    async fn messages(&self, query: &MessageQuery) -> Result<Page, LogError> {
        let (keeping, query) = (self.keeping.clone(), query.clone());
        self.readers.read(move |connection| messages(connection, &keeping, &query)).await
    }

    async fn ids(&self, first: MessageId, last: MessageId, most: usize) -> Result<Vec<MessageId>, LogError> {
        self.readers.read(move |connection| ids(connection, first, last, most)).await
    }

    async fn sent_as(
        &self,
        backend: &BackendName,
        external_id: &str,
    ) -> Result<Option<SentMessage>, LogError> {
        let (backend, external_id) = (backend.clone(), external_id.to_owned());
        self.readers.read(move |connection| sent_as(connection, &backend, &external_id)).await
    }

    async fn callback(&self, id: MessageId) -> Result<LoggedCallback, LogError> {
        self.readers.read(move |connection| callback(connection, id)).await
    }

    async fn first_answer(&self, id: MessageId, fingerprint: &str) -> Result<Option<KnownAnswer>, LogError> {
        let (keeping, fingerprint) = (self.keeping.clone(), fingerprint.to_owned());
        self.readers.read(move |connection| first_answer(connection, &keeping, id, &fingerprint)).await
    }

    async fn forget(&self, identity: &Identity) -> Result<u64, LogError> {
        let forms = self.keeping.forms(identity);
        let mut erased = 0;
        loop {
            let step = self.writer.run(WriteJob::Forget(forms.clone())).await?;
            erased += step;
            if step == 0 {
                break;
            }
        }
        // Also if no row was left: an earlier run may have ended between the rows and this.
        self.writer.run(WriteJob::EmptyWal).await?;
        Ok(erased)
    }

    async fn expire(&self, retention: &Retention) -> Result<u64, LogError> {
        let mut expired = 0;
        if let Some(before) = retention.age.and_then(|age| Timestamp::now().checked_sub(age).ok()) {
            expired = self.writer.run(WriteJob::ExpireOlder(before.as_millisecond())).await?;
        }
        match retention.max_bytes {
            Some(most) if expired == 0 && self.bytes().await? > most => {
                self.writer.run(WriteJob::ExpireOldest).await
            }
            _ => Ok(expired),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.writer.changes()
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.free.close();
        self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Locks the folder of an embedded broker's store if no gateway uses it, and moves the write-ahead log into the
/// file. Erasing empties the write-ahead log, and the next start would otherwise take its end for lost. `None`:
/// a gateway uses the store, or the file is a separate one.
fn tidied(file: &Path) -> Result<Option<Folder>, LogError> {
    let Some(dir) = file.parent().filter(|_| file.ends_with(FILE)) else { return Ok(None) };
    let broken =
        |error: StoreError| LogError::Unavailable(error.explain(dir.display().to_string()).to_string());
    match Folder::lock(dir) {
        Ok(folder) => {
            drop(store(&folder).map_err(broken)?);
            Ok(Some(folder))
        }
        Err(StoreError::Locked) => Ok(None),
        Err(error) => Err(broken(error)),
    }
}

impl fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLog").field("file", &self.readers.file).finish_non_exhaustive()
    }
}

impl Readers {
    fn new(file: PathBuf, connect: fn(&Path) -> rusqlite::Result<Connection>) -> Arc<Self> {
        Arc::new(Self { file, connect, free: Semaphore::new(READERS), idle: Mutex::default() })
    }

    /// Runs `ask` on a connection that only reads.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let (interrupt, interruptible) = tokio::sync::oneshot::channel();
        let readers = Arc::clone(self);
        let answer = async move {
            let place = self.free.acquire().await.map_err(|_| closed())?;
            let answer = tokio::task::spawn_blocking(move || {
                let connection = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let connection = connection.map_or_else(|| (readers.connect)(&readers.file), Ok)?;
                let _ = interrupt.send(connection.get_interrupt_handle());
                let answer = ask(&connection);
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                answer.map_err(LogError::from)
            });
            let answer = answer.await;
            drop(place);
            answer.unwrap_or_else(|e| Err(LogError::Unavailable(e.to_string())))
        };
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                // The thread ends its query soon; until then the next query may have to wait.
                if let Ok(interrupt) = interruptible.await {
                    interrupt.interrupt();
                }
                Err(LogError::TimedOut(DEADLINE))
            }
        }
    }
}
