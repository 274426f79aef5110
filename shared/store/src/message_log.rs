//! The message log, which records what became of every message.
//!
//! It takes [`Event`]s and answers with [`LoggedMessage`]s. There is one trait, [`MessageLog`]; the
//! implementations in SQLite and PostgreSQL pass the same suite, `conformance`.

#[cfg(feature = "testing")]
pub mod conformance;
mod keeping;
pub mod postgres;
mod raw;
mod report_recipient;
pub mod sqlite;
mod standing;
mod words;
mod written;

pub use keeping::{HashKey, Keeping};
pub use postgres::PostgresLog;
pub use sqlite::{Access, SqliteLog};
pub use written::UnknownState;

use async_trait::async_trait;
use jiff::Timestamp;
pub use postern_shared::event::Keep;
use postern_shared::{
    clock,
    event::{Direction, Event, EventKind},
    message::{BackendName, Identity, MessageId, State},
    value::BackendSelection,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};
use tokio::sync::watch;

/// A log of what happened to messages.
///
/// Every operation has a deadline.
#[async_trait]
pub trait MessageLog: Send + Sync + fmt::Debug {
    /// Writes `events` in one transaction. An event that is there already is not written again, so a caller
    /// that does not know whether an event was written may repeat it. Events may come in any order: an event
    /// about an unknown message adds the message, without its text.
    ///
    /// # Errors
    /// [`LogError`]: none of the events was written, or it is not known whether they were.
    async fn record(&self, events: &[Event]) -> Result<(), LogError>;

    /// The message `id` with its events in order. `None` if the log does not hold it, or not any more.
    ///
    /// # Errors
    /// [`LogError`].
    async fn message(&self, id: MessageId) -> Result<Option<LoggedMessage>, LogError>;

    /// The messages that match `query`, without their events.
    ///
    /// # Errors
    /// [`LogError`].
    async fn messages(&self, query: &MessageQuery) -> Result<Page, LogError>;

    /// Up to `most` ids of messages, from `first` to `last` (both included), in order. For finding a message by
    /// the beginning of its id.
    ///
    /// # Errors
    /// [`LogError`].
    async fn ids(&self, first: MessageId, last: MessageId, most: usize) -> Result<Vec<MessageId>, LogError>;

    /// The message to which the provider of `backend` gave the id `external_id`. If the provider reused the id,
    /// the latest message.
    ///
    /// # Errors
    /// [`LogError`].
    async fn sent_as(
        &self,
        backend: &BackendName,
        external_id: &str,
    ) -> Result<Option<SentMessage>, LogError>;

    /// The callbacks that a client asked for about the message `id`.
    ///
    /// # Errors
    /// [`LogError`].
    async fn callback(&self, id: MessageId) -> Result<LoggedCallback, LogError>;

    /// The answer to the client that submitted the message `id` under an id of its own, and whether the client
    /// said then what `fingerprint` stands for. `None` if the log does not know.
    ///
    /// # Errors
    /// [`LogError`].
    async fn first_answer(&self, id: MessageId, fingerprint: &str) -> Result<Option<KnownAnswer>, LogError>;

    /// Erases what the log holds about a person: each message that only they sent or got, and their part of all
    /// others. Returns the number of messages that were changed or erased.
    ///
    /// # Errors
    /// [`LogError`].
    async fn forget(&self, identity: &Identity) -> Result<u64, LogError>;

    /// Removes a small number of the oldest messages, if `retention` requires it. Returns how many were
    /// removed; 0 means that nothing is left to remove.
    ///
    /// # Errors
    /// [`LogError`].
    async fn expire(&self, retention: &Retention) -> Result<u64, LogError>;

    /// A counter that changes when this process has written messages or events. Writes of other processes may go
    /// unnoticed.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Closes connections and files, after operations that have begun.
    async fn close(&self);
}

/// A message as the log knows it. Its JSON is the answer to `GET /v1/messages/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoggedMessage {
    /// The message's id.
    pub id: MessageId,
    /// Whether it is inbound or outbound.
    pub direction: Direction,
    /// The backend through which it came or goes.
    pub backend: BackendName,
    /// The text. `None` if the log keeps only states, or knows the message only from its reports.
    pub text: Option<String>,
    /// The number of segments (short messages) of the text for each recipient. `None` if the backend does not
    /// count segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<usize>,
    /// When it was accepted or received, in UTC. If it is known only from its reports, when the first one came.
    #[serde(serialize_with = "clock::serialize")]
    pub created_at: Timestamp,
    /// The provider's further parameters of an inbound message, or the application's `context` of an outbound one.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// The recipients, in order. For a received message, its sender.
    pub recipients: Vec<LoggedRecipient>,
    /// The message's events in order of time. Empty in a list of messages.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "written::without_the_message")]
    pub events: Vec<Event>,
}

/// One recipient as the log knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedRecipient {
    /// The recipient: the number itself, or its keyed hash if the log keeps only states.
    pub identity: String,
    /// The state of the message for this recipient.
    pub state: LoggedState,
    /// The provider's id of the message to this recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// The state of a message for one recipient: a [`State`] or, for a received message, whether an application has
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoggedState {
    /// A received message waits for an application.
    Received,
    /// The application's webhook accepted the received message.
    Forwarded,
    /// The state of an outbound message.
    #[serde(untagged)]
    Outbound(State),
}

/// Which messages to list. The default asks for the 50 newest.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageQuery {
    /// Only messages through this backend. `None`: all.
    pub backend: Option<BackendName>,
    /// Only messages that this person sent or gets. `None`: all.
    pub identity: Option<Identity>,
    /// Only messages with a recipient in this state. `None`: all.
    pub state: Option<LoggedState>,
    /// Only inbound or only outbound messages. `None`: both.
    pub direction: Option<Direction>,
    /// Only messages to which the provider gave this id. `None`: all.
    pub external_id: Option<String>,
    /// Only messages through these backends, which the asker may see.
    pub allowed: BackendSelection,
    /// Only messages created at this time or later. `None`: all.
    pub since: Option<Timestamp>,
    /// Only messages created before this time. `None`: all.
    pub until: Option<Timestamp>,
    /// The most messages, 1 to 500.
    pub limit: usize,
    /// Only messages after this place in `order`. It comes from an earlier [`Page`]. `None`: from the beginning.
    pub cursor: Option<Cursor>,
    /// Whether the newest or the oldest comes first.
    pub order: ListOrder,
}

/// The order of a list of messages, by the time when the log learnt of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListOrder {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first. A reader that continues from a [`Cursor`] misses no message that is written later.
    Oldest,
}

/// A place in a list of messages. Its text, for a URL, is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor(pub i64);

/// A part of a list of messages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The messages, without their events.
    pub messages: Vec<LoggedMessage>,
    /// Where the next page begins. With [`ListOrder::Newest`], `None` if there are no more messages. With
    /// [`ListOrder::Oldest`] it is always there, so that a reader can ask later for new messages.
    pub next: Option<Cursor>,
}

/// A message that was found by the provider's id.
#[derive(Debug, Clone, PartialEq)]
pub struct SentMessage {
    /// The message's id.
    pub id: MessageId,
    /// The recipient to whom the provider sent the message under that id. `None` if there are several, or the log
    /// keeps only states.
    pub identity: Option<Identity>,
    /// The callbacks that a client asked for, sealed. `None` if no client did, or the log keeps only states.
    pub callback: Option<String>,
}

/// What the log knows about the callbacks that a client asked for with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedCallback {
    /// The message is not in the log, or not yet.
    UnknownMessage,
    /// No client asked for callbacks, or the log keeps only states.
    NotWanted,
    /// The callbacks that the client asked for, sealed.
    Wanted(String),
}

/// The last answer to a client whose message was accepted under an id of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownAnswer {
    /// Whether the client's request then was the same as now.
    pub is_same: bool,
    /// The contents of that answer.
    pub answer: Map<String, Value>,
}

/// How long, and how much, the log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages older than this are removed. `None`: the age has no limit.
    pub age: Option<Duration>,
    /// The most bytes that the log may take. Beyond, the oldest messages are removed. `None`: no limit.
    pub max_bytes: Option<u64>,
}

/// Why an operation of the log failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The log cannot be reached, or accepts nothing now. A retry may succeed.
    #[error("the message log cannot be used now: {0}")]
    Unavailable(String),
    /// The operation did not end before its deadline.
    #[error("the message log did not answer within {0:?}")]
    TimedOut(Duration),
    /// The log does not accept an event, and a retry does not help. The text does not quote it.
    #[error("the message log does not accept an event: {0}")]
    Rejected(String),
    /// The log cannot be used until somebody repairs it. The text says how.
    #[error("the message log {0}")]
    Broken(String),
}

impl LogError {
    /// The error for a log whose hashes were made with another key.
    fn other_key() -> Self {
        Self::Broken(
            "contains hashes made with another log.hash_key, so no rows would be found: set the previous key, or \
             put the previous log-hash.key into the log's folder"
                .to_owned(),
        )
    }
}

impl From<raw::UnreadableRow> for LogError {
    fn from(why: raw::UnreadableRow) -> Self {
        Self::Broken(why.to_string())
    }
}

impl Default for MessageQuery {
    fn default() -> Self {
        Self {
            backend: None,
            identity: None,
            state: None,
            direction: None,
            external_id: None,
            allowed: BackendSelection::All,
            since: None,
            until: None,
            limit: 50,
            cursor: None,
            order: ListOrder::Newest,
        }
    }
}

impl LoggedState {
    /// The state after `event`. `None` if the event says nothing about the state.
    pub fn after(event: EventKind) -> Option<Self> {
        let state = match event {
            EventKind::Received => return Some(Self::Received),
            EventKind::Forwarded => return Some(Self::Forwarded),
            EventKind::Accepted | EventKind::Redriven => State::Queued,
            EventKind::Sent => State::Sent,
            EventKind::Deferred => State::Retrying,
            EventKind::Buffered => State::Buffered,
            EventKind::Delivered => State::Delivered,
            EventKind::Undelivered => State::Undelivered,
            EventKind::Failed => State::Failed,
            EventKind::Expired => State::Expired,
            EventKind::Unknown => State::Unknown,
            EventKind::Dead | EventKind::CalledBack => return None,
        };
        Some(Self::Outbound(state))
    }
}
