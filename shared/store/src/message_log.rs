//! The message log: what became of every message.
//!
//! [`Event`]s go in, [`LoggedMessage`]s come out. One trait, [`MessageLog`]; SQLite and PostgreSQL pass the
//! same suite, `conformance`.

#[cfg(feature = "testing")]
pub mod conformance;
mod keeping;
pub mod postgres;
mod raw;
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
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};
use tokio::sync::watch;

/// A place that remembers what happened to messages.
///
/// Every operation ends within its own deadline.
#[async_trait]
pub trait MessageLog: Send + Sync + fmt::Debug {
    /// Writes `events` in one transaction. An event that is there already is not written again, so that
    /// a caller that does not know whether it was written may repeat it. Events may come in any order: one
    /// about a message that is not known yet makes it known, without its text.
    ///
    /// # Errors
    /// [`LogError`]: none of the events was written, or it is not known whether they were.
    async fn record(&self, events: &[Event]) -> Result<(), LogError>;

    /// The message `id` with its events in order. `None` if the log does not know it, or not any more.
    ///
    /// # Errors
    /// [`LogError`].
    async fn message(&self, id: MessageId) -> Result<Option<LoggedMessage>, LogError>;

    /// The messages that match `query`, without their events.
    ///
    /// # Errors
    /// [`LogError`].
    async fn messages(&self, query: &MessageQuery) -> Result<Page, LogError>;

    /// Up to `most` ids of messages, from `first` to `last`, both included, in order: what an id that is only its
    /// beginning may mean.
    ///
    /// # Errors
    /// [`LogError`].
    async fn ids(&self, first: MessageId, last: MessageId, most: usize) -> Result<Vec<MessageId>, LogError>;

    /// The message that `backend`'s provider calls `external_id`: the latest, if it reused the id.
    ///
    /// # Errors
    /// [`LogError`].
    async fn sent_as(
        &self,
        backend: &BackendName,
        external_id: &str,
    ) -> Result<Option<SentMessage>, LogError>;

    /// What a client wants to be told of the message `id`.
    ///
    /// # Errors
    /// [`LogError`].
    async fn callback(&self, id: MessageId) -> Result<LoggedCallback, LogError>;

    /// What the client was answered that gave the message `id` an id of its own, and whether it said what
    /// `fingerprint` stands for. `None` if the log does not know.
    ///
    /// # Errors
    /// [`LogError`].
    async fn first_answer(&self, id: MessageId, fingerprint: &str) -> Result<Option<KnownAnswer>, LogError>;

    /// Erases what the log holds of a person: each message that only they sent or got, and their part of the
    /// others. Returns the number of messages that it changed or erased.
    ///
    /// # Errors
    /// [`LogError`].
    async fn forget(&self, identity: &Identity) -> Result<u64, LogError>;

    /// Removes a small number of the oldest messages, if `retention` asks for it. Returns how many; 0 means
    /// that there is nothing left to remove.
    ///
    /// # Errors
    /// [`LogError`].
    async fn expire(&self, retention: &Retention) -> Result<u64, LogError>;

    /// Changes after messages or events were written by this process; another process's may go unnoticed.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Lets go of connections and files, after what was begun.
    async fn close(&self);
}

/// What the log tells of a message. As JSON it is what `GET /v1/messages/{id}` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoggedMessage {
    /// Its id.
    pub id: MessageId,
    /// Which way it goes.
    pub direction: Direction,
    /// The backend that it came through or goes through.
    pub backend: BackendName,
    /// What was written. `None` if the log keeps states only, or learnt of the message from its reports.
    pub text: Option<String>,
    /// How many short messages the text takes for each recipient. `None` if nobody counts in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<usize>,
    /// When it was accepted, or received; of a message known from its reports alone, when the first of them
    /// came. UTC.
    #[serde(serialize_with = "clock::serialize")]
    pub created_at: Timestamp,
    /// The provider's parameters beyond identity and text, or the application's `context`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// Each recipient, in order; of a received message, its sender.
    pub recipients: Vec<LoggedRecipient>,
    /// What happened, in order of time. Empty in a list of messages.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "written::without_the_message")]
    pub events: Vec<Event>,
}

/// What the log knows of one recipient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedRecipient {
    /// The recipient: the number itself, or its keyed hash where the log keeps states only.
    pub identity: String,
    /// What became of it.
    pub state: LoggedState,
    /// The provider's own id of the message to this recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// What became of a message for one recipient: a [`State`], or of a received message whether an application
/// has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoggedState {
    /// A person's message waits for the applications.
    Received,
    /// The application's webhook took it.
    Forwarded,
    /// The state of a message that an application wants sent.
    #[serde(untagged)]
    Outbound(State),
}

/// Which messages to list. The default asks for the 50 newest.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageQuery {
    /// Only through this backend.
    pub backend: Option<BackendName>,
    /// Only those that this person sent or gets.
    pub identity: Option<Identity>,
    /// Only those with a recipient in this state.
    pub state: Option<LoggedState>,
    /// Only this way.
    pub direction: Option<Direction>,
    /// Only those that the provider calls so.
    pub external_id: Option<String>,
    /// Only through one of these backends: those that the asker may see. `None`: all.
    pub allowed: Option<Vec<BackendName>>,
    /// Not created before.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
    /// The most messages, 1 to 500.
    pub limit: usize,
    /// Only what comes after this, in `order`. Taken from an earlier [`Page`].
    pub cursor: Option<Cursor>,
    /// Whether the newest or the oldest comes first.
    pub order: Order,
}

/// In which order messages are listed: that in which the log learnt of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first. With a [`Cursor`], no message is left out that is written later.
    Oldest,
}

/// A place in a list of messages. As text, for a URL, it is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor(pub i64);

/// A part of a list of messages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The messages, without their events.
    pub messages: Vec<LoggedMessage>,
    /// Where the next page begins. With [`Order::Oldest`] it is there also at the end of the list, so that
    /// whoever asks again gets what came since. `None`: with [`Order::Newest`], there are no more.
    pub next: Option<Cursor>,
}

/// A message that was found by the provider's id.
#[derive(Debug, Clone, PartialEq)]
pub struct SentMessage {
    /// The message.
    pub id: MessageId,
    /// The recipient to whom the provider sent it under that id. `None` if the log keeps states only.
    pub identity: Option<Identity>,
    /// What a client wants to be told of it, sealed. `None` if nobody does, or the log keeps states only.
    pub callback: Option<String>,
}

/// What the log knows of the callbacks that a client asked for with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedCallback {
    /// The message is not in the log, or not yet.
    UnknownMessage,
    /// Nobody asked for any, or the log keeps states only.
    NotWanted,
    /// This is what the client wants to be told, sealed.
    Wanted(String),
}

/// What a client was answered the last time that it had a message accepted under an id of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownAnswer {
    /// Whether the client said then what it says now.
    pub is_same: bool,
    /// What the answer said.
    pub answer: Map<String, Value>,
}

/// How long the log keeps what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages that were created earlier than this long ago are removed. `None`: no age is too great.
    pub age: Option<Duration>,
    /// The most bytes that the log may take; beyond them the oldest messages are removed. `None`: no bound.
    pub max_bytes: Option<u64>,
}

/// Why the log did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// It cannot be reached now, or takes nothing now. Trying again may help.
    #[error("the message log cannot be used now: {0}")]
    Unavailable(String),
    /// It took longer than it may.
    #[error("the message log did not answer within {0:?}")]
    TimedOut(Duration),
    /// It cannot be used until somebody mends it, and how.
    #[error("the message log {0}")]
    Broken(String),
}

impl LogError {
    /// It was opened with another key than the one that its hashes were made with.
    fn other_key() -> Self {
        Self::Broken(
            "contains hashes made with another log.hash_key, so no rows would be found: set the previous key"
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
            allowed: None,
            since: None,
            until: None,
            limit: 50,
            cursor: None,
            order: Order::Newest,
        }
    }
}

impl LoggedState {
    /// The state that `event` leads to. `None` if it says nothing about that.
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
