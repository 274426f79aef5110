//! A connection to a file of SQLite's, as every part of Postern has it.

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How long another program may have the file locked.
const BUSY: Duration = Duration::from_secs(5);

/// What every connection needs. A commit is on the disk before it returns.
const PRAGMAS: &str = "
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
    PRAGMA synchronous = FULL;
";

/// Opens `file`, which is there, and of which the connection keeps `statements` prepared.
pub(crate) fn connect(file: &Path, access: OpenFlags, statements: usize) -> rusqlite::Result<Connection> {
    // One thread has it at a time.
    let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(statements);
    // Or else a statement is compiled again for each other value of its LIMIT.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(PRAGMAS)?;
    Ok(connection)
}

/// Has the file written through a write-ahead log, if its file system allows one. Answers the journal mode
/// that the file has then: "wal", or what it had before.
///
/// # Errors
/// Another program keeps the file locked, or it cannot be written.
pub(crate) fn use_wal(connection: &Connection) -> rusqlite::Result<String> {
    let begun = Instant::now();
    loop {
        // Here SQLite itself does not wait for another connection, as it does in every other statement.
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match &mode {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY => {}
            _ => return mode,
        }
        #[expect(clippy::disallowed_methods, reason = "opening has a thread of its own")]
        std::thread::sleep(Duration::from_millis(10));
    }
}
