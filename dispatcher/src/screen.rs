//! Screening each delivery before its worker gets it: its span begins here, and what must not reach the
//! worker ends here.
//!
//! The broker hands a message out again when the process that had it crashed, and says how often
//! (`Delivery::returned`). At `dispatcher.max_deliveries` the worker gives the message up without an
//! attempt: a dead letter with the code `poison`, and a report with the state `unknown`. If giving it up
//! crashes as well, the next process does not even read it. A body that is larger than a message may be
//! is dead-lettered unread too.
//!
//! Suspects are not tried one by one. Panics are caught and `unsafe` is forbidden, so what is left to
//! crash a process is running out of memory, a stack overflow, or a kill: too little for a queue and a
//! second path through every worker. The price: what was in the same process each time is dead-lettered
//! with the guilty message, and must be put back.

use crate::{
    dead_letter::{too_large, unread},
    flow::WorkPermit,
    metrics::{DispatcherMetrics, OutcomeLabel, SendingMetrics},
    publish::Publisher,
    worker::{Job, Worker},
};
use postern_broker::{CUT_BODY, Delivery, QueueName};
use postern_service::traces::{TraceSpan, Traces};
use postern_shared::{error::Failure, message::Priority};
use std::sync::Arc;
use tracing::field::display;

/// Hands deliveries to their workers, but for those that are too large or were taken
/// `dispatcher.max_deliveries` times without being settled.
#[derive(Debug)]
pub(crate) struct Screening {
    max_deliveries: u32,
    publisher: Publisher,
    metrics: DispatcherMetrics,
    traces: Traces,
}

impl Screening {
    /// One that lets a message be taken `max_deliveries` times, and publishes dead letters with `publisher`.
    pub(crate) fn new(
        max_deliveries: u32,
        publisher: Publisher,
        metrics: DispatcherMetrics,
        traces: Traces,
    ) -> Self {
        Self { max_deliveries, publisher, metrics, traces }
    }

    /// Has `worker` take `delivery`, which came from `queue`, to its end. A message at the limit is
    /// given up by the worker without an attempt; one beyond the limit is not even read, since that may
    /// be what crashes.
    pub(crate) async fn screen(
        &self,
        worker: Arc<dyn Worker>,
        queue: &QueueName,
        lane: Priority,
        delivery: Delivery,
        permit: WorkPermit,
    ) {
        let mut span = self.traces.process(queue, &delivery.envelope);
        let mut delivery = match span.context() {
            Some(context) => delivery.in_trace(context),
            None => delivery.in_own_trace(),
        };
        let poison = (delivery.returned >= self.max_deliveries).then(|| poison(delivery.returned));
        let message_id = delivery.envelope.id().map(display);
        if let Some(failure) = &poison {
            let (queue, taken, code) = (queue.as_str(), delivery.returned, &*failure.code);
            tracing::error!(
                queue,
                message_id,
                taken,
                code,
                "dead-lettered: delivered too often without being settled"
            );
        }
        if let Some(failure) = too_large(&delivery.envelope, queue) {
            tracing::warn!(queue = queue.as_str(), message_id, code = &*failure.code, "dead-lettered unread");
            delivery.envelope = std::mem::take(&mut delivery.envelope).cut(CUT_BODY);
            drop(permit);
            // Boxed, as below: what happens seldom is not to make every task larger.
            if let Some(metrics) = Box::pin(self.give_up(queue, delivery, &failure, &mut span)).await {
                metrics.message(OutcomeLabel::Malformed);
            }
            return;
        }
        match poison {
            Some(failure) if delivery.returned > self.max_deliveries => {
                drop(permit);
                Box::pin(self.give_up(queue, delivery, &failure, &mut span)).await;
            }
            poison => worker.work(Job { lane, delivery, permit, poison, span }).await,
        }
    }

    /// Dead-letters `delivery` without reading it, and counts that. Returns the metrics of the backend
    /// that it was for, once it is stored.
    async fn give_up(
        &self,
        queue: &QueueName,
        delivery: Delivery,
        failure: &Failure,
        span: &mut TraceSpan,
    ) -> Option<SendingMetrics> {
        let letter = unread(&delivery.envelope, queue, failure);
        span.note_failure(failure);
        if !self.publisher.settle(delivery, queue, letter, &span.scope()).await {
            return None;
        }
        let metrics = self.metrics.sending(&queue.backend()?);
        metrics.dead_letter(failure.class);
        Some(metrics)
    }
}

/// Why a message is given up that was taken `times` times.
fn poison(times: u32) -> Failure {
    let why = format!("delivered {times} times, and its process or its connection was lost each time");
    Failure::unknown("poison", why)
}
