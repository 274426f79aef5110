//! Removing rows: those about one person, or those that are too old or too many.
//!
//! Both work in small steps, each in a transaction of the caller, so that no step holds up a publish for long.

use rusqlite::{Connection, params};
use std::collections::BTreeSet;

/// The most messages that one step removes or changes.
pub const STEP: u32 = 200;

/// The rows after which a step removes no further message: one to many recipients has many rows.
const ROWS: usize = 5_000;

/// Erases the rows of a person, whose identity has one of `forms`, from up to [`STEP`] messages for each form.
/// Returns from how many; 0 means that none is left.
///
/// A message that only this person sent or got is erased with all of its events. From a message to several people,
/// the person's rows are erased, and what could reveal their number; the rows of the others and the text stay.
///
/// # Errors
/// SQLite's. The transaction must then be rolled back.
pub fn forget(connection: &Connection, forms: &[String]) -> rusqlite::Result<u64> {
    let mut erased: BTreeSet<i64> = BTreeSet::new();
    for form in forms {
        let mut find = connection
            .prepare_cached("SELECT message, recipient FROM recipients WHERE identity = ?1 LIMIT ?2")?;
        let rows = find.query_map(params![form, STEP], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
        for &(message, recipient) in &rows {
            let others = "SELECT 1 FROM recipients WHERE message = ?1 AND recipient <> ?2";
            if connection.prepare_cached(others)?.exists([message, recipient])? {
                remove_recipient(connection, message, recipient)?;
            } else {
                remove(connection, message)?;
            }
        }
        // A message may hold the person in several forms, and counts once.
        erased.extend(rows.iter().map(|&(message, _)| message));
    }
    Ok(erased.len() as u64)
}

/// Removes up to [`STEP`] messages that were created before `before`, in milliseconds since 1970, the oldest
/// first. Returns how many.
///
/// # Errors
/// SQLite's. The transaction must then be rolled back.
pub fn expire_older(connection: &Connection, before: i64) -> rusqlite::Result<u64> {
    let sql = "SELECT message FROM messages WHERE created_at < ?1 ORDER BY created_at LIMIT ?2";
    expire(connection, sql, params![before, STEP])
}

/// Removes up to [`STEP`] messages, the oldest first. Returns how many.
///
/// # Errors
/// SQLite's. The transaction must then be rolled back.
pub fn expire_oldest(connection: &Connection) -> rusqlite::Result<u64> {
    expire(connection, "SELECT message FROM messages ORDER BY message LIMIT ?1", params![STEP])
}

fn expire(connection: &Connection, sql: &str, params: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<u64> {
    let mut find = connection.prepare_cached(sql)?;
    let messages: Vec<i64> = find.query_map(params, |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let (mut removed, mut rows) = (0, 0);
    for message in messages {
        if rows >= ROWS {
            break;
        }
        rows += remove(connection, message)?;
        removed += 1;
    }
    Ok(removed)
}

/// Removes a message. Returns how many rows it had.
fn remove(connection: &Connection, message: i64) -> rusqlite::Result<usize> {
    let mut rows = 0;
    for sql in [
        "DELETE FROM events WHERE message = ?1",
        "DELETE FROM recipients WHERE message = ?1",
        "DELETE FROM messages WHERE message = ?1",
    ] {
        rows += connection.prepare_cached(sql)?.execute([message])?;
    }
    Ok(rows)
}

fn remove_recipient(connection: &Connection, message: i64, recipient: i64) -> rusqlite::Result<()> {
    for sql in [
        // Reports that name only the provider's id, and no recipient.
        "DELETE FROM events WHERE message = ?1 AND recipient = 0 AND external_id <> '' AND external_id IN \
         (SELECT external_id FROM events WHERE message = ?1 AND recipient = ?2)",
        "DELETE FROM events WHERE message = ?1 AND recipient = ?2",
        "DELETE FROM recipients WHERE message = ?1 AND recipient = ?2",
    ] {
        connection.prepare_cached(sql)?.execute([message, recipient])?;
    }
    // A callback's address may hold the number, and somebody who knows the other recipients can find it by trying
    // against the fingerprint.
    let sql = "UPDATE messages SET callback = NULL, fingerprint = NULL, answer = NULL WHERE message = ?1";
    connection.prepare_cached(sql)?.execute([message]).map(drop)
}
