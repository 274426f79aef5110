//! A connection to a file of SQLite's, as every part of Postern has it.

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{path::Path, time::Duration};

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
