//! Looking at a store from outside, also while its process runs: SQLite lets others read beside the one
//! that writes.

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

/// How many problems SQLite names before it stops to look.
const MOST_PROBLEMS: u32 = 20;

/// How often a copy is tried while the store is locked, and the pause before each further time.
const PATIENCE: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Sizes of a store, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// The version of its schema.
    pub schema: i64,
    /// The bytes of its file.
    pub file_bytes: u64,
    /// How many of them hold nothing: what comes next takes them, and some go back to the disk.
    pub free_bytes: u64,
    /// The bytes of its write-ahead log, which belongs to the file.
    pub log_bytes: u64,
    /// Its queues, by name.
    pub queues: Vec<QueueInfo>,
}

/// What is in a queue of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// The queue.
    pub name: String,
    /// Its messages, those that are being sent included.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that return to it when they are due.
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

/// What is wrong with the store in the folder `dir`; empty if it is whole. Reads all of it.
///
/// # Errors
/// [`BrokerError::Store`] if there is none, or it cannot be opened.
pub fn check(dir: &Path) -> Result<Vec<String>, BrokerError> {
    inspect(dir, |connection| {
        let found = integrity(connection).and_then(|mut found| {
            found.extend(problems(connection)?);
            Ok(found)
        });
        // What cannot be read to its end is damaged.
        Ok(found.unwrap_or_else(|error| vec![error.to_string()]))
    })
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST_PROBLEMS})"))?;
    let found = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// Copies the store in the folder `dir`, as it is at one moment, into the new file `to`, for this user
/// only, and checks the copy; its bytes. It blocks until it is done.
///
/// # Errors
/// [`BrokerError::Store`] if there is no store, or it is damaged, or `to` is there already or cannot be
/// written. Then nothing is left at `to` that was not there.
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
        // What is wrong with it was said.
        let _ = fs::remove_file(to);
        target(why)
    })
}

/// Copies, and looks at the copy: what is wrong with it.
#[expect(clippy::disallowed_methods, reason = "a copy is made in no runtime's thread")]
fn copy(source: &Connection, to: &Path) -> rusqlite::Result<Option<String>> {
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    {
        let backup = Backup::new(source, &mut target)?;
        // All pages in one step: in between, others would change what was copied.
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
    // One file is one backup.
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

/// Opens the store in `dir` and lets `look` read it as it is at one moment.
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
