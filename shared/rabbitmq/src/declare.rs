//! Declares every exchange and queue.

use super::endpoint::{Link, NOT_FOUND, PRECONDITION_FAILED, code, late};
use lapin::{
    Channel, Error, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use postern_broker::{
    Address, LogRoute, QueueName, Topology,
    topology::{
        BULK_CALLBACKS, CALLBACKS, CONTROL, DEAD, HEALTH, INBOUND, LOG, OUTBOUND, Overflow, QUARANTINE,
        QueueLimit, REPORTS, RETURN, UNROUTED,
    },
};
use postern_shared::message::Priority;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;
use tracing::warn;

/// How long the broker may take for one declaration. A new quorum queue takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a message may be delivered before a quorum queue drops it: practically without limit.
///
/// By default, RabbitMQ 4 drops a message after 20 deliveries: a gateway that crashes or is restarted 20 times
/// would lose what it held. `-1` means "never" only from 4.0 on; 3.10 accepts it without that meaning. A
/// value that depends on the broker's version would no longer match after an upgrade; this one means the same
/// to all versions.
const DELIVERY_LIMIT: i64 = i32::MAX as i64;

/// A stream: each of its consumers reads all records.
struct Stream {
    name: &'static str,
    /// The most that it keeps, in bytes. Beyond, the oldest records are removed, a file at a time.
    max_bytes: i64,
    /// The size of one of its files, in bytes.
    file_bytes: i64,
    /// What does not work without the stream, as a text for the remark.
    without: &'static str,
}

/// Some 300,000 commands.
const ORDERS: Stream = Stream {
    name: CONTROL,
    max_bytes: 64 * 1024 * 1024,
    file_bytes: 8 * 1024 * 1024,
    without: "backends cannot be paused and messages cannot be cancelled",
};
/// A record is valid for less than a minute: this is the least space that keeps the latest records of many
/// processes.
const BACKENDS_HEALTH: Stream = Stream {
    name: HEALTH,
    max_bytes: 4 * 1024 * 1024,
    file_bytes: 1024 * 1024,
    without: "GET /v1/backends shows a backend that is paused in another process as unserved",
};

/// Declares the topology repeatedly, and remembers what the broker has declared differently.
#[derive(Debug, Default)]
pub(super) struct Declarer {
    /// Whether [`QUARANTINE`], the queue of an earlier version, is known to be gone.
    retired: bool,
    /// Whether [`LOG`] was looked for, since this process has no message log.
    log_looked_for: bool,
    /// Queues and exchanges that somebody else declared differently and that are used unchanged, with the remark
    /// on each.
    foreign: BTreeMap<String, String>,
}

impl Declarer {
    /// What is used although it differs from the topology, one sentence each.
    pub(super) fn remarks(&self) -> Vec<String> {
        self.foreign.values().cloned().collect()
    }

    /// Declares everything in `topology`. What exists already is left unchanged.
    ///
    /// # Errors
    /// The first declaration that failed, and why.
    pub(super) async fn run(&mut self, link: &Link, topology: &Topology) -> lapin::Result<()> {
        let mut pass = DeclarePass { link, channel: None, foreign: &mut self.foreign };
        let mut done = pass.everything(topology).await;
        if done.is_ok() && !self.retired {
            done = pass.retire(QUARANTINE).await.map(|retired| self.retired = retired);
        }
        if done.is_ok() && topology.log == LogRoute::None && !self.log_looked_for {
            done = pass.look_for_log().await.map(|()| self.log_looked_for = true);
        }
        if let Some(channel) = pass.channel {
            super::endpoint::close_channel(&channel).await;
        }
        done
    }
}

/// One declaration of the whole topology.
struct DeclarePass<'a> {
    link: &'a Link,
    channel: Option<Channel>,
    foreign: &'a mut BTreeMap<String, String>,
}

impl DeclarePass<'_> {
    async fn everything(&mut self, topology: &Topology) -> lapin::Result<()> {
        // A message that no queue is bound for goes to the queue for unrouted messages.
        self.exchange(UNROUTED, ExchangeKind::Fanout, &[]).await?;
        let otherwise = [("alternate-exchange", text(UNROUTED))];
        for name in [INBOUND, REPORTS, CALLBACKS, DEAD] {
            self.exchange(name, ExchangeKind::Topic, &otherwise).await?;
        }
        for name in [OUTBOUND, RETURN] {
            self.exchange(name, ExchangeKind::Direct, &otherwise).await?;
        }
        for queue in topology.queues() {
            let name = queue.name.as_str();
            self.queue(name, queue.limit.map(limit).as_ref().map_or(&[], |limit| limit)).await?;
            self.bind(name, RETURN, name).await?;
            match name {
                INBOUND | REPORTS | CALLBACKS | DEAD => self.bind(name, name, "#").await?,
                UNROUTED => self.bind(name, name, "").await?,
                BULK_CALLBACKS => {}
                LOG => self.bind_log(name, topology).await?,
                _ if queue.name.holds_polls() => {}
                _ => {
                    let key = name.strip_prefix(OUTBOUND).unwrap_or(name).trim_start_matches('.');
                    self.bind(name, OUTBOUND, key).await?;
                }
            }
        }
        for delay in &topology.delays {
            self.wait(*delay, &otherwise).await?;
        }
        self.stream(&ORDERS).await?;
        self.stream(&BACKENDS_HEALTH).await
    }

    /// Binds the message log's queue to what goes to the applications and the backends, to the reports and to
    /// the dead letters. Retries come by other exchanges, so the log does not get them.
    async fn bind_log(&mut self, name: &str, topology: &Topology) -> lapin::Result<()> {
        for exchange in [INBOUND, REPORTS, DEAD] {
            self.bind(name, exchange, "#").await?;
        }
        for backend in &topology.backends {
            for lane in [Priority::Normal, Priority::Bulk] {
                let key = Address::Outbound(backend.clone(), lane).routing_key();
                self.bind(name, OUTBOUND, &key).await?;
            }
        }
        Ok(())
    }

    /// Declares `stream`. If the broker has no streams, or does not let this process declare one, everything
    /// else still works, and there is a remark.
    async fn stream(&mut self, stream: &Stream) -> lapin::Result<()> {
        let arguments = [
            ("x-queue-type", text("stream")),
            ("x-max-length-bytes", AMQPValue::LongLongInt(stream.max_bytes)),
            ("x-stream-max-segment-size-bytes", AMQPValue::LongLongInt(stream.file_bytes)),
        ];
        let known = format!("queue {}", stream.name);
        let declared = match self.declare_queue(stream.name, table(&arguments), &known).await {
            Ok(()) => self.bind(stream.name, RETURN, stream.name).await,
            refused => refused,
        };
        match declared {
            Err(error) if matches!(error.kind(), ErrorKind::ProtocolError(_)) && self.link.is_up() => {
                let remark = format!(
                    "{known} cannot be declared as a stream, so {}: {}; enable RabbitMQ's feature flag \
                     stream_queue, or give this user the permission",
                    stream.without,
                    refusal(&error)
                );
                if self.foreign.insert(known, remark.clone()).as_ref() != Some(&remark) {
                    warn!("{remark}");
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Deletes a queue that only earlier versions used, unless it holds messages or has consumers. Returns
    /// whether the queue is gone.
    async fn retire(&mut self, queue: &str) -> lapin::Result<bool> {
        let unused = |found: Option<[u32; 2]>| found.is_none_or(|found| found == [0, 0]);
        match self.look(queue).await? {
            None => return Ok(true),
            found if !unused(found) => return Ok(false),
            Some(_) => {}
        }
        // A message that is published to it from here on becomes unrouted, and is not lost with the queue.
        let channel = self.channel().await?;
        let unbound = channel.queue_unbind(queue.into(), RETURN.into(), queue.into(), FieldTable::default());
        self.answer(unbound).await?;
        if !unused(self.look(queue).await?) {
            self.bind(queue, RETURN, queue).await?;
            return Ok(false);
        }
        let channel = self.channel().await?;
        self.answer(channel.queue_delete(queue.into(), QueueDeleteOptions::default())).await?;
        Ok(true)
    }

    /// Warns if there is a queue for the message log although this process has no log: it fills up, unless
    /// another process consumes from it.
    async fn look_for_log(&mut self) -> lapin::Result<()> {
        if let Some([_, 0]) = self.look(LOG).await? {
            let remark = format!(
                "queue {LOG} was made for a message log and nobody consumes from it: turn the message log on \
                 (log.url, or log.messages = true), or delete the queue, which drops its events"
            );
            warn!("{remark}");
            self.foreign.insert(format!("queue {LOG}"), remark);
        }
        Ok(())
    }

    /// How many messages wait in `queue`, and how many consumers it has. `None` if the queue does not exist.
    async fn look(&mut self, queue: &str) -> lapin::Result<Option<[u32; 2]>> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await?;
        match self.answer(channel.queue_declare(queue.into(), passive, FieldTable::default())).await {
            Ok(found) => Ok(Some([found.message_count(), found.consumer_count()])),
            Err(error) if code(&error) == Some(NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Declares an exchange and a queue in which messages wait for `delay`.
    ///
    /// The exchange is a fanout, so that the routing key can name the queue to return to. After its wait, a
    /// message keeps that key and is routed by it in `postern.return`. The default exchange could do that, too,
    /// but has no alternate exchange: retries to a deleted queue would stay in the wait queue and, from 32 of them
    /// on, hold up all others.
    async fn wait(&mut self, delay: Duration, otherwise: &[(&str, AMQPValue)]) -> lapin::Result<()> {
        let name = QueueName::wait(delay);
        let milliseconds = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let arguments = [
            ("x-message-ttl", AMQPValue::LongLongInt(milliseconds)),
            ("x-dead-letter-exchange", text(RETURN)),
            // Only these two together move a message so that no crash can lose it.
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
        ];
        self.exchange(name.as_str(), ExchangeKind::Fanout, otherwise).await?;
        self.queue(name.as_str(), &arguments).await?;
        self.bind(name.as_str(), name.as_str(), "").await
    }

    async fn exchange(
        &mut self,
        name: &str,
        kind: ExchangeKind,
        arguments: &[(&str, AMQPValue)],
    ) -> lapin::Result<()> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let passive = ExchangeDeclareOptions { passive: true, ..durable };
        let arguments = table(arguments);
        let known = format!("exchange {name}");
        if self.foreign.contains_key(&known) {
            let channel = self.channel().await?;
            let check = channel.exchange_declare(name.into(), kind.clone(), passive, FieldTable::default());
            match self.answer(check).await {
                Err(error) if code(&error) == Some(NOT_FOUND) => drop(self.foreign.remove(&known)),
                other => return other,
            };
        }
        let channel = self.channel().await?;
        match self.answer(channel.exchange_declare(name.into(), kind, durable, arguments)).await {
            Err(error) if is_usable(&error) => self.accept(known, &error),
            other => return other,
        }
        Ok(())
    }

    async fn queue(&mut self, name: &str, arguments: &[(&str, AMQPValue)]) -> lapin::Result<()> {
        let mut all = table(arguments);
        all.insert("x-queue-type".into(), text("quorum"));
        all.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
        self.declare_queue(name, all, &format!("queue {name}")).await
    }

    async fn declare_queue(&mut self, name: &str, arguments: FieldTable, known: &str) -> lapin::Result<()> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let passive = QueueDeclareOptions { passive: true, ..durable };
        if self.foreign.contains_key(known) {
            let channel = self.channel().await?;
            let check = channel.queue_declare(name.into(), passive, FieldTable::default());
            match self.answer(check).await {
                Err(error) if code(&error) == Some(NOT_FOUND) => drop(self.foreign.remove(known)),
                other => return other.map(drop),
            };
        }
        let channel = self.channel().await?;
        match self.answer(channel.queue_declare(name.into(), durable, arguments)).await {
            Err(error) if is_usable(&error) => self.accept(known.to_owned(), &error),
            other => return other.map(drop),
        }
        Ok(())
    }

    async fn bind(&mut self, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
        let channel = self.channel().await?;
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        self.answer(channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none)).await
    }

    fn accept(&mut self, known: String, error: &Error) {
        let remark = format!(
            "{known} exists with other properties and is used unchanged; to change it, consume or move its \
             messages, then delete it, and it is declared again: {}",
            refusal(error)
        );
        warn!("{remark}");
        self.foreign.insert(known, remark);
    }

    /// The last channel, or a new one if the broker closed that.
    async fn channel(&mut self) -> lapin::Result<Channel> {
        if let Some(channel) = self.channel.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = self.link.channel().await?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    async fn answer<T>(&mut self, asked: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
        let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()));
        if answer.is_err() {
            // The broker closes the channel when it refuses, but lapin notices only a moment later.
            self.channel = None;
        }
        answer
    }
}

/// The broker's text in `error`.
fn refusal(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        _ => error.to_string(),
    }
}

/// Whether `error` says that the queue or exchange exists with other arguments, but is as durable as asked for.
fn is_usable(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) if refusal.get_id() == PRECONDITION_FAILED => {
            let why = refusal.get_message().as_str();
            why.contains("inequivalent arg")
                && !["'durable'", "'auto_delete'", "'exclusive'"].iter().any(|flag| why.contains(flag))
        }
        _ => false,
    }
}

fn limit(limit: QueueLimit) -> [(&'static str, AMQPValue); 2] {
    let overflow = match limit.overflow {
        Overflow::DropOldest => "drop-head",
        Overflow::Refuse => "reject-publish",
    };
    let messages = i64::try_from(limit.messages).unwrap_or(i64::MAX);
    [("x-max-length", AMQPValue::LongLongInt(messages)), ("x-overflow", text(overflow))]
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn table(arguments: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    table
}
