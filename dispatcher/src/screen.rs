//! Screening each delivery before its worker gets it: its span begins here, and what must not reach the
//! worker ends here.
//!
//! The broker hands a message out again when the process that had it crashed, and says how often
//! (`Delivery::lost`). At `dispatcher.max_deliveries` the worker gives the message up without an
//! attempt: a dead letter with the code `poison`, and a report with the state `unknown`. If giving it up
//! crashes as well, the next process does not even read it. A body that is larger than a message may be
//! is dead-lettered unread too.
//!
//! Suspects are not tried one by one. A panic ends at most one task, and `unsafe` is forbidden, so what is left
//! to crash a process is running out of memory, a stack overflow, or a kill: too little for a queue and a second
//! path through every worker. The price: all messages that were in the same process each time are
//! dead-lettered with the guilty one, and must be redriven.

use crate::{
    dead_letter::{too_large, unread},
    flow::WorkPermit,
    metrics::{DispatcherMetrics, OutcomeLabel},
    publish::Publisher,
    worker::{Job, Worker},
};
use postern_broker::{CUT_BODY, Delivery, QueueName};
use postern_service::traces::{TraceSpan, Traces};
use postern_shared::{error::Failure, message::Priority};
use std::sync::Arc;
use tracing::field::display;

/// Hands deliveries to their workers, except those that are too large or were lost more than
/// `dispatcher.max_deliveries` times: these it dead-letters unread.
#[derive(Debug)]
pub(crate) struct Screening {
    max_deliveries: u32,
    publisher: Publisher,
    metrics: DispatcherMetrics,
    traces: Traces,
}

impl Screening {
    /// A screening with the limit `max_deliveries`, which publishes dead letters with `publisher`.
    pub(crate) fn new(
        max_deliveries: u32,
        publisher: Publisher,
        metrics: DispatcherMetrics,
        traces: Traces,
    ) -> Self {
        Self { max_deliveries, publisher, metrics, traces }
    }

    /// Has `worker` take `delivery`, which came from `queue`, to its end. At the limit, the worker gives
    /// the message up without an attempt. Beyond it the message is not even read, since reading it may be
    /// what crashes.
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
        let poison = (delivery.lost >= self.max_deliveries).then(|| poison(delivery.lost));
        let message_id = delivery.envelope.id().map(display);
        if let Some(failure) = &poison {
            let (queue, lost, code) = (queue.as_str(), delivery.lost, &*failure.code);
            tracing::error!(
                queue,
                message_id,
                lost,
                code,
                "dead-lettered: consumed too often without being acknowledged"
            );
        }
        if let Some(failure) = too_large(&delivery.envelope, queue) {
            let code = &*failure.code;
            tracing::warn!(%queue, message_id, code, "dead-lettered: its body is too large");
            delivery.envelope = std::mem::take(&mut delivery.envelope).cut(CUT_BODY);
            drop(permit);
            // Boxed, like the one below, so that a rare case does not make every task larger.
            let stored = Box::pin(self.give_up(queue, delivery, &failure, &mut span)).await;
            if let Some(backend) = queue.backend().filter(|_| stored) {
                self.metrics.sending(&backend).message(OutcomeLabel::Malformed);
            }
            return;
        }
        match poison {
            Some(failure) if delivery.lost > self.max_deliveries => {
                drop(permit);
                Box::pin(self.give_up(queue, delivery, &failure, &mut span)).await;
            }
            poison => worker.work(Job { lane, delivery, permit, poison, span }).await,
        }
    }

    /// Dead-letters `delivery` without reading it. Returns whether the dead letter is stored.
    async fn give_up(
        &self,
        queue: &QueueName,
        delivery: Delivery,
        failure: &Failure,
        span: &mut TraceSpan,
    ) -> bool {
        let letter = unread(&delivery.envelope, queue, failure);
        span.note_failure(failure);
        self.publisher.settle(delivery, queue, letter, &span.scope()).await
    }
}

/// Why a message that was lost `times` times is given up.
fn poison(times: u32) -> Failure {
    let why = format!(
        "consumed {times} times without being acknowledged: its process or its connection was lost each time"
    );
    Failure::unknown("poison", why)
}
