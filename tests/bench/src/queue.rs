//! The benchmark's own access to the broker: it fills queues fast and empties them.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions},
    types::FieldTable,
};
use std::time::{Duration, Instant};

/// How many confirms are outstanding at a time.
const IN_FLIGHT: usize = 1024;
/// How long a queue may take to become empty.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a virtual host.
#[derive(Debug)]
pub(crate) struct Queues {
    _connection: Connection,
    channel: Channel,
}

impl Queues {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { _connection: connection, channel })
    }

    /// Publishes `messages` outbound messages, each with its own id.
    pub(crate) async fn fill(&self, exchange: &str, key: &str, messages: u64) -> Result<()> {
        let mut confirms = FuturesUnordered::new();
        for number in 0..messages {
            if confirms.len() >= IN_FLIGHT {
                let confirm: Option<lapin::Result<lapin::Confirmation>> = confirms.next().await;
                ensure!(confirm.context("a confirm")??.is_ack(), "{exchange} refused a message");
            }
            let body = outbound(number);
            let properties = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions::default();
            let publish = self.channel.basic_publish(exchange.into(), key.into(), options, &body, properties);
            confirms.push(publish.await?);
        }
        while let Some(confirm) = confirms.next().await {
            ensure!(confirm?.is_ack(), "{exchange} refused a message");
        }
        Ok(())
    }

    /// Empties a queue.
    pub(crate) async fn purge(&self, queue: &str) -> Result<()> {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
        Ok(())
    }

    /// How many messages wait in `queue`.
    pub(crate) async fn depth(&self, queue: &str) -> Result<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
        Ok(found.message_count())
    }

    /// Waits until `messages` messages wait in `queue`.
    pub(crate) async fn depth_becomes(&self, queue: &str, messages: u64) -> Result<()> {
        let start = Instant::now();
        loop {
            let depth = self.depth(queue).await?;
            if u64::from(depth) == messages {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "{depth} messages wait in {queue}, not {messages}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The body of an outbound message of usual size.
pub(crate) fn outbound(number: u64) -> Vec<u8> {
    let id = uuid::Uuid::now_v7();
    let now = jiff::Timestamp::now();
    format!(
        r#"{{"id":"{id}","backend":"bench","identities":["+1555{number:07}"],"text":"{TEXT}","context":{{}},"priority":"normal","created_at":"{now}","expires_at":null,"attempt":1}}"#
    )
    .into_bytes()
}

/// The text of every message.
pub(crate) const TEXT: &str = "Your appointment is on Monday at nine. Answer 1 to confirm.";
