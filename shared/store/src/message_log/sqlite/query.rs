//! Reading what the tables hold.

use super::failure::unreadable;
use crate::message_log::{
    Cursor, Keeping, KnownAnswer, LoggedCallback, LoggedMessage, MessageQuery, Order, Page, SentMessage,
    keeping::is_hashed,
    raw::{RawAnswer, RawEvent, RawMessage, RawRecipient},
    words::Word,
};
use postern_shared::message::{BackendName, MessageId};
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter, types::Value};
use uuid::Uuid;

const COLUMNS: &str = "message, id, direction, backend, text, segments, created_at, fields";

/// The message `id` with its events in order of time.
///
/// # Errors
/// SQLite's, and a conversion's if a row holds what this version does not know.
pub fn message(connection: &Connection, id: MessageId) -> rusqlite::Result<Option<LoggedMessage>> {
    // One moment's rows: another connection writes.
    let snapshot = connection.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(
        "SELECT message, id, direction, backend, text, segments, created_at, fields FROM messages WHERE id = ?1",
    )?;
    let Some((message, raw)) = statement.query_row([id.as_bytes()], raw_message).optional()? else {
        return Ok(None);
    };
    let mut statement = snapshot.prepare_cached(
        "SELECT recipient, at, event, attempt, external_id, class, code, detail, http_status, duration_ms, \
         done_by FROM events WHERE message = ?1",
    )?;
    let events = statement.query_map([message], raw_event)?.collect::<rusqlite::Result<_>>()?;
    raw.with(recipients(&snapshot, message)?, events).map(Some).map_err(unreadable)
}

/// The messages that match `query`, without their events.
///
/// # Errors
/// As [`message`].
pub fn messages(connection: &Connection, keeping: &Keeping, query: &MessageQuery) -> rusqlite::Result<Page> {
    let snapshot = connection.unchecked_transaction()?;
    let limit = query.limit.clamp(1, 500);
    let (sql, values) = select(keeping, query, limit);
    let mut statement = snapshot.prepare_cached(&sql)?;
    let rows: Vec<_> =
        statement.query_map(params_from_iter(values), raw_message)?.collect::<rusqlite::Result<_>>()?;
    let more = rows.len() > limit;
    let mut page = Page::default();
    let mut last = None;
    for (message, raw) in rows.into_iter().take(limit) {
        last = Some(Cursor(message));
        page.messages.push(raw.with(recipients(&snapshot, message)?, Vec::new()).map_err(unreadable)?);
    }
    page.next = match query.order {
        _ if more => last,
        Order::Newest => None,
        // All that is there now was looked at.
        Order::Oldest => {
            let end =
                snapshot.query_row("SELECT coalesce(max(message), 0) FROM messages", [], |row| row.get(0))?;
            Some(Cursor(end).max(query.cursor.unwrap_or(Cursor(0))))
        }
    };
    Ok(page)
}

/// Up to `most` ids of messages from `first` to `last`, in order.
///
/// # Errors
/// SQLite's.
pub fn ids(
    connection: &Connection,
    first: MessageId,
    last: MessageId,
    most: usize,
) -> rusqlite::Result<Vec<MessageId>> {
    let sql = "SELECT id FROM messages WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(params![first.as_bytes(), last.as_bytes(), most], |row| id(row, 0))?.collect()
}

/// The latest message that `backend`'s provider calls `external_id`.
///
/// # Errors
/// As [`message`].
pub fn sent_as(
    connection: &Connection,
    backend: &BackendName,
    external_id: &str,
) -> rusqlite::Result<Option<SentMessage>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, identity, callback FROM events JOIN messages USING (message) \
         LEFT JOIN recipients USING (message, recipient) \
         WHERE events.external_id = ?1 AND events.external_id <> '' AND event IN ('received', 'sent') \
         AND event = 'sent' AND backend = ?2 ORDER BY message DESC, at DESC LIMIT 1",
    )?;
    let found = |row: &Row<'_>| {
        let identity: Option<String> = row.get(1)?;
        let identity =
            identity.filter(|identity| !is_hashed(identity)).and_then(|identity| identity.parse().ok());
        Ok(SentMessage { id: id(row, 0)?, identity, callback: row.get(2)? })
    };
    statement.query_row([external_id, backend.as_str()], found).optional()
}

/// What a client wants to be told of the message `id`.
///
/// # Errors
/// SQLite's.
pub fn callback(connection: &Connection, id: MessageId) -> rusqlite::Result<LoggedCallback> {
    let mut statement = connection.prepare_cached("SELECT callback FROM messages WHERE id = ?1")?;
    let row = statement.query_row([id.as_bytes()], |row| row.get::<_, Option<String>>(0)).optional()?;
    Ok(LoggedCallback::of_row(row))
}

/// What the client was answered that gave the message `id` an id of its own.
///
/// # Errors
/// As [`message`].
pub fn first_answer(
    connection: &Connection,
    keeping: &Keeping,
    id: MessageId,
    fingerprint: &str,
) -> rusqlite::Result<Option<KnownAnswer>> {
    let sql = "SELECT fingerprint, answer FROM messages WHERE id = ?1 AND answer IS NOT NULL";
    let row = |row: &Row<'_>| Ok(RawAnswer { fingerprint: row.get(0)?, answer: row.get(1)? });
    let raw = connection.prepare_cached(sql)?.query_row([id.as_bytes()], row).optional()?;
    raw.map(|raw| raw.read(keeping, fingerprint).map_err(unreadable)).transpose()
}

/// The statement that finds `query`'s messages, and one more to see whether there are more; and its values.
fn select(keeping: &Keeping, query: &MessageQuery, limit: usize) -> (String, Vec<Value>) {
    let mut filters = Filters::default();
    let (after, order) = match query.order {
        Order::Newest => ("message < ?", "DESC"),
        Order::Oldest => ("message > ?", "ASC"),
    };
    if let Some(Cursor(cursor)) = query.cursor {
        filters.add(after, [cursor.into()]);
    }
    if let Some(backend) = &query.backend {
        filters.add("backend = ?", [backend.as_str().to_owned().into()]);
    }
    if let Some(allowed) = &query.allowed {
        let names: Vec<_> = allowed.iter().map(BackendName::as_str).collect();
        let names = serde_json::to_string(&names).unwrap_or_default();
        filters.add("backend IN (SELECT value FROM json_each(?))", [names.into()]);
    }
    if let Some(direction) = query.direction {
        filters.add("direction = ?", [direction.word().to_owned().into()]);
    }
    if let Some(external_id) = &query.external_id {
        filters.add(
            "message IN (SELECT message FROM events WHERE external_id = ? AND external_id <> '' \
             AND event IN ('received', 'sent'))",
            [external_id.clone().into()],
        );
    }
    let state = query.state.map(|state| Value::from(state.word().to_owned()));
    match (&query.identity, state) {
        (Some(identity), state) => {
            let forms = serde_json::to_string(&keeping.forms(identity)).unwrap_or_default();
            filters.add(
                "message IN (SELECT message FROM recipients WHERE identity IN (SELECT value FROM json_each(?)) \
                 AND state = coalesce(?, state))",
                [forms.into(), state.unwrap_or(Value::Null)],
            );
        }
        (None, Some(state)) => filters.add(
            "EXISTS (SELECT 1 FROM recipients WHERE recipients.message = messages.message AND state = ?)",
            [state],
        ),
        (None, None) => {}
    }
    created_between(&mut filters, query);
    let wanted = filters.wanted.join(" AND ");
    let wanted = if wanted.is_empty() { String::new() } else { format!(" WHERE {wanted}") };
    let more = i64::try_from(limit).unwrap_or(500) + 1;
    filters.values.push(more.into());
    (format!("SELECT {COLUMNS} FROM messages{wanted} ORDER BY message {order} LIMIT ?"), filters.values)
}

/// Messages come roughly in the order in which they were created. The index says between which numbers those
/// of a span are, so that no others are gone through.
fn created_between(filters: &mut Filters, query: &MessageQuery) {
    let bound = |time: Option<jiff::Timestamp>, none: i64| time.map_or(none, |time| time.as_millisecond());
    if query.since.is_none() && query.until.is_none() {
        return;
    }
    let (since, until) = (bound(query.since, i64::MIN), bound(query.until, i64::MAX));
    filters.add("+created_at >= ? AND +created_at < ?", [since.into(), until.into()]);
    let span = "FROM messages INDEXED BY messages_created_at WHERE created_at >= ? AND created_at < ?)";
    if query.since.is_some() {
        let first = format!("message >= (SELECT coalesce(min(+message), 0) {span}");
        filters.add(&first, [since.into(), until.into()]);
    }
    if query.until.is_some() {
        let last = format!("message <= (SELECT coalesce(max(+message), 0) {span}");
        filters.add(&last, [since.into(), until.into()]);
    }
}

#[derive(Default)]
struct Filters {
    wanted: Vec<String>,
    values: Vec<Value>,
}

impl Filters {
    fn add<const N: usize>(&mut self, filter: &str, values: [Value; N]) {
        self.wanted.push(filter.to_owned());
        self.values.extend(values);
    }
}

fn recipients(connection: &Connection, message: i64) -> rusqlite::Result<Vec<RawRecipient>> {
    let mut statement = connection.prepare_cached(
        "SELECT recipient, identity, state, external_id FROM recipients WHERE message = ?1 ORDER BY recipient",
    )?;
    let recipient = |row: &Row<'_>| {
        Ok(RawRecipient {
            recipient: row.get(0)?,
            identity: row.get(1)?,
            state: row.get(2)?,
            external_id: row.get(3)?,
        })
    };
    statement.query_map(params![message], recipient)?.collect()
}

/// Its number, and the row.
fn raw_message(row: &Row<'_>) -> rusqlite::Result<(i64, RawMessage)> {
    let raw = RawMessage {
        id: id(row, 1)?,
        direction: row.get(2)?,
        backend: row.get(3)?,
        text: row.get(4)?,
        segments: row.get(5)?,
        created_at: row.get(6)?,
        fields: row.get(7)?,
    };
    Ok((row.get(0)?, raw))
}

fn raw_event(row: &Row<'_>) -> rusqlite::Result<RawEvent> {
    Ok(RawEvent {
        recipient: row.get(0)?,
        at: row.get(1)?,
        event: row.get(2)?,
        attempt: row.get(3)?,
        external_id: row.get(4)?,
        class: row.get(5)?,
        code: row.get(6)?,
        detail: row.get(7)?,
        http_status: row.get(8)?,
        duration_ms: row.get(9)?,
        done_by: row.get(10)?,
    })
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<MessageId> {
    Ok(MessageId::from(Uuid::from_bytes(row.get(column)?)))
}
