//! Reading the tables.

use super::failure::unreadable;
use crate::message_log::{
    Cursor, Keeping, KnownAnswer, ListOrder, LoggedCallback, LoggedMessage, MessageQuery, Page, SentMessage,
    raw::{self, Columns, EVENT, MESSAGE, RECIPIENT, RawAnswer, RawEvent, RawMessage, RawRecipient},
    words::Word,
};
use postern_shared::{
    message::{BackendName, MessageId},
    value::BackendSelection,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter, types::Value};
use uuid::Uuid;

/// The message `id` with its events in order of time.
///
/// # Errors
/// SQLite's, and a conversion error if a row holds a value that this version does not know.
pub fn message(connection: &Connection, id: MessageId) -> rusqlite::Result<Option<LoggedMessage>> {
    // A snapshot, since another connection may write meanwhile.
    let snapshot = connection.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(&format!("SELECT {MESSAGE} FROM messages WHERE id = ?1"))?;
    let found = statement.query_row([id.as_bytes()], |row| RawMessage::of(row)).optional()?;
    let Some((message, raw)) = found else { return Ok(None) };
    let mut statement = snapshot.prepare_cached(&format!("SELECT {EVENT} FROM events WHERE message = ?1"))?;
    let events = statement.query_map([message], |row| RawEvent::of(row))?.collect::<rusqlite::Result<_>>()?;
    raw.with(recipients(&snapshot, message)?, events).map(Some).map_err(unreadable)
}

/// The messages that match `query`, without their events.
///
/// # Errors
/// The same as those of [`message`].
pub fn messages(connection: &Connection, keeping: &Keeping, query: &MessageQuery) -> rusqlite::Result<Page> {
    let snapshot = connection.unchecked_transaction()?;
    let limit = query.limit.clamp(1, 500);
    let (sql, values) = select(keeping, query, limit);
    let mut statement = snapshot.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| RawMessage::of(row))?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    let more = rows.len() > limit;
    let mut page = Page::default();
    let mut last = None;
    for (message, raw) in rows.into_iter().take(limit) {
        last = Some(Cursor(message));
        page.messages.push(raw.with(recipients(&snapshot, message)?, Vec::new()).map_err(unreadable)?);
    }
    page.next = match query.order {
        _ if more => last,
        ListOrder::Newest => None,
        // Everything that is there now was looked at, so the cursor is the end.
        ListOrder::Oldest => {
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
    statement.query_map(params![first.as_bytes(), last.as_bytes(), most], |row| row.id(0))?.collect()
}

/// The latest message to which the provider of `backend` gave the id `external_id`.
///
/// # Errors
/// Those of [`message`].
pub fn sent_as(
    connection: &Connection,
    backend: &BackendName,
    external_id: &str,
) -> rusqlite::Result<Option<SentMessage>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, iif(min(recipient) = max(recipient), identity, NULL), callback \
         FROM events JOIN messages USING (message) LEFT JOIN recipients USING (message, recipient) \
         WHERE events.external_id = ?1 AND events.external_id <> '' AND event IN ('received', 'sent') \
         AND event = 'sent' AND attempt > 0 AND coalesce(done_by, backend) = ?2 \
         GROUP BY message ORDER BY message DESC LIMIT 1",
    )?;
    statement.query_row([external_id, backend.as_str()], |row| SentMessage::of(row)).optional()
}

/// The callbacks that a client asked for about the message `id`.
///
/// # Errors
/// SQLite's.
pub fn callback(connection: &Connection, id: MessageId) -> rusqlite::Result<LoggedCallback> {
    let mut statement = connection.prepare_cached("SELECT callback FROM messages WHERE id = ?1")?;
    let row = statement.query_row([id.as_bytes()], |row| row.get::<_, Option<String>>(0)).optional()?;
    Ok(LoggedCallback::of_row(row))
}

/// The answer to the client that submitted the message `id` under an id of its own.
///
/// # Errors
/// Those of [`message`].
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

/// The statement that finds the messages of `query`, and its values. It finds one message more than `limit`, which
/// shows whether there are further ones.
fn select(keeping: &Keeping, query: &MessageQuery, limit: usize) -> (String, Vec<Value>) {
    let mut filters = SqliteFilters::default();
    let (after, order) = match query.order {
        ListOrder::Newest => ("message < ?", "DESC"),
        ListOrder::Oldest => ("message > ?", "ASC"),
    };
    if let Some(Cursor(cursor)) = query.cursor {
        filters.add(after, [cursor.into()]);
    }
    if let Some(backend) = &query.backend {
        filters.add("backend = ?", [backend.as_str().to_owned().into()]);
    }
    let allowed = match &query.allowed {
        BackendSelection::All => None,
        BackendSelection::Some(names) => Some(("backend IN (SELECT value FROM json_each(?))", names)),
        BackendSelection::AllBut(names) => Some(("backend NOT IN (SELECT value FROM json_each(?))", names)),
    };
    if let Some((filter, names)) = allowed {
        let names: Vec<_> = names.iter().map(BackendName::as_str).collect();
        filters.add(filter, [serde_json::to_string(&names).unwrap_or_default().into()]);
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
    (format!("SELECT {MESSAGE} FROM messages{wanted} ORDER BY message {order} LIMIT ?"), filters.values)
}

/// Adds the filters for the time of creation. Messages are numbered roughly in that order, so the index gives a
/// range of numbers, and messages outside of it need not be read.
fn created_between(filters: &mut SqliteFilters, query: &MessageQuery) {
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
struct SqliteFilters {
    wanted: Vec<String>,
    values: Vec<Value>,
}

impl SqliteFilters {
    fn add<const N: usize>(&mut self, filter: &str, values: [Value; N]) {
        self.wanted.push(filter.to_owned());
        self.values.extend(values);
    }
}

fn recipients(connection: &Connection, message: i64) -> rusqlite::Result<Vec<RawRecipient>> {
    let sql = format!("SELECT {RECIPIENT} FROM recipients WHERE message = ?1 ORDER BY recipient");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([message], |row| RawRecipient::of(row).map(|(_, recipient)| recipient))?.collect()
}

impl Columns for Row<'_> {
    type Error = rusqlite::Error;

    fn value<T: raw::Value>(&self, column: usize) -> rusqlite::Result<T> {
        self.get(column)
    }

    fn id(&self, column: usize) -> rusqlite::Result<MessageId> {
        Ok(MessageId::from(Uuid::from_bytes(self.get(column)?)))
    }
}
