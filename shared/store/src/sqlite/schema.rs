//! The tables of `postern.db`, version by version.
//!
//! A released version of the schema is never changed: each change is a further step. The file's `user_version`
//! says which version it has. An older file is updated when it is opened, in one transaction; a newer one is
//! refused.

use super::StoreError;
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// "Pstn": tells Postern's files from those of other programs.
const APPLICATION_ID: i32 = 0x5073_746e;

/// A message's row id is its queue's id, shifted to the left by this many bits, plus its number in the queue.
pub(crate) const NUMBER_BITS: u32 = 44;

/// The newest version of the schema, which this program writes.
const NEWEST: usize = STEPS.len();

/// The steps from each version to the next. The first step makes the tables of a new file.
const STEPS: [&str; 1] = [VERSION_1];

/// - `store`: one row, with the number of times that the file was opened for writing.
/// - `queue`: the counters of each queue. They change in the transaction that changes its messages, so that
///   opening the file reads no message.
/// - `message`: the messages that wait. The key is the queue's id and a number that only grows; both are in one
///   integer, which costs less than a key of two columns.
/// - `delayed`: the messages that wait until they are due (`due`, in ms since 1970); `delayed_count`: how many of
///   them will return to each queue.
/// - `lease`: which messages consumers held when a process crashed, and how often.
///
/// A `checksum` covers the row's other columns, since SQLite has none for its pages. The view is for people.
const VERSION_1: &str = "
    CREATE TABLE store (opened INTEGER NOT NULL) STRICT;
    INSERT INTO store VALUES (0);
    CREATE TABLE queue (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        next INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        handed INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE message (
        id INTEGER PRIMARY KEY,
        message_id TEXT,
        type TEXT,
        content_type TEXT,
        headers TEXT,
        body BLOB NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE delayed (
        id INTEGER PRIMARY KEY,
        message_id TEXT,
        type TEXT,
        content_type TEXT,
        headers TEXT,
        body BLOB NOT NULL,
        checksum INTEGER NOT NULL,
        due INTEGER NOT NULL,
        queue TEXT NOT NULL
    ) STRICT;
    CREATE INDEX delayed_due ON delayed (due);
    CREATE TABLE delayed_count (queue TEXT PRIMARY KEY, messages INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE lease (message INTEGER PRIMARY KEY, begun INTEGER NOT NULL) STRICT;
    CREATE VIEW waiting AS
        SELECT queue.name AS queue, message.id & 0xfffffffffff AS number, message_id, type, content_type,
            headers, CAST(body AS TEXT) AS body
        FROM queue
        JOIN message ON message.id BETWEEN queue.id << 44 AND (queue.id << 44) + 0xfffffffffff;
";

/// Whether nothing was ever stored in the file.
pub(super) fn is_new(connection: &Connection) -> Result<bool, StoreError> {
    let empty = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0));
    let empty = empty.map_err(|error| StoreError::sqlite("cannot be opened", &error))?;
    Ok(empty && number(connection, "application_id")? == 0 && number(connection, "user_version")? == 0)
}

/// The version of the file's schema, if this program can read it.
///
/// # Errors
/// The file belongs to another program or to a later version of Postern.
pub(super) fn version(connection: &Connection) -> Result<usize, StoreError> {
    let id = number(connection, "application_id")?;
    if id != i64::from(APPLICATION_ID) {
        return Err(StoreError::Broken(format!(
            "cannot be used: postern.db is another program's database (application_id {id:#x}); move it away, or name another folder"
        )));
    }
    let version = number(connection, "user_version")?;
    match usize::try_from(version) {
        Ok(known @ 1..=NEWEST) => Ok(known),
        Ok(later) if later > NEWEST => Err(StoreError::Broken(format!(
            "was written by a later version of Postern (schema {later}; this one knows up to {NEWEST}): use \
             that version, or an older backup"
        ))),
        _ => Err(StoreError::damaged("cannot be opened", &format!("its schema's version is {version}"))),
    }
}

/// Updates the file from `version` (0 if it is new) to the newest version.
pub(super) fn bring_forward(connection: &Connection, version: usize) -> Result<(), StoreError> {
    if version == NEWEST {
        return Ok(());
    }
    let steps = || {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        STEPS[version..].iter().try_for_each(|step| transaction.execute_batch(step))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", NEWEST as i64)?;
        transaction.commit()
    };
    steps().map_err(|error| StoreError::sqlite("cannot be written", &error))
}

fn number(connection: &Connection, pragma: &str) -> Result<i64, StoreError> {
    let read = connection.pragma_query_value(None, pragma, |row| row.get(0));
    read.map_err(|error| StoreError::sqlite("cannot be opened", &error))
}
