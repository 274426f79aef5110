//! Writes the message log from the queue `postern.log`, and removes entries that are too old.
//!
//! A message is acknowledged when its events are committed to the log. The log recognizes an event that it
//! has already, so a crash in between repeats a write and changes nothing. While the log cannot be written,
//! messages wait in the queue, which drops its oldest ones at its limit. Nothing else waits for the log. An event
//! that the log will never accept is left out, so that it does not hold up the others.

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
use std::{collections::HashMap, slice, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

/// The most messages that wait here for their batch.
const PREFETCH: u16 = 512;
/// A batch is written as soon as it has this many events.
const MAX_EVENTS: usize = 400;
/// A batch is written as soon as its messages have this many bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A batch is written at the latest this long after its first message.
const GATHER: Duration = Duration::from_millis(20);
/// How long the last acknowledgements may take to reach the broker.
const CLOSES: Duration = Duration::from_secs(2);
/// How often entries that are too old are looked for.
const EXPIRES: Duration = Duration::from_secs(30);
/// The pause between two steps of removing, so that others can write.
const BETWEEN_STEPS: Duration = Duration::from_millis(20);

/// The pauses between the attempts to write.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(10)).with_jitter()
}

/// Writes the messages of `postern.log` to the message log.
#[derive(Debug)]
pub(crate) struct Recorder {
    open: OpenLog,
    metrics: LogMetrics,
    /// Limits the log lines about messages that cannot be read: any application can publish them.
    lines: LineLimit,
}

/// Messages that are written and acknowledged together.
#[derive(Debug, Default)]
struct QueuedBatch {
    /// The messages, without their bodies.
    deliveries: Vec<Delivery>,
    events: Vec<Event>,
    bytes: usize,
}

impl Recorder {
    pub(crate) fn new(open: OpenLog, metrics: LogMetrics) -> Self {
        let lines = LineLimit::new("messages for the message log that cannot be read", tracing::Level::WARN);
        Self { open, metrics, lines }
    }

    /// Records until the drain begins. Messages that are not written then are requeued.
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

    /// Records the messages of `consumer`, and gathers the next batch while one is written. `None`: the log
    /// could not be written for too long. If cancelled, it drops the deliveries that are not acknowledged.
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
                    tracing::warn!(
                        message_id,
                        error = why,
                        "message cannot be read, not written to the message log"
                    );
                }
            }
        }
        batch.bytes += delivery.envelope.body.len();
        batch.deliveries.push(delivery.emptied());
    }

    /// Writes `events` until the log has them. If it does not accept one of them, each is written by itself, and
    /// those that it does not accept are left out. `false`: it did not take them within [`RECORD_WITHIN`].
    async fn write(&self, events: &mut [Event]) -> bool {
        let begun = Instant::now();
        if let Ok(written) = self.write_together(events, begun).await {
            return written;
        }
        for event in events {
            let (message_id, kind) = (event.message_id, event.event.as_str());
            let written = self.write_together(slice::from_mut(event), begun).await;
            match written {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => tracing::error!(
                    %message_id, event = kind, %error,
                    "event not written to the message log, which does not accept it"
                ),
            }
        }
        true
    }

    /// Writes `events` in one step, until the log has them. `false`: it did not take them within
    /// [`RECORD_WITHIN`] after `begun`.
    ///
    /// # Errors
    /// The log does not accept one of them.
    async fn write_together(&self, events: &mut [Event], begun: Instant) -> Result<bool, LogError> {
        let mut backoff = backoff();
        loop {
            self.metrics.lag.set(lag(events));
            let written = self.try_write(events).await;
            if let Err(rejected @ LogError::Rejected(_)) = written {
                self.metrics.failures.inc();
                return Err(rejected);
            }
            self.open.note_written(&written);
            let Err(error) = written else {
                self.metrics.written.inc_by(events.len() as u64);
                return Ok(true);
            };
            self.metrics.failures.inc();
            let pause = backoff.pause();
            if begun.elapsed() + pause > RECORD_WITHIN {
                tracing::warn!(%error, "message log unavailable: not written, requeued");
                return Ok(false);
            }
            let seconds = pause.as_secs_f64();
            tracing::warn!(%error, seconds, "message log unavailable: not written, retrying");
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

    /// Finds the message of each event from a delivery report that named only the provider's id: in the
    /// same batch, or in the log. An event of an unknown message stays unchanged.
    async fn find_messages(&self, events: &mut [Event]) -> Result<(), LogError> {
        let mut sent: HashMap<(BackendName, String), MessageId> = HashMap::new();
        for event in events {
            let Some(external_id) = &event.external_id else { continue };
            // A provider may report `sent`, too. That is not an attempt of ours: its message must be found.
            if event.event == EventKind::Sent && event.attempt.is_some() {
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

/// The events in `envelope`, a message of `postern.log`.
///
/// # Errors
/// Why they cannot be read.
fn read(envelope: &Envelope) -> Result<Vec<Event>, String> {
    let text = |name| envelope.text_header(name).unwrap_or_default();
    let address = Address::parse(text(header::EXCHANGE), text(header::ROUTING_KEY));
    let address = address.ok_or("it did not come from an exchange of Postern")?;
    events(&address, envelope).map_err(|malformed| malformed.to_string())
}

/// How long ago the earliest of `events` happened, in seconds. Events with a provider's time do not count.
fn lag(events: &[Event]) -> f64 {
    let ours = |event: &&Event| event.attempt.is_some() || event.event == EventKind::Accepted;
    let first = events.iter().filter(ours).map(|event| event.at).min();
    first.map_or(0.0, |at| clock::now().duration_since(at).as_secs_f64().max(0.0))
}

/// Removes from `log` what `retention` does not keep, in small steps, until the drain begins. Several
/// processes may do so at the same time.
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

#[cfg(test)]
mod tests;
