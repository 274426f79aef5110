//! Rows of the tables, which are the same in both databases, and their conversion to values.

use super::{
    Keeping, KnownAnswer, LoggedCallback, LoggedMessage, LoggedRecipient, SentMessage, keeping::is_hashed,
    words::Word,
};
use jiff::Timestamp;
use postern_shared::{
    event::Event,
    message::{BackendName, MessageId},
};
use std::collections::HashMap;

/// A row that this version cannot read. The text names the column, not its value.
#[derive(Debug, thiserror::Error)]
#[error(
    "contains a row with a `{0}` that this version does not know: a newer version or another program wrote \
     it"
)]
pub(super) struct UnreadableRow(pub(super) &'static str);

/// A value that both databases can hold in a column.
pub(super) trait Value: rusqlite::types::FromSql + for<'a> tokio_postgres::types::FromSql<'a> {}

impl<T: rusqlite::types::FromSql + for<'a> tokio_postgres::types::FromSql<'a>> Value for T {}

/// A row of one of the databases.
pub(super) trait Columns {
    type Error;

    /// The value in a column.
    fn value<T: Value>(&self, column: usize) -> Result<T, Self::Error>;

    /// The id in a column.
    fn id(&self, column: usize) -> Result<MessageId, Self::Error>;
}

/// The columns of [`RawMessage::of`]. The last is JSON.
pub(super) const MESSAGE: &str = "message, id, direction, backend, text, segments, created_at, fields";
/// The columns of [`RawRecipient::of`].
pub(super) const RECIPIENT: &str = "message, recipient, identity, state, external_id";
/// The columns of [`RawEvent::of`].
pub(super) const EVENT: &str =
    "recipient, at, event, attempt, external_id, class, code, detail, http_status, duration_ms, done_by";

/// A row of `messages`.
pub(super) struct RawMessage {
    pub(super) id: MessageId,
    pub(super) direction: String,
    pub(super) backend: String,
    pub(super) text: Option<String>,
    pub(super) segments: Option<i64>,
    pub(super) created_at: i64,
    pub(super) fields: Option<String>,
}

/// The columns of `messages` about the answer to the client.
pub(super) struct RawAnswer {
    pub(super) fingerprint: String,
    pub(super) answer: String,
}

impl RawAnswer {
    /// The answer, and whether it was given to a request with this `fingerprint`.
    pub(super) fn read(self, keeping: &Keeping, fingerprint: &str) -> Result<KnownAnswer, UnreadableRow> {
        let is_same = keeping.is_fingerprint(&self.fingerprint, fingerprint);
        let answer = serde_json::from_str(&self.answer).map_err(|_| UnreadableRow("answer"))?;
        Ok(KnownAnswer { is_same, answer })
    }
}

impl LoggedCallback {
    /// The callbacks by a row of `messages`, if there is one.
    pub(super) fn of_row(row: Option<Option<String>>) -> Self {
        match row {
            None => Self::UnknownMessage,
            Some(None) => Self::NotWanted,
            Some(Some(token)) => Self::Wanted(token),
        }
    }
}

/// A row of `recipients`.
pub(super) struct RawRecipient {
    pub(super) recipient: i64,
    pub(super) identity: String,
    pub(super) state: String,
    pub(super) external_id: Option<String>,
}

/// A row of `events`.
pub(super) struct RawEvent {
    pub(super) recipient: i64,
    pub(super) at: i64,
    pub(super) event: String,
    pub(super) attempt: i64,
    pub(super) external_id: String,
    pub(super) class: Option<String>,
    pub(super) code: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) http_status: Option<i64>,
    pub(super) duration_ms: Option<i64>,
    pub(super) done_by: Option<String>,
}

impl RawMessage {
    /// Reads a row, with the message's number.
    pub(super) fn of<R: Columns>(row: &R) -> Result<(i64, Self), R::Error> {
        let raw = Self {
            id: row.id(1)?,
            direction: row.value(2)?,
            backend: row.value(3)?,
            text: row.value(4)?,
            segments: row.value(5)?,
            created_at: row.value(6)?,
            fields: row.value(7)?,
        };
        Ok((row.value(0)?, raw))
    }

    /// The message with these recipients and events.
    pub(super) fn with(
        self,
        recipients: Vec<RawRecipient>,
        events: Vec<RawEvent>,
    ) -> Result<LoggedMessage, UnreadableRow> {
        let backend: BackendName = self.backend.parse().map_err(|_| UnreadableRow("backend"))?;
        let names: HashMap<i64, String> = match events.is_empty() {
            true => HashMap::new(),
            false => recipients.iter().map(|row| (row.recipient, row.identity.clone())).collect(),
        };
        let mut events: Vec<Event> =
            events.into_iter().map(|row| row.read(self.id, &backend, &names)).collect::<Result<_, _>>()?;
        events.sort_by_key(|event| (event.at, event.event));
        Ok(LoggedMessage {
            id: self.id,
            direction: read("direction", &self.direction)?,
            backend,
            text: self.text,
            segments: self.segments.and_then(|segments| segments.try_into().ok()),
            created_at: time("created_at", self.created_at)?,
            fields: match self.fields {
                Some(fields) => serde_json::from_str(&fields).map_err(|_| UnreadableRow("fields"))?,
                None => serde_json::Map::new(),
            },
            recipients: recipients.into_iter().map(RawRecipient::read).collect::<Result<_, _>>()?,
            events,
        })
    }
}

impl RawRecipient {
    /// Reads a row, with the number of its message.
    pub(super) fn of<R: Columns>(row: &R) -> Result<(i64, Self), R::Error> {
        let raw = Self {
            recipient: row.value(1)?,
            identity: row.value(2)?,
            state: row.value(3)?,
            external_id: row.value(4)?,
        };
        Ok((row.value(0)?, raw))
    }

    fn read(self) -> Result<LoggedRecipient, UnreadableRow> {
        let state = read("state", &self.state)?;
        Ok(LoggedRecipient { identity: self.identity, state, external_id: self.external_id })
    }
}

impl SentMessage {
    /// Reads a row with an id, an identity, which may be hashed, and a callback.
    pub(super) fn of<R: Columns>(row: &R) -> Result<Self, R::Error> {
        let identity = row.value::<Option<String>>(1)?.filter(|identity| !is_hashed(identity));
        let identity = identity.and_then(|identity| identity.parse().ok());
        Ok(Self { id: row.id(0)?, identity, callback: row.value(2)? })
    }
}

impl RawEvent {
    /// Reads a row.
    pub(super) fn of<R: Columns>(row: &R) -> Result<Self, R::Error> {
        Ok(Self {
            recipient: row.value(0)?,
            at: row.value(1)?,
            event: row.value(2)?,
            attempt: row.value(3)?,
            external_id: row.value(4)?,
            class: row.value(5)?,
            code: row.value(6)?,
            detail: row.value(7)?,
            http_status: row.value(8)?,
            duration_ms: row.value(9)?,
            done_by: row.value(10)?,
        })
    }

    fn read(
        self,
        message_id: MessageId,
        backend: &BackendName,
        names: &HashMap<i64, String>,
    ) -> Result<Event, UnreadableRow> {
        let identity = names.get(&self.recipient).map(|name| name.parse());
        let class = self.class.map(|class| read("class", &class));
        Ok(Event {
            at: time("at", self.at)?,
            identity: identity.transpose().map_err(|_| UnreadableRow("identity"))?,
            attempt: self.attempt.try_into().ok().filter(|attempt| *attempt > 0),
            class: class.transpose()?,
            code: self.code,
            detail: self.detail,
            external_id: Some(self.external_id).filter(|id| !id.is_empty()),
            http_status: self.http_status.and_then(|status| status.try_into().ok()),
            duration_ms: self.duration_ms.and_then(|span| span.try_into().ok()),
            by: self.done_by,
            ..Event::new(read("event", &self.event)?, message_id, backend.clone())
        })
    }
}

fn read<T: Word>(column: &'static str, word: &str) -> Result<T, UnreadableRow> {
    T::of_word(word).ok_or(UnreadableRow(column))
}

fn time(column: &'static str, milliseconds: i64) -> Result<Timestamp, UnreadableRow> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| UnreadableRow(column))
}
