//! How many bytes of its file the log takes.
//!
//! In the embedded broker's file, the log's tables share the pages with the queues. How many pages the queues take
//! cannot be told from the bytes of their messages: a message of 3 kB takes a page of 4 kB. So each transaction notes
//! by how many pages it has made the log's tables grow or shrink.

use rusqlite::Connection;

/// Notes the present number of pages, if there is no number yet. Only then are all pages of the log read.
const BEGIN: &str = "INSERT INTO log_settings (name, value) \
    SELECT 'pages', (SELECT coalesce(sum(pageno), 0) FROM dbstat WHERE aggregate = TRUE AND name IN \
        (SELECT name FROM sqlite_schema \
            WHERE tbl_name IN ('messages', 'recipients', 'events', 'log_settings'))) \
    WHERE NOT EXISTS (SELECT 1 FROM log_settings WHERE name = 'pages')";
const FORGET: &str = "DELETE FROM log_settings WHERE name = 'pages'";
const ADD: &str = "UPDATE log_settings SET value = value + ?1 WHERE name = 'pages'";
const NOTED: &str = "SELECT CAST(value AS INTEGER) FROM log_settings WHERE name = 'pages'";

/// The byte of a file whose page SQLite never uses.
const UNUSED_AT: i64 = 1 << 30;

/// Makes sure that the log's pages are noted in the file from now on.
///
/// # Errors
/// SQLite's.
pub(crate) fn begin_to_note(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(BEGIN, []).map(drop)
}

/// Counts the log's pages again, if they are noted. A program that does not note them, such as `VACUUM`, makes the
/// number wrong. With an empty log, few pages are read.
///
/// # Errors
/// SQLite's.
pub(super) fn note_again(connection: &Connection) -> rusqlite::Result<()> {
    match connection.execute(FORGET, [])? {
        0 => Ok(()),
        _ => begin_to_note(connection),
    }
}

/// Calls `write`, which may change no other tables than the log's, and notes by how many pages they have grown or
/// shrunk. A transaction must be open. In a file of the log alone, nothing is noted.
///
/// # Errors
/// Those of `write`, and SQLite's. The transaction must then be rolled back.
pub(crate) fn noting<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    write: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let before = pages_with_rows(connection)?;
    let written = write()?;
    let more = pages_with_rows(connection)? - before;
    if more != 0 {
        connection.prepare_cached(ADD)?.execute([more])?;
    }
    Ok(written)
}

/// The bytes of the pages that are noted.
///
/// # Errors
/// SQLite's.
pub(super) fn noted(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: i64 = connection.prepare_cached(NOTED)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(pages * number(connection, "PRAGMA page_size")?).unwrap_or_default())
}

/// The bytes of the file that are in use by any rows. Free pages do not count.
///
/// # Errors
/// SQLite's.
pub(super) fn of_file(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = number(connection, "PRAGMA page_count")? - number(connection, "PRAGMA freelist_count")?;
    Ok(u64::try_from(pages * number(connection, "PRAGMA page_size")?).unwrap_or_default())
}

/// The pages of the embedded broker's file that are in use by any rows.
fn pages_with_rows(connection: &Connection) -> rusqlite::Result<i64> {
    let size = number(connection, "PRAGMA page_size")?;
    let pages = number(connection, "PRAGMA page_count")?;
    // The second page has five bytes about each of the pages that follow, and then comes the next page of this kind.
    // They depend only on the length of the file.
    let group = size / 5 + 1;
    let maps = (pages + group - 2) / group;
    let unused = i64::from(pages > UNUSED_AT / size);
    Ok(pages - maps - unused - number(connection, "PRAGMA freelist_count")?)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message_log::{
        Keeping,
        sqlite::{WriteJob, prepare},
    };

    #[test]
    fn a_wrong_number_is_mended_when_there_is_nothing_left_to_remove() {
        let (connection, keeping) = (Connection::open_in_memory().unwrap(), Keeping::full());
        prepare(&connection, &keeping).unwrap();
        begin_to_note(&connection).unwrap();
        let right = noted(&connection).unwrap();
        connection.execute(ADD, [1_000_000]).unwrap();
        assert_eq!(WriteJob::ExpireOldest.run(&connection, &keeping).unwrap(), 0);
        assert_eq!(noted(&connection).unwrap(), right);
    }
}
