//! Publishing what became of a message, however long that takes.

use postern_broker::{Address, Broker, BrokerError, Delivery, Envelope, QueueName, header};
use postern_service::metrics::PublishMetrics;
use postern_shared::backoff::Backoff;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The pauses between the attempts to publish.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

/// Publishes to the broker, and counts it.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    broker: Arc<dyn Broker>,
    metrics: PublishMetrics,
}

impl Publisher {
    pub(crate) fn new(broker: Arc<dyn Broker>, metrics: PublishMetrics) -> Self {
        Self { broker, metrics }
    }

    /// Publishes `messages` until the broker confirms them all. `false`: the broker was closed.
    ///
    /// What was sent is not sent again meanwhile: its delivery stays leased. Only a broker that takes no
    /// messages until the [lease](crate::lease) ends leads to a double.
    pub(crate) async fn publish(&self, messages: Vec<(Address, Envelope)>) -> bool {
        let mut backoff = backoff();
        loop {
            match self.publish_once(messages.clone()).await {
                Ok(()) => return true,
                Err(BrokerError::Closed) => return false,
                Err(error) => {
                    let pause = backoff.pause();
                    tracing::warn!(%error, "the broker did not take what became of a message; trying again in {pause:?}");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Publishes `messages` and then acknowledges `delivery`; `delivery` goes back to its queue, and
    /// `false` is returned, if the broker was closed before it confirmed them.
    pub(crate) async fn settle(&self, delivery: Delivery, messages: Vec<(Address, Envelope)>) -> bool {
        let stored = messages.is_empty() || self.publish(messages).await;
        if stored {
            delivery.ack()
        } else {
            delivery.release()
        }
        stored
    }

    /// How many messages wait in `queue`; `None` if the broker does not say.
    pub(crate) async fn waiting_in(&self, queue: &QueueName) -> Option<u64> {
        self.broker.depth(queue).await.ok().map(|depth| depth.ready)
    }

    /// Publishes `messages`. They are stored once this returns `Ok`.
    ///
    /// # Errors
    /// The broker did not confirm them all.
    pub(crate) async fn publish_once(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let queues: Vec<_> = messages.iter().map(|(address, _)| address.queue()).collect();
        let begun = Instant::now();
        let published = self.broker.publish(messages).await;
        for queue in &queues {
            self.metrics.published(queue, published.is_ok(), begun.elapsed().as_secs_f64());
        }
        published
    }
}

/// `envelope` in the trace of `original`.
pub(crate) fn traced(envelope: Envelope, original: &Envelope) -> Envelope {
    match original.text_header(header::TRACEPARENT) {
        Some(trace) => envelope.with(header::TRACEPARENT, trace),
        None => envelope,
    }
}
