//! Messages that are taken again and again without being settled: they may be what crashes the process.

use crate::metrics::DispatcherMetrics;
use crate::{
    dead_letter::unread,
    flow::WorkPermit,
    publish::Publisher,
    worker::{Job, Worker},
};
use postern_broker::{Delivery, QueueName};
use postern_shared::{error::Failure, message::Priority};
use std::sync::Arc;
use tracing::field::display;

/// Dead-letters a message that was taken `dispatcher.max_deliveries` times without being settled.
#[derive(Debug)]
pub(crate) struct DeliveryLimit {
    max: u32,
    publisher: Publisher,
    metrics: DispatcherMetrics,
}

impl DeliveryLimit {
    /// The limit of `max` deliveries.
    pub(crate) fn new(max: u32, publisher: Publisher, metrics: DispatcherMetrics) -> Self {
        Self { max, publisher, metrics }
    }

    /// Has `worker` take `delivery`, which came from `queue`, to its end. A message at the limit is
    /// given up by the worker without an attempt; one beyond the limit is not even read, since that may
    /// be what crashes.
    pub(crate) async fn work(
        &self,
        worker: Arc<dyn Worker>,
        queue: &QueueName,
        lane: Priority,
        delivery: Delivery,
        permit: WorkPermit,
    ) {
        let delivery = delivery.in_trace();
        let poison = (delivery.returned >= self.max).then(|| poison(delivery.returned));
        if let Some(failure) = &poison {
            let message_id = delivery.envelope.id().map(display);
            let (queue, taken) = (queue.as_str(), delivery.returned);
            tracing::error!(
                queue,
                message_id,
                taken,
                code = &*failure.code,
                "dead-lettered: taken too often without being settled"
            );
        }
        match poison {
            Some(failure) if delivery.returned > self.max => {
                drop(permit);
                let letter = unread(&delivery.envelope, queue, &failure);
                if self.publisher.settle(delivery, letter).await
                    && let Some(backend) = queue.backend()
                {
                    self.metrics.sending(&backend).dead_letter(failure.class);
                }
            }
            poison => worker.work(Job { lane, delivery, permit, poison }).await,
        }
    }
}

/// Why a message is given up that was taken `times` times.
fn poison(times: u32) -> Failure {
    let why = format!("taken {times} times, and its process or its connection was lost each time");
    Failure::unknown("poison", why)
}
