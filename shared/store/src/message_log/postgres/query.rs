//! Reading the tables.

use super::connection::Session;
use crate::message_log::{
    Cursor, Keeping, KnownAnswer, ListOrder, LogError, LoggedCallback, LoggedMessage, MessageQuery, Page,
    SentMessage,
    raw::{self, Columns, EVENT, MESSAGE, RECIPIENT, RawAnswer, RawEvent, RawMessage, RawRecipient},
    words::Word,
};
use postern_shared::{
    message::{BackendName, MessageId},
    value::BackendSelection,
};
use std::collections::HashMap;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

/// Begins a transaction that sees the rows of one moment, since others may write meanwhile.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(super) async fn message(session: &mut Session, id: MessageId) -> Result<Option<LoggedMessage>, LogError> {
    let find =
        session.prepared(&format!("SELECT {MESSAGE}::text FROM postern.messages WHERE id = $1")).await?;
    let events = session.prepared(&format!("SELECT {EVENT} FROM postern.events WHERE message = $1")).await?;
    session.batch_execute(SNAPSHOT).await?;
    let found = match session.query_opt(&find, &[&Uuid::from(id)]).await? {
        Some(row) => {
            let (message, raw) = RawMessage::of(&row)?;
            let events = session.query(&events, &[&message]).await?;
            let events = events.iter().map(RawEvent::of).collect::<Result<_, _>>()?;
            let recipients = recipients(session, &[message]).await?.remove(&message).unwrap_or_default();
            Some(raw.with(recipients, events)?)
        }
        None => None,
    };
    session.batch_execute("COMMIT").await?;
    Ok(found)
}

pub(super) async fn messages(
    session: &mut Session,
    keeping: &Keeping,
    query: &MessageQuery,
) -> Result<Page, LogError> {
    let limit = query.limit.clamp(1, 500);
    let mut filters = filters(keeping, query);
    let wanted = filters.wanted.join(" AND ");
    let order = if query.order == ListOrder::Newest { "DESC" } else { "ASC" };
    filters.values.push(Box::new(i64::try_from(limit).unwrap_or(500) + 1));
    let number = filters.values.len();
    let sql = format!(
        "SELECT {MESSAGE}::text FROM postern.messages WHERE {wanted} ORDER BY message {order} LIMIT ${number}"
    );
    let sql = session.prepared(&sql).await?;
    let values: Vec<&(dyn ToSql + Sync)> = filters.values.iter().map(|value| &**value as _).collect();
    session.batch_execute(SNAPSHOT).await?;
    let rows = session.query(&sql, &values).await?;
    let more = rows.len() > limit;
    let rows: Vec<_> = rows.iter().take(limit).map(RawMessage::of).collect::<Result<_, _>>()?;
    let numbers: Vec<i64> = rows.iter().map(|(message, _)| *message).collect();
    let mut of_each = recipients(session, &numbers).await?;
    let mut page = Page::default();
    for (message, raw) in rows {
        page.messages.push(raw.with(of_each.remove(&message).unwrap_or_default(), Vec::new())?);
    }
    page.next = match query.order {
        _ if more => numbers.last().copied().map(Cursor),
        ListOrder::Newest => None,
        // Everything that is there now was looked at, so the cursor is the end.
        ListOrder::Oldest => {
            let end = session.prepared("SELECT coalesce(max(message), 0) FROM postern.messages").await?;
            let end = session.query_one(&end, &[]).await?.get(0);
            Some(Cursor(end).max(query.cursor.unwrap_or(Cursor(0))))
        }
    };
    session.batch_execute("COMMIT").await?;
    Ok(page)
}

pub(super) async fn ids(
    session: &mut Session,
    first: MessageId,
    last: MessageId,
    most: usize,
) -> Result<Vec<MessageId>, LogError> {
    let find = "SELECT id FROM postern.messages WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3";
    let find = session.prepared(find).await?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = session.query(&find, &[&Uuid::from(first), &Uuid::from(last), &most]).await?;
    Ok(rows.iter().map(|row| row.id(0)).collect::<Result<_, _>>()?)
}

pub(super) async fn sent_as(
    session: &mut Session,
    backend: &BackendName,
    external_id: &str,
) -> Result<Option<SentMessage>, LogError> {
    let sql = "SELECT id, CASE WHEN min(recipient) = max(recipient) THEN min(identity) END, callback \
               FROM postern.events JOIN postern.messages USING (message) \
               LEFT JOIN postern.recipients USING (message, recipient) \
               WHERE events.external_id = $1 AND events.external_id <> '' AND event IN ('received', 'sent') \
               AND event = 'sent' AND attempt > 0 AND coalesce(done_by, backend) = $2 \
               GROUP BY message, id, callback ORDER BY message DESC LIMIT 1";
    let sql = session.prepared(sql).await?;
    let external_id = super::row::clean(external_id);
    let row = session.query_opt(&sql, &[&external_id, &backend.as_str()]).await?;
    Ok(row.as_ref().map(SentMessage::of).transpose()?)
}

pub(super) async fn callback(session: &mut Session, id: MessageId) -> Result<LoggedCallback, LogError> {
    let find = session.prepared("SELECT callback FROM postern.messages WHERE id = $1").await?;
    let row = session.query_opt(&find, &[&Uuid::from(id)]).await?;
    Ok(LoggedCallback::of_row(row.map(|row| row.get(0))))
}

pub(super) async fn first_answer(
    session: &mut Session,
    keeping: &Keeping,
    id: MessageId,
    fingerprint: &str,
) -> Result<Option<KnownAnswer>, LogError> {
    let find = "SELECT fingerprint, answer FROM postern.messages WHERE id = $1 AND answer IS NOT NULL";
    let find = session.prepared(find).await?;
    let row = session.query_opt(&find, &[&Uuid::from(id)]).await?;
    let raw = row.map(|row| RawAnswer { fingerprint: row.get(0), answer: row.get(1) });
    Ok(raw.map(|raw| raw.read(keeping, fingerprint)).transpose()?)
}

#[derive(Default)]
struct PostgresFilters {
    wanted: Vec<String>,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl PostgresFilters {
    /// Adds a filter with its value. In `filter`, `$` stands for the value.
    fn add(&mut self, filter: &str, value: impl ToSql + Sync + Send + 'static) {
        self.values.push(Box::new(value));
        self.wanted.push(filter.replace('$', &format!("${}", self.values.len())));
    }
}

fn filters(keeping: &Keeping, query: &MessageQuery) -> PostgresFilters {
    let mut filters = PostgresFilters { wanted: vec!["true".to_owned()], ..PostgresFilters::default() };
    let after = if query.order == ListOrder::Newest { "message < $" } else { "message > $" };
    if let Some(Cursor(cursor)) = query.cursor {
        filters.add(after, cursor);
    }
    if let Some(backend) = &query.backend {
        filters.add("backend = $", backend.as_str().to_owned());
    }
    let allowed = match &query.allowed {
        BackendSelection::All => None,
        BackendSelection::Some(names) => Some(("backend = ANY($)", names)),
        BackendSelection::AllBut(names) => Some(("backend <> ALL($)", names)),
    };
    if let Some((filter, names)) = allowed {
        let names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
        filters.add(filter, names);
    }
    if let Some(direction) = query.direction {
        filters.add("direction = $", direction.word());
    }
    if let Some(external_id) = &query.external_id {
        filters.add(
            "message IN (SELECT message FROM postern.events WHERE external_id = $ AND external_id <> '' \
             AND event IN ('received', 'sent'))",
            super::row::clean(external_id).into_owned(),
        );
    }
    let of_recipient = |wanted: &str| {
        format!(
            "EXISTS (SELECT 1 FROM postern.recipients AS r WHERE r.message = messages.message AND {wanted})"
        )
    };
    match (&query.identity, query.state) {
        (Some(identity), state) => {
            let state = state.map_or_else(String::new, |state| format!(" AND state = '{}'", state.word()));
            filters.add(
                &format!(
                    "message IN (SELECT message FROM postern.recipients WHERE identity = ANY($){state})"
                ),
                keeping.forms(identity),
            );
        }
        (None, Some(state)) => filters.add(&of_recipient("r.state = $"), state.word()),
        (None, None) => {}
    }
    if let Some(since) = query.since {
        filters.add("created_at >= $", since.as_millisecond());
    }
    if let Some(until) = query.until {
        filters.add("created_at < $", until.as_millisecond());
    }
    filters
}

async fn recipients(
    session: &mut Session,
    messages: &[i64],
) -> Result<HashMap<i64, Vec<RawRecipient>>, LogError> {
    let sql = format!(
        "SELECT {RECIPIENT} FROM postern.recipients WHERE message = ANY($1) ORDER BY message, recipient"
    );
    let sql = session.prepared(&sql).await?;
    let mut of_each: HashMap<i64, Vec<RawRecipient>> = HashMap::new();
    for row in session.query(&sql, &[&messages]).await? {
        let (message, recipient) = RawRecipient::of(&row)?;
        of_each.entry(message).or_default().push(recipient);
    }
    Ok(of_each)
}

impl Columns for Row {
    type Error = tokio_postgres::Error;

    fn value<T: raw::Value>(&self, column: usize) -> Result<T, tokio_postgres::Error> {
        self.try_get(column)
    }

    fn id(&self, column: usize) -> Result<MessageId, tokio_postgres::Error> {
        Ok(MessageId::from(self.try_get::<_, Uuid>(column)?))
    }
}
