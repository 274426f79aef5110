//! Inspecting and copying a store from outside, even while its process runs: SQLite allows readers while another
//! process writes.

use crate::{
    FILE,
    embedded::problems,
    sqlite::{self, StoreError},
};
use postern_broker::BrokerError;
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

/// How many problems SQLite names before it stops checking.
const MOST_PROBLEMS: u32 = 20;

/// How often a copy is tried while the store is locked, and the pause before each further attempt.
const PATIENCE: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// The sizes and the contents of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// The version of its schema.
    pub schema: i64,
    /// The bytes of its file.
    pub file_bytes: u64,
    /// The unused bytes of its file. New messages take them, and some are returned to the disk.
    pub free_bytes: u64,
    /// The bytes of its write-ahead log, which belongs to the file.
    pub log_bytes: u64,
    /// Its queues, by name.
    pub queues: Vec<QueueInfo>,
}

/// The contents of a queue in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// The queue's name.
    pub name: String,
    /// The number of its messages, including those that are being sent.
    pub messages: u64,
    /// The bytes of its messages.
    pub bytes: u64,
    /// The number of delayed messages that will return to it.
    pub delayed: u64,
}

/// The sizes of the store in the folder `dir`.
///
/// # Errors
/// [`BrokerError::Store`] if there is none, or it cannot be read.
pub fn info(dir: &Path) -> Result<StoreInfo, BrokerError> {
    inspect(dir, |connection| {
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let page = number("page_size")?;
        let bytes = |pages: i64| unsigned(pages.saturating_mul(page));
        let mut statement = connection.prepare(
            "SELECT coalesce(queue.name, delayed_count.queue) AS name, coalesce(queue.messages, 0), \
             coalesce(queue.bytes, 0), coalesce(delayed_count.messages, 0) FROM queue \
             FULL JOIN delayed_count ON delayed_count.queue = queue.name ORDER BY name",
        )?;
        let queues = statement.query_map([], |row| {
            let [messages, bytes, delayed] = [row.get(1)?, row.get(2)?, row.get(3)?].map(unsigned);
            Ok(QueueInfo { name: row.get(0)?, messages, bytes, delayed })
        })?;
        Ok(StoreInfo {
            schema: number("user_version")?,
            file_bytes: fs::metadata(dir.join(FILE)).map_or(0, |file| file.len()),
            free_bytes: bytes(number("freelist_count")?),
            log_bytes: fs::metadata(dir.join(format!("{FILE}-wal"))).map_or(0, |file| file.len()),
            queues: queues.collect::<rusqlite::Result<_>>()?,
        })
    })
}

/// What is wrong with the store in the folder `dir`. Empty if nothing is. Reads the whole store.
///
/// # Errors
/// [`BrokerError::Store`] if there is none, or it cannot be opened.
pub fn check(dir: &Path) -> Result<Vec<String>, BrokerError> {
    inspect(dir, |connection| {
        let found = integrity(connection).and_then(|mut found| {
            found.extend(problems(connection)?);
            Ok(found)
        });
        // A store that cannot be read to its end is damaged.
        Ok(found.unwrap_or_else(|error| vec![error.to_string()]))
    })
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST_PROBLEMS})"))?;
    let found = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// Copies the state of the store in the folder `dir` at one moment into the new file `to`, for this user only, and
/// checks the copy. Returns the copy's size in bytes. Blocks until it is done.
///
/// The copy does not contain the key of the message log's hashes, which may be in a file of its own:
/// [`HashKey::file_in`](crate::message_log::HashKey::file_in).
///
/// # Errors
/// [`BrokerError::Store`] if there is no store, if it is damaged, or if `to` exists already or cannot be written.
/// No incomplete copy is left at `to`.
pub fn backup(dir: &Path, to: &Path) -> Result<u64, BrokerError> {
    let source = sqlite::read_beside(dir).map_err(|error| error.explain(dir.display().to_string()))?;
    let target = |why| BrokerError::Store { path: to.display().to_string(), why };
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|error| {
        target(match error.kind() {
            io::ErrorKind::AlreadyExists => "exists already; name a new file".to_owned(),
            _ => format!("cannot be written: {error}; check the path and its permissions"),
        })
    })?;
    let copied = copy(&source, to).map_err(|error| format!("the copy failed: {error}"));
    let copied = copied.and_then(|problem| match problem {
        None => fs::metadata(to).map(|file| file.len()).map_err(|error| error.to_string()),
        Some(problem) => Err(format!(
            "the copy of the store in {} is damaged: {problem}; see `postern store check`",
            dir.display()
        )),
    });
    copied.map_err(|why| {
        // The error says what is wrong; a failed removal adds nothing.
        let _ = fs::remove_file(to);
        target(why)
    })
}

/// Copies the store and checks the copy. Returns what is wrong with it.
#[expect(clippy::disallowed_methods, reason = "a copy is made in no runtime's thread")]
fn copy(source: &Connection, to: &Path) -> rusqlite::Result<Option<String>> {
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    {
        let backup = Backup::new(source, &mut target)?;
        // All pages in one step: between two steps, others could change what was copied.
        let mut step = backup.step(-1)?;
        for _ in 0..PATIENCE {
            if step == StepResult::Done {
                break;
            }
            std::thread::sleep(PAUSE);
            step = backup.step(-1)?;
        }
        if step != StepResult::Done {
            return Ok(Some("another program keeps the store locked".to_owned()));
        }
    }
    // Without WAL, the backup is a single file.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    let found: String = target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    drop(target);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) =
        File::open(to).and_then(|file| file.sync_all()).and_then(|()| File::open(folder)?.sync_all())
    {
        return Ok(Some(error.to_string()));
    }
    Ok((found != "ok").then_some(found))
}

/// Opens the store in `dir`, and calls `look` with a connection that sees it at one moment.
fn inspect<T>(dir: &Path, look: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, BrokerError> {
    let looked = sqlite::read_beside(dir).and_then(|connection| {
        let moment = connection.unchecked_transaction();
        let looked = moment.and_then(|moment| look(&moment));
        looked.map_err(|error| StoreError::sqlite("cannot be read", &error))
    });
    looked.map_err(|error| error.explain(dir.display().to_string()))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
