//! Opening a connection to a SQLite file, in the same way for all parts of Postern.

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How long to wait while another program has the file locked.
const BUSY: Duration = Duration::from_secs(5);

/// The settings of every connection. A commit is on the disk before it returns.
const PRAGMAS: &str = "
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
    PRAGMA synchronous = FULL;
";

/// Opens the existing `file`. The connection keeps up to `statements` statements prepared.
pub(crate) fn connect(file: &Path, access: OpenFlags, statements: usize) -> rusqlite::Result<Connection> {
    // Only one thread uses the connection at a time.
    let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(statements);
    // Otherwise a statement is compiled again for each new value of its LIMIT.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(PRAGMAS)?;
    Ok(connection)
}

/// Makes a minimal write that changes nothing. SQLite does not write a page for an UPDATE that changes nothing, but
/// does for a number in the file's header.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection.pragma_update(None, "user_version", version)
}

/// Turns on the write-ahead log, if the file system supports it. Returns the file's journal mode: "wal", or the
/// mode that it had before.
///
/// # Errors
/// Another program keeps the file locked, or it cannot be written.
pub(crate) fn use_wal(connection: &Connection) -> rusqlite::Result<String> {
    let begun = Instant::now();
    loop {
        // Unlike for other statements, SQLite does not wait for other connections here.
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
