//! The file of a log that has one of its own.

use super::STATEMENTS;
use crate::{
    message_log::LogError,
    sqlite::{connect, use_wal},
};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{
    fs::{DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// "Pslg": tells this file from other programs'.
const APPLICATION_ID: i64 = 0x5073_6c67;
/// The file's name in the log's folder.
pub(super) const NAME: &str = "message-log.sqlite";

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
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE, STATEMENTS)?;
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
    let mode = use_wal(&connection)?;
    if mode != "wal" {
        return Err(LogError::Broken(format!(
            "cannot be used: the file system does not allow a write-ahead log next to {} (journal mode \
             {mode}); use a local disk",
            file.display()
        )));
    }
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "cache_size", -16_000)?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn reading(file: &Path) -> rusqlite::Result<Connection> {
    // Not opened read-only: the last reader of a file in WAL mode may have to recover it.
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE, STATEMENTS)?;
    connection.pragma_update(None, "query_only", "ON")?;
    Ok(connection)
}

/// A connection that only reads a file which is another process's, and leaves it as it is.
pub(super) fn reading_beside(file: &Path) -> rusqlite::Result<Connection> {
    connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, STATEMENTS)
}

/// A connection that writes to a file which is another process's. What that process has in the write-ahead
/// log stays there when this connection is closed.
pub(super) fn writing_beside(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE, STATEMENTS)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    Ok(connection)
}
