//! Publishing what became of a message, however long that takes.

use postern_broker::{Address, Broker, BrokerError, Delivery, Envelope, header};
use postern_service::metrics::Metrics;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The pauses between the tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Publishes to the broker, and counts it.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    broker: Arc<dyn Broker>,
    metrics: Metrics,
}

impl Publisher {
    pub(crate) fn new(broker: Arc<dyn Broker>, metrics: Metrics) -> Self {
        Self { broker, metrics }
    }

    /// Publishes `messages` until the broker confirms them all. `false`: the broker was closed.
    ///
    /// What was sent is not sent again meanwhile; its delivery stays leased. RabbitMQ takes a lease
    /// back after 30 minutes, and only then a broker that takes no messages leads to a double.
    pub(crate) async fn publish(&self, messages: Vec<(Address, Envelope)>) -> bool {
        let mut pause = PAUSES.0;
        loop {
            match self.try_once(messages.clone()).await {
                Ok(()) => return true,
                Err(BrokerError::Closed) => return false,
                Err(error) => {
                    tracing::warn!(%error, "the broker did not take what became of a message; trying again in {pause:?}");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
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

    async fn try_once(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let queues: Vec<_> = messages.iter().map(|(address, _)| address.queue()).collect();
        let begun = Instant::now();
        let published = self.broker.publish(messages).await;
        for queue in &queues {
            self.metrics.publish(queue, published.is_ok(), begun.elapsed().as_secs_f64());
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
