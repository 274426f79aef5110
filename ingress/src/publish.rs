//! Publishing messages to the broker, with metrics.

use postern_broker::{Address, Broker, BrokerError, Envelope, QueueName};
use postern_service::{metrics::PublishMetrics, telemetry::LineLimit, traces::Scope};
use std::{collections::BTreeSet, sync::Arc, time::Instant};
use tracing::Level;

/// The status by which the log lines about messages that were not stored are limited.
const UNAVAILABLE: u16 = 503;
/// The same for messages that the broker will never accept. `/v1/messages` answers with this status; a provider gets
/// 503, so that it repeats the message until the broker's limit has been raised.
const NEVER_ACCEPTED: u16 = 413;

/// Publishes to one broker, with metrics.
#[derive(Debug, Clone)]
pub(crate) struct MeteredPublisher {
    broker: Arc<dyn Broker>,
    metrics: PublishMetrics,
    /// Limits the log lines about messages that were not stored: while the broker is unavailable, anybody can
    /// cause them.
    lines: LineLimit,
}

impl MeteredPublisher {
    /// A publisher to `broker`.
    pub(crate) fn new(broker: Arc<dyn Broker>, metrics: PublishMetrics) -> Self {
        Self { broker, metrics, lines: LineLimit::new("messages that were not stored", Level::WARN) }
    }

    /// Makes the metrics of each of `queues` appear from the start.
    pub(crate) fn declare(&self, queues: &[QueueName]) {
        queues.iter().for_each(|queue| self.metrics.declare_queue(queue));
    }

    /// Publishes `messages`, in order, with spans below `scope`. Returns `Ok` once all are stored.
    pub(crate) async fn publish(
        &self,
        mut messages: Vec<(Address, Envelope)>,
        scope: &Scope,
    ) -> Result<(), BrokerError> {
        let sends = scope.sends(&mut messages);
        let queues: BTreeSet<_> = messages.iter().map(|(address, _)| address.queue()).collect();
        let start = Instant::now();
        let published = self.broker.publish(messages).await;
        sends.end(published.as_ref().copied());
        for queue in &queues {
            self.metrics.published(queue, published.is_ok(), start.elapsed().as_secs_f64());
        }
        let queue = queues.first().map(QueueName::as_str);
        match &published {
            Ok(()) => {}
            Err(BrokerError::Refused(why)) => {
                if self.lines.admits(NEVER_ACCEPTED) {
                    tracing::error!(
                        queue,
                        error = why,
                        "not stored: the broker will never accept this message"
                    );
                }
            }
            Err(error) => {
                if self.lines.admits(UNAVAILABLE) {
                    tracing::warn!(queue, %error, "publish not confirmed; answered with 503");
                }
            }
        }
        published
    }

    /// Publishes `message` after the messages that it is about are stored. A failure is only logged:
    /// `message` may be missing.
    pub(crate) async fn publish_behind(&self, message: (Address, Envelope)) {
        let (queue, start) = (message.0.queue(), Instant::now());
        let published = self.broker.publish(vec![message]).await;
        self.metrics.published(&queue, published.is_ok(), start.elapsed().as_secs_f64());
        if let Err(error) = published
            && self.lines.admits(None)
        {
            tracing::warn!(%queue, %error, "not written to the message log: a repeated request may be treated as a new message");
        }
    }

    /// The broker.
    pub(crate) fn broker(&self) -> &dyn Broker {
        self.broker.as_ref()
    }
}
