//! The message log in PostgreSQL, for several processes at once.
//!
//! Writers take turns: each transaction that writes holds an advisory lock until it is committed. So the
//! numbers of messages become visible in increasing order, and a reader that continues from a number misses
//! none.
//!
//! [`forget`](super::MessageLog::forget) deletes rows and then vacuums the tables: the space of the dead rows
//! is free then, and is overwritten by new rows. Until then, the bytes are still there; so they are in
//! PostgreSQL's write-ahead log, its archive, replicas' files and backups.

mod complete;
mod connection;
mod erase;
mod failure;
mod query;
mod record;
mod row;
mod schema;
mod tell;
mod tls;

use super::{
    Keeping, KnownAnswer, LogError, LoggedCallback, LoggedMessage, MessageLog, MessageQuery, Page, Retention,
    SentMessage,
};
use async_trait::async_trait;
use connection::ConnectionPool;
use postern_shared::{
    event::Event,
    message::{BackendName, Identity, MessageId},
    value::Secret,
};
use std::fmt;
use tokio::sync::watch;

/// A message log in the schema `postern` of a PostgreSQL database.
pub struct PostgresLog {
    keeping: Keeping,
    connections: ConnectionPool,
    changes: watch::Sender<u64>,
}

impl PostgresLog {
    /// The log in the database at `url`, `postgres://user:password@host:port/database`, with
    /// `?sslmode=disable`, `prefer` or `require`. The first operation connects and creates the schema;
    /// [`check`](Self::check) does that at once.
    ///
    /// # Errors
    /// [`LogError::Broken`] if `url` is not of this form, or the platform's certificates cannot be read.
    pub fn new(url: &Secret, keeping: Keeping) -> Result<Self, LogError> {
        let connections = ConnectionPool::new(url, keeping.clone())?;
        Ok(Self { keeping, connections, changes: watch::Sender::new(0) })
    }

    /// Connects, and creates the schema if it does not exist.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] if the server does not answer; [`LogError::Broken`] if it rejects Postern's
    /// login, the schema is of a newer version, or the hashes in it were made with another key.
    pub async fn check(&self) -> Result<(), LogError> {
        self.connections.run(async |_| Ok(())).await
    }
}

#[async_trait]
impl MessageLog for PostgresLog {
    async fn record(&self, events: &[Event]) -> Result<(), LogError> {
        if events.is_empty() {
            return Ok(());
        }
        self.connections.run(async |session| record::record(session, &self.keeping, events).await).await?;
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    async fn message(&self, id: MessageId) -> Result<Option<LoggedMessage>, LogError> {
        self.connections.run(async |session| query::message(session, id).await).await
    }

    async fn messages(&self, query: &MessageQuery) -> Result<Page, LogError> {
        self.connections.run(async |session| query::messages(session, &self.keeping, query).await).await
    }

    async fn ids(&self, first: MessageId, last: MessageId, most: usize) -> Result<Vec<MessageId>, LogError> {
        self.connections.run(async |session| query::ids(session, first, last, most).await).await
    }

    async fn sent_as(
        &self,
        backend: &BackendName,
        external_id: &str,
    ) -> Result<Option<SentMessage>, LogError> {
        self.connections.run(async |session| query::sent_as(session, backend, external_id).await).await
    }

    async fn callback(&self, id: MessageId) -> Result<LoggedCallback, LogError> {
        self.connections.run(async |session| query::callback(session, id).await).await
    }

    async fn first_answer(&self, id: MessageId, fingerprint: &str) -> Result<Option<KnownAnswer>, LogError> {
        let ask = async |session: &mut _| query::first_answer(session, &self.keeping, id, fingerprint).await;
        self.connections.run(ask).await
    }

    async fn forget(&self, identity: &Identity) -> Result<u64, LogError> {
        let forms = self.keeping.forms(identity);
        let mut erased = 0;
        loop {
            let step = self.connections.run(async |session| erase::forget(session, &forms).await).await?;
            if step == 0 {
                break;
            }
            erased += step;
            self.changes.send_modify(|changes| *changes += 1);
        }
        // Also if no row was left: an earlier run may have ended between the rows and this.
        self.connections.run_within(erase::VACUUM, async |session| erase::vacuum(session).await).await?;
        Ok(erased)
    }

    async fn expire(&self, retention: &Retention) -> Result<u64, LogError> {
        self.connections.run(async |session| erase::expire(session, retention).await).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        self.connections.close();
    }
}

impl fmt::Debug for PostgresLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLog").finish_non_exhaustive()
    }
}
