//! The separate file of a message log.

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

/// "Pslg": tells this file from those of other programs.
const APPLICATION_ID: i64 = 0x5073_6c67;
/// The file's name in the log's folder.
pub(super) const NAME: &str = "message-log.sqlite";

/// Creates the folder and an empty file, for their owner only, if they are missing. SQLite gives its further
/// files the same permissions.
pub(super) fn create(folder: &Path) -> Result<PathBuf, LogError> {
    let cannot = |why: std::io::Error| LogError::Unavailable(format!("{}: {why}", folder.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    let file = folder.join(NAME);
    OpenOptions::new().append(true).create(true).mode(0o600).open(&file).map_err(cannot)?;
    Ok(file)
}

/// Opens a connection for writing. Each commit waits until it is on the disk.
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

/// Opens a connection that only reads.
pub(super) fn reading(file: &Path) -> rusqlite::Result<Connection> {
    // Not opened read-only: the last reader of a file in WAL mode may have to recover it.
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE, STATEMENTS)?;
    connection.pragma_update(None, "query_only", "ON")?;
    Ok(connection)
}

/// Opens a connection that only reads the file of another process, and changes nothing in it.
pub(super) fn reading_beside(file: &Path) -> rusqlite::Result<Connection> {
    connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY, STATEMENTS)
}

/// Opens a connection that writes to the file of another process. The write-ahead log of that process stays
/// when this connection is closed.
pub(super) fn writing_beside(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE, STATEMENTS)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    Ok(connection)
}
