//! Writing the message log: from the queue `postern.log` into the log, and out of the log what is too old.
//!
//! A message is acknowledged when the log has committed what it says, and the log knows an event that it has
//! already: a crash in between repeats a write and changes nothing. While the log cannot be written, messages
//! wait in the queue, which drops its oldest at its bound. Nothing else waits for the log.

use crate::{drain::Drain, lease::RECORD_WITHIN};
use futures_util::future::join;
use postern_broker::{
    Address, Broker, BrokerError, Consumer, Delivery, Envelope, QueueName, events::events, header,
};
use postern_service::{
    message_log::{LogError, MessageLog, OpenLog, Retention},
    metrics::LogMetrics,
    telemetry::LineLimit,
};
use postern_shared::{
    backoff::Backoff,
    clock,
    event::{Event, EventKind},
    message::{BackendName, MessageId},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

/// The most messages that wait here for their batch.
const PREFETCH: u16 = 512;
/// A batch with this many events is written.
const MAX_EVENTS: usize = 400;
/// A batch whose messages had this many bytes is written.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A batch is written this long after its first message at the latest.
const GATHER: Duration = Duration::from_millis(20);
/// How long the last acknowledgements may take to reach the broker.
const CLOSES: Duration = Duration::from_secs(2);
/// How often what is too old is looked for.
const EXPIRES: Duration = Duration::from_secs(30);
/// The pause between two steps of removing, in which others write.
const BETWEEN_STEPS: Duration = Duration::from_millis(20);

/// The pauses between the attempts to write.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(10)).with_jitter()
}

/// Writes what comes by `postern.log` into the message log.
#[derive(Debug)]
pub(crate) struct Recorder {
    open: OpenLog,
    metrics: LogMetrics,
    /// Of messages that cannot be read: any application can publish them.
    lines: LineLimit,
}

/// What is written and acknowledged together.
#[derive(Debug, Default)]
struct QueuedBatch {
    /// Without their bodies.
    deliveries: Vec<Delivery>,
    events: Vec<Event>,
    bytes: usize,
}

impl Recorder {
    pub(crate) fn new(open: OpenLog, metrics: LogMetrics) -> Self {
        let lines = LineLimit::new("messages for the message log that cannot be read", tracing::Level::WARN);
        Self { open, metrics, lines }
    }

    /// Records until the drain begins. What is not written then comes again.
    ///
    /// # Errors
    /// The broker was closed.
    pub(crate) async fn run(self, broker: Arc<dyn Broker>, drain: Drain) -> Result<(), BrokerError> {
        let (queue, mut backoff) = (QueueName::log(), backoff());
        loop {
            let consumer = tokio::select! {
                biased;
                () = drain.started() => return Ok(()),
                consumer = broker.consume(&queue, PREFETCH) => consumer,
            };
            let ended = match consumer {
                Err(BrokerError::Closed) => return Err(BrokerError::Closed),
                Err(error) => {
                    tracing::warn!(%error, "cannot consume for the message log, retrying");
                    None
                }
                Ok(mut consumer) => {
                    let ended = tokio::select! {
                        biased;
                        () = drain.started() => Some(Ok(())),
                        ended = self.session(&mut consumer) => ended,
                    };
                    let _ = timeout(CLOSES, consumer.close()).await;
                    ended
                }
            };
            if let Some(ended) = ended {
                return ended;
            }
            tokio::select! {
                biased;
                () = drain.started() => return Ok(()),
                () = sleep(backoff.pause()) => {}
            }
        }
    }

    /// Records what `consumer` brings, and gathers the next batch while one is written. `None`: the log could
    /// not be written for too long. Cancelled, it lets go of what is not acknowledged.
    async fn session(&self, consumer: &mut Consumer) -> Option<Result<(), BrokerError>> {
        let mut gathered = self.gather(consumer).await;
        while let Some(batch) = gathered {
            let written;
            (written, gathered) = join(self.record(batch), self.gather(consumer)).await;
            if !written {
                return None;
            }
        }
        Some(Err(BrokerError::Closed))
    }

    /// Writes `batch` and acknowledges it. `false`: the log did not take it within [`RECORD_WITHIN`].
    async fn record(&self, mut batch: QueuedBatch) -> bool {
        let written = self.write(&mut batch.events).await;
        if written {
            batch.deliveries.into_iter().for_each(Delivery::ack);
        }
        written
    }

    /// The next batch, of at least one message. `None` once the broker is closed.
    async fn gather(&self, consumer: &mut Consumer) -> Option<QueuedBatch> {
        let mut batch = QueuedBatch::default();
        self.add(&mut batch, consumer.next().await?);
        let end = Instant::now() + GATHER;
        while batch.events.len() < MAX_EVENTS
            && batch.bytes < MAX_BYTES
            && let Ok(Some(delivery)) = timeout_at(end, consumer.next()).await
        {
            self.add(&mut batch, delivery);
        }
        Some(batch)
    }

    fn add(&self, batch: &mut QueuedBatch, delivery: Delivery) {
        match read(&delivery.envelope) {
            Ok(events) => batch.events.extend(events),
            Err(why) => {
                self.metrics.failures.inc();
                if self.lines.admits(None) {
                    let message_id = delivery.envelope.id().map(tracing::field::display);
                    tracing::warn!(message_id, why, "message cannot be read, not written to the message log");
                }
            }
        }
        batch.bytes += delivery.envelope.body.len();
        batch.deliveries.push(delivery.emptied());
    }

    /// Writes `events` until the log has them. `false`: it did not take them within [`RECORD_WITHIN`].
    async fn write(&self, events: &mut [Event]) -> bool {
        let (begun, mut backoff) = (Instant::now(), backoff());
        loop {
            self.metrics.lag.set(lag(events));
            let written = self.try_write(events).await;
            self.open.note_written(&written);
            let Err(error) = written else {
                self.metrics.written.inc_by(events.len() as u64);
                return true;
            };
            self.metrics.failures.inc();
            let pause = backoff.pause();
            if begun.elapsed() + pause > RECORD_WITHIN {
                tracing::warn!(%error, "the message log cannot be written: requeued");
                return false;
            }
            let seconds = pause.as_secs_f64();
            tracing::warn!(%error, seconds, "the message log cannot be written, retrying");
            sleep(pause).await;
        }
    }

    async fn try_write(&self, events: &mut [Event]) -> Result<(), LogError> {
        if events.is_empty() {
            return Ok(());
        }
        self.find_messages(events).await?;
        self.open.log.record(events).await
    }

    /// Gives those `events` their message of which a delivery report said only the provider's id of it: one of
    /// the same batch, or one that the log knows. Those of an unknown message stay as they are.
    async fn find_messages(&self, events: &mut [Event]) -> Result<(), LogError> {
        let mut sent: HashMap<(BackendName, String), MessageId> = HashMap::new();
        for event in events {
            let Some(external_id) = &event.external_id else { continue };
            if event.event == EventKind::Sent {
                sent.insert((event.backend.clone(), external_id.clone()), event.message_id);
            } else if event.message_id == MessageId::reported(&event.backend, external_id) {
                match sent.get(&(event.backend.clone(), external_id.clone())) {
                    Some(id) => event.message_id = *id,
                    None => {
                        if let Some(found) = self.open.log.sent_as(&event.backend, external_id).await? {
                            event.message_id = found.id;
                            event.identity = event.identity.take().or(found.identity);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What `envelope` of `postern.log` says that happened.
///
/// # Errors
/// Why it cannot be read.
fn read(envelope: &Envelope) -> Result<Vec<Event>, String> {
    let text = |name| envelope.text_header(name).unwrap_or_default();
    let address = Address::parse(text(header::EXCHANGE), text(header::ROUTING_KEY));
    let address = address.ok_or("it did not come from an exchange of Postern")?;
    events(&address, envelope).map_err(|malformed| malformed.to_string())
}

/// How long ago the first of `events` happened, in seconds. The times of providers do not count.
fn lag(events: &[Event]) -> f64 {
    let ours = |event: &&Event| event.attempt.is_some() || event.event == EventKind::Accepted;
    let first = events.iter().filter(ours).map(|event| event.at).min();
    first.map_or(0.0, |at| clock::now().duration_since(at).as_secs_f64().max(0.0))
}

/// Removes from `log` what `retention` does not keep, in small steps, until the drain begins. Several processes
/// may do it.
pub(crate) async fn expire(OpenLog { log, retention, .. }: OpenLog, drain: Drain) {
    let mut looks = interval(EXPIRES);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let look = async {
            looks.tick().await;
            expire_all(&*log, &retention).await;
        };
        tokio::select! {
            biased;
            () = drain.started() => return,
            () = look => {}
        }
    }
}

async fn expire_all(log: &dyn MessageLog, retention: &Retention) {
    let mut removed = 0;
    loop {
        match log.expire(retention).await {
            Ok(0) => break,
            Ok(some) => removed += some,
            Err(error) => {
                tracing::warn!(%error, "old messages cannot be removed from the message log, retrying");
                break;
            }
        }
        sleep(BETWEEN_STEPS).await;
    }
    if removed > 0 {
        tracing::info!(
            messages = removed,
            "messages removed from the message log: beyond log.retention or log.max_bytes"
        );
    }
}
