//! Browsing the messages that wait in a queue. The rows are read by a connection of its own; the writer says
//! which of them wait, and replaces them.

use super::{
    EmbeddedBroker,
    op::{Op, Waiting},
    record::StoredMessage,
    store::{Chunk, Range, read_past_damage},
    within,
    write::{Replace, Write},
};
use crate::sqlite;
use async_trait::async_trait;
use postern_broker::{BrokerError, Browse, BrowsedMessage, QueueName, Replacement};
use rusqlite::Connection;
use std::{collections::VecDeque, path::Path, time::Duration};
use tokio::{sync::oneshot, task::spawn_blocking};

/// The most that is read at a time, in messages and in bytes.
const PAGE: (usize, u64) = (256, 1024 * 1024);

/// How long reading a page may take: for one message, a whole large file may have to be read.
const READING: Duration = Duration::from_secs(60);

/// A walk over the messages that wait in a queue.
#[derive(Debug)]
pub(super) struct StoreBrowse<'b> {
    broker: &'b EmbeddedBroker,
    queue: QueueName,
    index: usize,
    waiting: Waiting,
    /// The number of the next message to read.
    next: u64,
    page: VecDeque<BrowsedMessage>,
    /// The ids to look for, as a JSON array. `None`: all messages.
    named: Option<String>,
    /// `None` during a read and before the first one.
    connection: Option<Connection>,
    damage_is_told: bool,
}

impl<'b> StoreBrowse<'b> {
    /// Begins to browse `queue`.
    ///
    /// # Errors
    /// The queue does not exist, or the broker is closed.
    pub(super) async fn begin(
        broker: &'b EmbeddedBroker,
        queue: &QueueName,
        named: &[String],
    ) -> Result<Self, BrokerError> {
        let index = broker.known(queue)?;
        let (answer, answered) = oneshot::channel();
        let waiting = broker.ask(Op::Waiting(index, answer), answered).await?;
        // A list of texts can always be written as JSON.
        let named = (!named.is_empty()).then(|| serde_json::to_string(named).unwrap_or_default());
        let (queue, page) = (queue.clone(), VecDeque::new());
        Ok(Self {
            broker,
            queue,
            index,
            waiting,
            next: 0,
            page,
            named,
            connection: None,
            damage_is_told: false,
        })
    }

    async fn read(&mut self) -> Result<(), BrokerError> {
        let connection = self.connection.take();
        let (path, named) = (self.broker.path.clone(), self.named.clone());
        let range = Range { id: self.waiting.id, from: self.next, to: self.waiting.tail };
        let read = spawn_blocking(move || {
            let connection = match connection {
                Some(connection) => connection,
                None => sqlite::read_beside(Path::new(&path)).map_err(|error| error.explain(path))?,
            };
            let chunk = read_past_damage(&connection, range, PAGE, named.as_deref());
            Ok::<_, BrokerError>((connection, chunk))
        });
        let (connection, chunk) = within(READING, read).await?.map_err(|_| self.broker.gone())??;
        let Chunk { messages, next, unreadable } = chunk;
        if let Some((numbers, error)) = unreadable
            && !std::mem::replace(&mut self.damage_is_told, true)
        {
            tracing::error!(
                queue = self.queue.as_str(),
                first = numbers.first(),
                %error,
                "stored messages cannot be read from the disk and are left out: check the disk"
            );
        }
        (self.connection, self.next) = (Some(connection), next);
        let waits = |message: &StoredMessage| !self.waiting.out.contains(&message.number);
        let shown = |StoredMessage { number, envelope, .. }| BrowsedMessage {
            number,
            envelope: envelope.unwrap_or_else(|spoiled| spoiled.dead_letter(self.queue.as_str())),
        };
        self.page.extend(messages.into_iter().filter(waits).map(shown));
        Ok(())
    }
}

#[async_trait]
impl Browse for StoreBrowse<'_> {
    fn waiting(&self) -> u64 {
        self.waiting.messages
    }

    async fn next(&mut self) -> Result<Option<BrowsedMessage>, BrokerError> {
        while self.page.is_empty() && self.next < self.waiting.tail {
            self.read().await?;
        }
        Ok(self.page.pop_front())
    }

    async fn replace(&mut self, replacements: Vec<Replacement>) -> Result<Vec<u64>, BrokerError> {
        let stored = |Replacement { number, messages }| Ok((number, self.broker.to_be_stored(messages)?));
        let messages = replacements.into_iter().map(stored).collect::<Result<_, BrokerError>>()?;
        let replace = Write::Replace(Replace { queue: self.index, messages });
        self.broker.write(replace, self.broker.publish_timeout).await
    }
}
