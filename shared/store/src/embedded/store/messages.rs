//! Reading the messages that wait. Nothing here changes the store, so another connection than the writer's may
//! be used, too.

use super::{
    super::record::{self, RowKey, StoredMessage, message_columns},
    number, row_id,
};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

const READ: &str = concat!(
    "SELECT id, ",
    message_columns!(),
    " FROM message WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3"
);
const READ_NAMED: &str = concat!(
    "SELECT id, ",
    message_columns!(),
    " FROM message WHERE id >= ?1 AND id < ?2 \
     AND (message_id IS NULL OR message_id IN (SELECT value FROM json_each(?4))) ORDER BY id LIMIT ?3"
);
const GET: &str = concat!("SELECT id, ", message_columns!(), " FROM message WHERE id = ?1");

/// A range of a queue's messages, by number.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Range {
    /// The queue's id.
    pub(in super::super) id: u32,
    /// The first number.
    pub(in super::super) from: u64,
    /// One more than the last number.
    pub(in super::super) to: u64,
}

/// Messages read in one go.
#[derive(Debug)]
pub(in super::super) struct Chunk {
    /// The messages, in order.
    pub(in super::super) messages: Vec<StoredMessage>,
    /// The number from which reading continues; the range's end if it holds no more.
    pub(in super::super) next: u64,
    /// The numbers of the messages that cannot be read from the disk, and why.
    pub(in super::super) unreadable: Option<(BTreeSet<u64>, rusqlite::Error)>,
}

/// The messages of `range`, in order: at least one if there is one, at most `count`, and no more when they have
/// `bytes`. With `named`, a JSON array of texts, only messages whose `message_id` is one of the texts, and those
/// without a `message_id`.
pub(in super::super) fn read(
    connection: &Connection,
    Range { id, from, to }: Range,
    (count, bytes): (usize, u64),
    named: Option<&str>,
) -> rusqlite::Result<Chunk> {
    let mut messages: Vec<StoredMessage> = Vec::new();
    let mut size = 0;
    let most = i64::try_from(count).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(if named.is_some() { READ_NAMED } else { READ })?;
    let mut rows = match named {
        None => statement.query(params![row_id(id, from), row_id(id, to), most])?,
        Some(named) => statement.query(params![row_id(id, from), row_id(id, to), most, named])?,
    };
    let mut is_all = false;
    while size < bytes {
        let Some(row) = rows.next()? else {
            is_all = messages.len() < count;
            break;
        };
        let row_id: i64 = row.get(0)?;
        let (envelope, its) = record::decode(row, 1, RowKey::Message(row_id))?;
        size += its;
        messages.push(StoredMessage { number: number(row_id), size: its, envelope });
    }
    let next = match messages.last() {
        Some(last) if !is_all => last.number + 1,
        _ => to,
    };
    Ok(Chunk { messages, next, unreadable: None })
}

/// Like [`read`], but if the disk is damaged somewhere, also the readable messages after that place.
pub(in super::super) fn read_past_damage(
    connection: &Connection,
    range: Range,
    most: (usize, u64),
    named: Option<&str>,
) -> Chunk {
    read(connection, range, most, named).unwrap_or_else(|_| one_by_one(connection, range, most.0))
}

/// The readable messages among the first `count` numbers of a range.
fn one_by_one(connection: &Connection, Range { id, from, to }: Range, count: usize) -> Chunk {
    let next = to.min(from.saturating_add(count as u64));
    let mut chunk = Chunk { messages: Vec::new(), next, unreadable: None };
    for number in from..next {
        match get(connection, id, number) {
            Ok(stored) => chunk.messages.extend(stored),
            Err(error) => {
                let (numbers, _) = chunk.unreadable.get_or_insert_with(|| (BTreeSet::new(), error));
                numbers.insert(number);
            }
        }
    }
    chunk
}

/// One message.
pub(in super::super) fn get(
    connection: &Connection,
    id: u32,
    number: u64,
) -> rusqlite::Result<Option<StoredMessage>> {
    let row_id = row_id(id, number);
    let mut statement = connection.prepare_cached(GET)?;
    let mut rows = statement.query([row_id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (envelope, size) = record::decode(row, 1, RowKey::Message(row_id))?;
    Ok(Some(StoredMessage { number, size, envelope }))
}
