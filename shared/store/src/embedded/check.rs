//! Checks that the rows of a store are unchanged and that their number is the one that was counted.

use super::record::{self, Position, RowKey};
use crate::sqlite::NUMBER_BITS;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// A number of messages, and their bytes.
type Sum = (u64, u64);

/// What is wrong with the rows. Empty if nothing is. Reads all rows, which must not change meanwhile.
///
/// # Errors
/// The rows cannot be read from the disk.
pub(crate) fn problems(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut found = waiting(connection, &mut problems)?;
    let mut queues = connection
        .prepare("SELECT id, name, next, messages, bytes, handed, checksum FROM queue ORDER BY id")?;
    for row in queues.query_and_then([], Position::decode)? {
        match row? {
            Ok((name, position)) => {
                let (messages, bytes) = found.remove(&i64::from(position.id)).unwrap_or_default();
                if (messages, bytes) != (position.count, position.bytes) {
                    problems.push(format!(
                        "{name}: {messages} messages of {bytes} bytes are stored, {} of {} bytes were counted",
                        position.count, position.bytes
                    ));
                }
            }
            Err(error) => problems.push(format!("the row of a queue: {error}")),
        }
    }
    let strays = found.into_iter().map(|(id, (messages, _))| {
        format!("{messages} messages belong to a queue (id {id}) whose row is missing or damaged")
    });
    problems.extend(strays);
    delayed(connection, &mut problems)?;
    Ok(problems)
}

/// The messages that wait in each queue, by the queue's id.
fn waiting(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<BTreeMap<i64, Sum>> {
    let mut found: BTreeMap<i64, Sum> = BTreeMap::new();
    let mut statement = connection.prepare(
        "SELECT id, message_id, type, content_type, headers, body, checksum FROM message ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let (envelope, size) = record::decode(row, 1, RowKey::Message(id))?;
        let (messages, bytes) = found.entry(id >> NUMBER_BITS).or_default();
        (*messages, *bytes) = (*messages + 1, *bytes + size);
        if let Err(spoiled) = envelope {
            problems.push(format!("message {id}: {}", spoiled.why));
        }
    }
    Ok(found)
}

fn delayed(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let mut statement = connection.prepare(
        "SELECT queue, message_id, type, content_type, headers, body, checksum, id, due FROM delayed",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (queue, id, due): (String, i64, i64) = (row.get(0)?, row.get(7)?, row.get(8)?);
        if let (Err(spoiled), _) = record::decode(row, 1, RowKey::Delayed(id, due, &queue))? {
            problems.push(format!("delayed message {id}: {}", spoiled.why));
        }
        *found.entry(queue).or_default() += 1;
    }
    let mut statement = connection.prepare("SELECT queue, messages FROM delayed_count")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (queue, counted): (String, i64) = (row.get(0)?, row.get(1)?);
        let messages = found.remove(&queue).unwrap_or_default();
        if u64::try_from(counted) != Ok(messages) {
            problems.push(format!("{queue}: {messages} delayed messages are stored, {counted} were counted"));
        }
    }
    problems.extend(
        found
            .iter()
            .map(|(queue, messages)| format!("{queue}: {messages} delayed messages were not counted")),
    );
    Ok(())
}
