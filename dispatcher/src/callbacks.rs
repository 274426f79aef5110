//! Calls the clients of compatibility listeners back, as Kannel does: a GET to the address that the client
//! gave.
//!
//! A client that asks for callbacks chooses where they go, and pays nothing for them. So each user, and
//! each host, may have at most a quarter of the callbacks in flight ([`places`]). Those beyond that share are
//! published once to a separate queue, `postern.callbacks.bulk`, which has another quarter and is worked
//! through in order: there they delay nobody else. If they were requeued, or put into a wait
//! queue, they would be delivered again and again; held here, they would use up the prefetch; and a queue
//! for each user would make users a part of the topology.
//!
//! A host that does not answer in time is not called for a while ([`silent_hosts`]); meanwhile its
//! callbacks use up their attempts without a request. Each user has a separate HTTP client, which looks up
//! at most 8 names at a time; all clients together look up at most 32. The look-up of a name that is never
//! answered blocks one of the runtime's threads for longer than its caller waits.

mod caller;
mod places;
mod silent_hosts;

use crate::metrics::DispatcherMetrics;
use crate::{
    http_delivery::{DeliveryContext, HttpDelivery, ReceiverCount},
    publish::Publisher,
    retry::Schedule,
    worker::{Job, Worker},
};
use async_trait::async_trait;
use caller::{CallbackCaller, CallbackTarget};
pub(crate) use caller::{CallbackClients, clients};
use places::{CallbackPermit, Places};
use postern_broker::{QueueName, Topology};
use postern_config::Config;
use postern_shared::{
    error::Failure,
    event::EventKind,
    message::{CallbackEvent, Priority},
};
use std::{future::ready, sync::Arc};

/// A callback that is given up is dead-lettered only while fewer dead letters than this wait, so that
/// callbacks cannot fill the disk. A lost callback is not a lost message.
const MOST_DEAD: u64 = 10_000;

/// The most callbacks in flight for one user, and for one host, of `concurrency` in all.
fn share(concurrency: u16) -> u16 {
    (concurrency / 4).max(1)
}

/// Makes the callbacks of one queue.
#[derive(Debug)]
pub(crate) struct CallbackWorker {
    caller: Arc<CallbackCaller>,
    delivery: HttpDelivery,
    queue: QueueName,
    beyond: Option<Beyond>,
}

/// Limits the callbacks of each user and host, and says where those beyond the limit go.
#[derive(Debug)]
struct Beyond {
    places: Arc<Places>,
    /// The queue to which callbacks beyond the limit are moved.
    queue: QueueName,
}

/// What to do with a callback.
enum Next {
    /// Make it. The permit is held until it is answered.
    Call(CallbackTarget, Option<CallbackPermit>),
    /// Do not make it: it fails, and is retried or given up.
    Fail(Failure),
    /// Move it to this queue.
    Move(QueueName),
}

/// The workers of both queues, each with the most callbacks that it may have in flight.
pub(crate) fn workers(
    config: &Config,
    clients: CallbackClients,
    topology: &Arc<Topology>,
    publisher: &Publisher,
    metrics: &DispatcherMetrics,
) -> [(CallbackWorker, u16); 2] {
    let section = &config.compat.callbacks;
    let delays = &config.retry.delays;
    let delays = &delays[..delays.len().min(section.attempts.saturating_sub(1))];
    let caller = Arc::new(CallbackCaller::new(&config.compat, clients));
    let worker = |queue: QueueName, beyond| {
        let delivery = HttpDelivery {
            to: "client",
            schedule: Schedule::general(delays, topology.clone()),
            publisher: publisher.clone(),
            metrics: metrics.delivery(&[&queue]),
            receiver: ReceiverCount::Many,
            log: topology.log,
            most_dead: Some(MOST_DEAD),
        };
        delivery.metrics.declare_dropped(&queue);
        CallbackWorker { caller: caller.clone(), delivery, queue, beyond }
    };
    let share = share(section.concurrency);
    let beyond = Beyond { places: Places::new(share), queue: QueueName::bulk_callbacks() };
    [
        (worker(QueueName::callbacks(), Some(beyond)), section.concurrency),
        (worker(QueueName::bulk_callbacks(), None), share),
    ]
}

impl CallbackWorker {
    /// The queue from which this worker takes callbacks.
    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }

    fn next(&self, callback_event: &CallbackEvent, poison: Option<&Failure>) -> Next {
        let target = match (poison, self.caller.target(callback_event)) {
            (Some(failure), _) => return Next::Fail(failure.clone()),
            (None, Err(failure)) => return Next::Fail(failure),
            (None, Ok(target)) => target,
        };
        match &self.beyond {
            None => Next::Call(target, None),
            Some(Beyond { places, queue }) => match places.take(&target.user, &target.host) {
                Some(place) => Next::Call(target, Some(place)),
                None => Next::Move(queue.clone()),
            },
        }
    }
}

#[async_trait]
impl Worker for CallbackWorker {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, self.queue.clone())]
    }

    async fn work(self: Arc<Self>, job: Job) {
        let original = &job.delivery.envelope;
        let callback_event = match CallbackEvent::from_json(&original.body) {
            Ok(callback_event) => callback_event,
            Err(malformed) => {
                return self.delivery.refuse(&self.queue, job, &malformed.to_string()).await;
            }
        };
        let trace = original.trace();
        let event = Some((EventKind::CalledBack, callback_event.identity.clone()));
        let context = DeliveryContext {
            message_id: callback_event.message_id,
            backend: callback_event.backend.clone(),
            trace,
            event,
        };
        match self.next(&callback_event, job.poison.as_ref()) {
            Next::Move(queue) => self.delivery.move_to(&self.queue, &queue, job).await,
            Next::Fail(failure) => {
                self.delivery.deliver(&self.queue, job, &context, ready(Err(failure))).await;
            }
            Next::Call(target, place) => {
                let scope = job.span.scope();
                let call = async {
                    let _place = place;
                    // The client chose the host: no span may name it, and it must not get our trace.
                    let mut span = scope.client(reqwest::Method::GET.as_str());
                    let outcome = self.caller.call(&target).await;
                    span.note_answer(outcome.as_ref().map(|sent| sent.http_status));
                    outcome
                };
                self.delivery.deliver(&self.queue, job, &context, call).await;
            }
        }
    }
}
