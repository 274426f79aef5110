//! The file of a log that has one of its own.

use crate::message_log::LogError;
use rusqlite::{Connection, OpenFlags};
use std::{
    fs::{DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// "Pslg": tells this file from other programs'.
const APPLICATION_ID: i64 = 0x5073_6c67;
/// The file's name in the log's folder.
const NAME: &str = "message-log.sqlite";

/// Makes the folder and an empty file, for their owner only, if they are not there. SQLite gives the files
/// beside it the same permissions.
pub(super) fn create(folder: &Path) -> Result<PathBuf, LogError> {
    let cannot = |why: std::io::Error| LogError::Unavailable(format!("{}: {why}", folder.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    let file = folder.join(NAME);
    OpenOptions::new().append(true).create(true).mode(0o600).open(&file).map_err(cannot)?;
    Ok(file)
}

/// A connection that writes: each commit is on the disk.
pub(super) fn writing(file: &Path) -> Result<Connection, LogError> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    match id {
        0 => connection.pragma_update(None, "application_id", APPLICATION_ID)?,
        APPLICATION_ID => {}
        _ => {
            return Err(LogError::Broken(format!(
                "cannot be used: {} is another program's database; name another folder",
                file.display()
            )));
        }
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn reading(file: &Path) -> rusqlite::Result<Connection> {
    // Not opened read-only: the last reader of a file in WAL mode may have to recover it.
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.set_prepared_statement_cache_capacity(super::STATEMENTS);
    Ok(connection)
}
