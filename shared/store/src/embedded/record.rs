//! How messages and positions are laid out in the columns of the store.
//!
//! A message consists of its texts, its headers as a JSON object (NULL if it has none) and its body. A checksum
//! (CRC-32) over these and the row's key detects a row that was altered on the disk.

use bytes::Bytes;
use crc32fast::Hasher;
use postern_broker::{Envelope, Headers, header};
use rusqlite::{
    Params, Row, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

/// The columns of a message in both of its tables, as [`decode`] reads them and [`Record::row`] fills them.
macro_rules! message_columns {
    () => {
        "message_id, type, content_type, headers, body, checksum"
    };
}
pub(super) use message_columns;

/// Why this program cannot read a row. The text never quotes what the row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MalformedRecord {
    /// Its columns are not those that were written.
    #[error("its checksum is wrong")]
    Altered,
    /// A column holds something that Postern never writes.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// A message in the form in which it is stored.
#[derive(Debug)]
pub(super) struct Record {
    message_id: Option<String>,
    kind: Option<String>,
    content_type: Option<String>,
    headers: Option<String>,
    body: Bytes,
    /// The checksum of the fields above.
    checksum: u32,
}

/// A message that was read from a row.
#[derive(Debug)]
pub(super) struct StoredMessage {
    /// Its number in the queue.
    pub(super) number: u64,
    /// The bytes of its columns: its [`size`].
    pub(super) size: u64,
    /// The message, if it can be decoded.
    pub(super) envelope: Result<Envelope, Spoiled>,
}

/// A message that cannot be decoded.
#[derive(Debug, Clone)]
pub(super) struct Spoiled {
    /// Why it cannot be decoded.
    pub(super) why: MalformedRecord,
    /// Its body as it was found.
    pub(super) body: Bytes,
    /// The bytes of its columns.
    pub(super) size: u64,
}

impl Spoiled {
    /// A dead letter for this message, which was in `queue`. It does not hold the time.
    pub(super) fn dead_letter(self, queue: &str) -> Envelope {
        Envelope { body: self.body, ..Envelope::default() }
            .with(header::REASON, "its stored record cannot be decoded; the body is the one that was found")
            .with(header::CLASS, "permanent")
            .with(header::CODE, "undecodable")
            .with(header::QUEUE, queue)
    }
}

impl Record {
    /// The record of `envelope`.
    pub(super) fn of(envelope: Envelope) -> Self {
        let headers = headers_text(&envelope.headers);
        let Envelope { message_id, kind, content_type, body, .. } = envelope;
        let mut hasher = Hasher::new();
        for text in [&message_id, &kind, &content_type, &headers] {
            update(&mut hasher, text.as_deref().map(str::as_bytes));
        }
        update(&mut hasher, Some(&body));
        Self { checksum: hasher.finalize(), message_id, kind, content_type, headers, body }
    }

    /// The bytes of its columns.
    pub(super) fn size(&self) -> u64 {
        let texts = [&self.message_id, &self.kind, &self.content_type, &self.headers];
        (texts.into_iter().flatten().map(String::len).sum::<usize>() + self.body.len()) as u64
    }

    /// The parameters of a statement that inserts the record: the row's id and the columns of the message; for
    /// a delayed message also when it is due, and its queue.
    pub(super) fn row<'r>(&'r self, key: RowKey<'r>) -> impl Params + 'r {
        let value = |text: &'r Option<String>| text.as_deref().map_or(ValueRef::Null, ValueRef::from);
        let (id, due, queue) = match key {
            RowKey::Message(id) => (id, None, None),
            RowKey::Delayed(id, due, queue) => (id, Some(due), Some(queue)),
        };
        let texts = [&self.message_id, &self.kind, &self.content_type, &self.headers].map(value);
        let checksum = ValueRef::Integer(key.checksum(self.checksum));
        let message = texts.into_iter().chain([ValueRef::Blob(&self.body), checksum]);
        let more = due.map(ValueRef::Integer).into_iter().chain(queue.map(ValueRef::from));
        let row = std::iter::once(ValueRef::Integer(id)).chain(message).chain(more);
        params_from_iter(row.map(ToSqlOutput::Borrowed))
    }
}

/// The part of a row that is not the message itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowKey<'k> {
    /// The row's id in the table of messages.
    Message(i64),
    /// The row's id in the table of delayed messages, when the message is due, and its queue.
    Delayed(i64, i64, &'k str),
}

impl RowKey<'_> {
    fn checksum(self, message: u32) -> i64 {
        let mut hasher = Hasher::new_with_initial(message);
        match self {
            Self::Message(id) => hasher.update(&id.to_le_bytes()),
            Self::Delayed(id, due, queue) => {
                hasher.update(&id.to_le_bytes());
                hasher.update(&due.to_le_bytes());
                hasher.update(queue.as_bytes());
            }
        }
        i64::from(hasher.finalize())
    }
}

/// The bytes that `envelope` takes in the store: its texts, its headers and its body.
pub(super) fn size(envelope: &Envelope) -> u64 {
    let texts = [&envelope.message_id, &envelope.kind, &envelope.content_type];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let headers = headers_text(&envelope.headers).map_or(0, |text| text.len());
    (texts + headers + envelope.body.len()) as u64
}

fn headers_text(headers: &Headers) -> Option<String> {
    // Texts and numbers can always be written as JSON.
    (!headers.is_empty()).then(|| serde_json::to_string(headers).unwrap_or_default())
}

fn update(hasher: &mut Hasher, column: Option<&[u8]>) {
    match column {
        None => hasher.update(&[0]),
        Some(bytes) => {
            hasher.update(&[1]);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
    }
}

/// Reads the message of a row. The columns from `first` on must be those from `message_id` to `checksum`.
///
/// # Errors
/// SQLite's. Columns with wrong contents are not an error: the message is then [`Spoiled`].
pub(super) fn decode(
    row: &Row<'_>,
    first: usize,
    key: RowKey<'_>,
) -> rusqlite::Result<(Result<Envelope, Spoiled>, u64)> {
    let mut columns = [None; 5];
    let mut hasher = Hasher::new();
    for (index, column) in columns.iter_mut().enumerate() {
        *column = match row.get_ref(first + index)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
            _ => None,
        };
        update(&mut hasher, *column);
    }
    let size = columns.iter().flatten().map(|bytes| bytes.len() as u64).sum();
    let body = Bytes::copy_from_slice(columns[4].unwrap_or_default());
    let checksum = row.get_ref(first + 5)?.as_i64().ok();
    let envelope = if checksum == Some(key.checksum(hasher.finalize())) {
        envelope(columns, body.clone())
    } else {
        Err(MalformedRecord::Altered)
    };
    Ok((envelope.map_err(|why| Spoiled { why, body, size }), size))
}

fn envelope(columns: [Option<&[u8]>; 5], body: Bytes) -> Result<Envelope, MalformedRecord> {
    let text = |column: Option<&[u8]>| {
        let text = column.map(|bytes| std::str::from_utf8(bytes).map(str::to_owned)).transpose();
        text.map_err(|_| MalformedRecord::Damaged("a text is not UTF-8"))
    };
    let headers = columns[3].map(serde_json::from_slice).transpose();
    Ok(Envelope {
        message_id: text(columns[0])?,
        kind: text(columns[1])?,
        content_type: text(columns[2])?,
        headers: headers
            .map_err(|_| MalformedRecord::Damaged("its headers are invalid"))?
            .unwrap_or_default(),
        body,
    })
}

/// Greater than any number that a queue can reach.
pub(super) const BEYOND: u64 = 1 << crate::sqlite::NUMBER_BITS;

/// Greater than any queue's id.
const QUEUES: u32 = 1 << 18;

/// The counters of a queue. They are written in the transaction that changes the queue, so that opening the store
/// reads one row for each queue and no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// The queue's id.
    pub(super) id: u32,
    /// The number of the next message.
    pub(super) tail: u64,
    /// How many messages are stored.
    pub(super) count: u64,
    /// The bytes of their columns.
    pub(super) bytes: u64,
    /// One more than the highest number that was delivered when this was written.
    pub(super) handed: u64,
}

impl Position {
    /// The values of the columns `next`, `messages`, `bytes` and `handed`.
    pub(super) fn numbers(&self) -> [i64; 4] {
        [self.tail, self.count, self.bytes, self.handed]
            .map(|number| i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// The checksum of the row of the queue `name`.
    pub(super) fn checksum(&self, name: &str) -> i64 {
        let mut hasher = Hasher::new();
        hasher.update(&self.id.to_le_bytes());
        self.numbers().iter().for_each(|number| hasher.update(&number.to_le_bytes()));
        hasher.update(name.as_bytes());
        i64::from(hasher.finalize())
    }

    /// Reads the position from a row with `id`, `name`, the [numbers](Self::numbers) and the checksum.
    ///
    /// # Errors
    /// SQLite's, and in the inner result that the row was altered.
    pub(super) fn decode(row: &Row<'_>) -> rusqlite::Result<Result<(String, Self), MalformedRecord>> {
        let mut numbers = [0; 5];
        for (number, column) in numbers.iter_mut().zip([0, 2, 3, 4, 5]) {
            *number = u64::try_from(row.get::<_, i64>(column)?).unwrap_or(u64::MAX);
        }
        let [id, tail, count, bytes, handed] = numbers;
        let name = String::from_utf8_lossy(row.get_ref(1)?.as_bytes().unwrap_or_default()).into_owned();
        let position = Self { id: u32::try_from(id).unwrap_or(u32::MAX), tail, count, bytes, handed };
        let can_be = position.id < QUEUES && handed <= tail && tail.max(count) < BEYOND;
        Ok(if !can_be {
            Err(MalformedRecord::Damaged("it contains impossible numbers"))
        } else if row.get::<_, i64>(6)? != position.checksum(&name) {
            Err(MalformedRecord::Altered)
        } else {
            Ok((name, position))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_broker::HeaderValue;
    use proptest::{collection, option, prelude::*};
    use rusqlite::{Connection, params};

    const KEY: RowKey<'static> = RowKey::Delayed(7, 5, "postern.inbound");

    fn value() -> impl Strategy<Value = HeaderValue> {
        prop_oneof![any::<String>().prop_map(HeaderValue::Text), any::<i64>().prop_map(HeaderValue::Integer)]
    }

    prop_compose! {
        fn envelope()(
            message_id in option::of(any::<String>()),
            kind in option::of(any::<String>()),
            content_type in option::of(any::<String>()),
            headers in collection::btree_map(any::<String>(), value(), 0..8),
            body in collection::vec(any::<u8>(), 0..2000),
        ) -> Envelope {
            Envelope { message_id, kind, content_type, headers, body: body.into() }
        }
    }

    /// What is read from the columns of `record` after `change` was made to them.
    fn read(record: &Record, key: RowKey<'_>, change: &str) -> (Result<Envelope, Spoiled>, u64) {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (id, a, b, c, d, e, f, due, queue)").unwrap();
        connection
            .execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", record.row(KEY))
            .unwrap();
        connection.execute_batch(change).unwrap();
        connection.query_row("SELECT * FROM t", [], |row| decode(row, 1, key)).unwrap()
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_was(envelope in envelope()) {
            let record = Record::of(envelope.clone());
            let (read, bytes) = read(&record, KEY, "");
            prop_assert_eq!(&read.unwrap(), &envelope);
            prop_assert_eq!([bytes, size(&envelope)], [record.size(); 2]);
        }
    }

    #[test]
    fn a_row_that_was_altered_is_told_from_a_sound_one() {
        let envelope = Envelope { kind: Some("k".to_owned()), body: "body".into(), ..Envelope::default() };
        let record = Record::of(envelope.with("n", 1));
        for change in [
            "UPDATE t SET a = ''",
            "UPDATE t SET b = NULL",
            "UPDATE t SET b = c, c = b",
            "UPDATE t SET d = '{\"n\":2}'",
            "UPDATE t SET e = x'00'",
            "UPDATE t SET e = 5.5",
            "UPDATE t SET f = f + 1",
            "UPDATE t SET f = 'f'",
        ] {
            let (found, _) = read(&record, KEY, change);
            assert_eq!(found.unwrap_err().why, MalformedRecord::Altered, "{change}");
        }
        for other in
            [RowKey::Message(7), RowKey::Delayed(7, 6, "postern.inbound"), RowKey::Delayed(7, 5, "else")]
        {
            assert!(read(&record, other, "").0.is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_position_comes_back_as_it_was_and_one_that_was_altered_does_not() {
        let position = Position { id: 7, tail: BEYOND - 1, count: 3, bytes: 4, handed: 5 };
        let read = |change: &str| {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch("CREATE TABLE t (a, b, c, d, e, f, g)").unwrap();
            let ([next, messages, bytes, handed], sum) = (position.numbers(), position.checksum("q"));
            let row = params![position.id, "q", next, messages, bytes, handed, sum];
            connection.execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", row).unwrap();
            connection.execute_batch(change).unwrap();
            connection.query_row("SELECT * FROM t", [], Position::decode).unwrap()
        };
        assert_eq!(read(""), Ok(("q".to_owned(), position)));
        for change in
            ["a = 8", "b = 'p'", "c = c - 1", "d = 4", "e = 5", "f = 6", "g = 1", "c = -1", "f = c + 1"]
        {
            assert!(read(&format!("UPDATE t SET {change}")).is_err(), "{change}");
        }
    }
}
