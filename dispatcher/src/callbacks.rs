//! Calling the clients of compatibility listeners back, as Kannel does: a GET to the address that the
//! client gave.
//!
//! A client that asks for callbacks chooses where they go, and pays nothing for them. So one user, and one
//! host, has at most a quarter of those under way ([`places`]). The worker does not wait for the rest: it
//! publishes them once into a queue of their own, `postern.callbacks.bulk`, where another quarter works
//! them off in order and where they hold up nobody else. To give them back, or to let them wait in a wait
//! queue, would hand them out again and again; to hold them would use up the prefetch; a queue for each
//! user would make users a part of the topology.
//!
//! A host that does not answer in time is left alone for a while ([`silent_hosts`]); its callbacks use up
//! their attempts without a request. Each user has an HTTP client of its own, which looks up at most 8
//! names at a time, all of them 32: a name that is never answered blocks one of the runtime's threads,
//! longer than its caller waits.

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

/// A callback that is given up becomes a dead letter while fewer dead letters than this wait. Callbacks alone
/// never fill the disk, and a callback that is lost is no message that is lost.
const MOST_DEAD: u64 = 10_000;

/// The callbacks under way that one user, and one host, may have if there may be `concurrency` in all.
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

/// What becomes of callbacks for which their user, or their host, has no place.
#[derive(Debug)]
struct Beyond {
    places: Arc<Places>,
    /// The queue that they are moved to.
    queue: QueueName,
}

/// What is done about a callback.
enum Next {
    /// It is made. The place is held until it is answered.
    Call(CallbackTarget, Option<CallbackPermit>),
    /// It is not made now, or not at all.
    Fail(Failure),
    /// It is moved to that queue.
    Move(QueueName),
}

/// The workers of both queues, each with how many callbacks it has under way.
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
    /// The queue that it takes callbacks from.
    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }

    fn next(&self, notice: &CallbackEvent, poison: Option<&Failure>) -> Next {
        let target = match (poison, self.caller.target(notice)) {
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
        let notice = match CallbackEvent::from_json(&original.body) {
            Ok(notice) => notice,
            Err(malformed) => {
                return self.delivery.refuse(&self.queue, job, &malformed.to_string()).await;
            }
        };
        let trace = original.trace();
        let event = Some((EventKind::CalledBack, notice.identity.clone()));
        let context =
            DeliveryContext { message_id: notice.message_id, backend: notice.backend.clone(), trace, event };
        match self.next(&notice, job.poison.as_ref()) {
            Next::Move(queue) => self.delivery.move_to(&self.queue, &queue, job).await,
            Next::Fail(failure) => {
                self.delivery.deliver(&self.queue, job, &context, ready(Err(failure))).await;
            }
            Next::Call(target, place) => {
                let scope = job.span.scope();
                let call = async {
                    let _place = place;
                    // The client has chosen the host: no span says it, and it learns of no trace.
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
