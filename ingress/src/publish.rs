//! Handing messages to the broker, and measuring it.

use postern_broker::{Address, Broker, BrokerError, Envelope, QueueName};
use postern_service::{metrics::PublishMetrics, telemetry::LineLimit, traces::Scope};
use std::{collections::BTreeSet, sync::Arc, time::Instant};
use tracing::Level;

/// The status of the answer to a message that was not stored.
const UNAVAILABLE: u16 = 503;
/// The status of the answer to one that the broker will never accept.
const NEVER_ACCEPTED: u16 = 413;

/// Publishes to one broker.
#[derive(Debug, Clone)]
pub(crate) struct MeteredPublisher {
    broker: Arc<dyn Broker>,
    metrics: PublishMetrics,
    /// Of what was not stored: while the broker is away, anybody can cause them.
    lines: LineLimit,
}

impl MeteredPublisher {
    /// One to `broker`.
    pub(crate) fn new(broker: Arc<dyn Broker>, metrics: PublishMetrics) -> Self {
        Self { broker, metrics, lines: LineLimit::new("messages that were not stored", Level::WARN) }
    }

    /// Makes the metrics of each of `queues` appear from the start.
    pub(crate) fn declare(&self, queues: &[QueueName]) {
        queues.iter().for_each(|queue| self.metrics.declare_queue(queue));
    }

    /// Publishes `messages`, in order, with spans below `scope`; `Ok` when all are stored.
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
                    tracing::error!(queue, why, "not stored: the broker will never accept this message");
                }
            }
            Err(error) => {
                if self.lines.admits(UNAVAILABLE) {
                    tracing::warn!(queue, %error, "not stored; answered with 503");
                }
            }
        }
        published
    }

    /// Publishes `message`, which helps behind others that are stored, and may be missing.
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
