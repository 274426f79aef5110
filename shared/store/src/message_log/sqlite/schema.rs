//! The tables in SQLite. They are a contract: docs/message-log.md describes them for users who query them in SQL.

use crate::message_log::{Keeping, LogError};
use rusqlite::{Connection, OptionalExtension as _};

/// How many statements of this folder a connection keeps prepared.
pub const STATEMENTS: usize = 48;

/// Each migration makes the next version of the tables. A released migration is never changed.
///
/// `recipient` 0 is the whole message: so no column of the primary keys may be NULL, and an event that is there
/// already is recognised by its key. `events` are clustered by message and recipient, so that the events of one
/// recipient are stored together.
const MIGRATIONS: [&str; 2] = [
    "
CREATE TABLE messages (
    message     INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows in the order in which the log learnt of them
    id          BLOB NOT NULL UNIQUE,               -- the 16 bytes of the UUID
    direction   TEXT NOT NULL,                      -- inbound, outbound
    backend     TEXT NOT NULL,
    text        TEXT,
    segments    INTEGER,
    created_at  INTEGER NOT NULL,                   -- milliseconds since 1970, UTC
    fields      TEXT,                               -- a JSON object
    complete    INTEGER NOT NULL                    -- 0: known from its reports alone
) STRICT;
CREATE INDEX messages_created_at ON messages (created_at);

CREATE TABLE recipients (
    message     INTEGER NOT NULL,
    recipient   INTEGER NOT NULL,                   -- from 1
    identity    TEXT NOT NULL,                      -- or hmac:… with log.keep = \"states\"
    state       TEXT NOT NULL,
    since       INTEGER NOT NULL,                   -- when the event happened that says so
    external_id TEXT,                               -- the provider's id, the latest
    PRIMARY KEY (message, recipient)
) STRICT, WITHOUT ROWID;
CREATE INDEX recipients_identity ON recipients (identity);

CREATE TABLE events (
    message     INTEGER NOT NULL,
    recipient   INTEGER NOT NULL,                   -- 0: the whole message, or not said
    at          INTEGER NOT NULL,
    event       TEXT NOT NULL,
    attempt     INTEGER NOT NULL,                   -- 0: none
    external_id TEXT NOT NULL,                      -- empty: none
    class       TEXT,
    code        TEXT,
    detail      TEXT,
    http_status INTEGER,
    duration_ms INTEGER,
    done_by     TEXT,
    PRIMARY KEY (message, recipient, at, event, attempt, external_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_external_id ON events (external_id)
    WHERE external_id <> '' AND event IN ('received', 'sent');

CREATE VIEW message_history AS
SELECT message,
       lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
           || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
       direction, backend, identity, state,
       strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS at,
       event, nullif(attempt, 0) AS attempt, nullif(events.external_id, '') AS external_id,
       class, code, detail, http_status, duration_ms, done_by
  FROM messages JOIN events USING (message) LEFT JOIN recipients USING (message, recipient);

CREATE TABLE log_settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
",
    "
ALTER TABLE messages ADD COLUMN callback TEXT;      -- what a client wants to be told, sealed
ALTER TABLE messages ADD COLUMN fingerprint TEXT;   -- of what a client said under an id of its own
ALTER TABLE messages ADD COLUMN answer TEXT;        -- what it was answered: a JSON object
",
];

/// Creates the tables, or updates those of an earlier version, and checks that they were written with the same
/// key. The caller commits.
///
/// # Errors
/// [`LogError::Broken`] if a newer Postern made the tables, or another `log.hash_key` was set;
/// [`LogError::Unavailable`] if the file cannot be written.
pub fn prepare(connection: &Connection, keeping: &Keeping) -> Result<(), LogError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let version = if has_tables(connection)? { version(connection)? } else { Some(0) };
    if let Some(missing) = version.and_then(|version| MIGRATIONS.get(version..)) {
        missing.iter().try_for_each(|migration| connection.execute_batch(migration))?;
        set(connection, "version", &MIGRATIONS.len().to_string())?;
    }
    check(connection, keeping)?;
    if let (Some(now), None) = (keeping.key_check(), setting(connection, "hash_key")?) {
        set(connection, "hash_key", &now)?;
    }
    Ok(())
}

/// Checks that there are tables of this version, written with the same key. Writes nothing.
///
/// # Errors
/// [`LogError::Broken`] if there are none, a newer Postern made them, or another `log.hash_key` was set.
pub(super) fn check(connection: &Connection, keeping: &Keeping) -> Result<(), LogError> {
    if !has_tables(connection)? {
        return Err(LogError::Broken("does not exist yet: no gateway has created it in the file".to_owned()));
    }
    let (version, known) = (version(connection)?, MIGRATIONS.len());
    if version != Some(known) {
        let found =
            version.map_or_else(|| "an unknown version".to_owned(), |version| format!("version {version}"));
        let mend = match version {
            Some(earlier) if earlier < known => "start the gateway of this version once, which upgrades them",
            _ => "run the version of Postern that created them",
        };
        return Err(LogError::Broken(format!(
            "has tables of {found}, but this Postern knows {known}: {mend}"
        )));
    }
    match (keeping.key_check(), setting(connection, "hash_key")?) {
        (Some(now), Some(before)) if now != before => Err(LogError::other_key()),
        _ => Ok(()),
    }
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let there = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'log_settings'";
    Ok(connection.query_row(there, [], |_| Ok(())).optional()?.is_some())
}

/// The version of the tables. `None` if it is not one that Postern writes.
fn version(connection: &Connection) -> rusqlite::Result<Option<usize>> {
    Ok(setting(connection, "version")?.and_then(|version| version.parse().ok()))
}

fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let value = "SELECT value FROM log_settings WHERE name = ?1";
    connection.query_row(value, [name], |row| row.get(0)).optional()
}

fn set(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO log_settings (name, value) VALUES (?1, ?2) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.execute(sql, [name, value]).map(drop)
}
