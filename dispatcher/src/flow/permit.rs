//! Permits to work on a message, and to make each of its requests.

use super::{control::FlowControl, held::Held, limit::ConcurrencyPermit, pacing::SendRequest};
use crate::{
    lease::{ANSWERED_WITHIN, REQUEST_WITHIN},
    outcome::Outcome,
};
use postern_shared::message::Priority;
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// The right to work on one message, which was taken with a permit among the backend's requests in
/// flight. A worker that only waits for the broker drops it early: then another message can be taken.
#[derive(Debug)]
pub(crate) struct WorkPermit {
    flow: Arc<FlowControl>,
    lane: Priority,
    /// Whether the message shows if the provider is back.
    probe: bool,
    taken: Instant,
    /// The message's own permit, while none of its requests has it.
    own: Mutex<Option<ConcurrencyPermit>>,
    /// Whether the flow control counts it among the messages with requests still to be made.
    unbegun: AtomicBool,
}

/// The right to make one request, until it is answered.
#[derive(Debug)]
pub(crate) struct SendPermit<'w> {
    work: &'w WorkPermit,
    permit: Option<ConcurrencyPermit>,
}

impl WorkPermit {
    /// The permit of a message of `lane` that was taken with `permit`.
    pub(crate) fn taken(flow: &Arc<FlowControl>, lane: Priority, permit: ConcurrencyPermit) -> Self {
        let (probe, flow) = (flow.taken(lane), Arc::clone(flow));
        let (taken, own) = (Instant::now(), Mutex::new(Some(permit)));
        Self { flow, lane, probe, taken, own, unbegun: AtomicBool::new(true) }
    }

    /// Waits until a request that counts `cost` for the rate may be made. Must be polled in the same task
    /// as the message's other requests.
    ///
    /// # Errors
    /// The request must not be made: its recipients are requeued.
    pub(crate) async fn request(&self, cost: u32) -> Result<SendPermit<'_>, Held> {
        let permit = async {
            let permit = Some(self.acquire().await);
            // From here on the permit is returned in every case.
            let permit = SendPermit { work: self, permit };
            self.turn(cost).await.map(|()| permit)
        };
        tokio::select! {
            biased;
            () = self.flow.draining() => Err(Held::Draining),
            permit = timeout_at(self.taken + REQUEST_WITHIN, permit) => permit.unwrap_or(Err(Held::TooLong)),
        }
    }

    /// Notes that every request of the message was begun: the next message of its lane may be taken.
    pub(crate) fn all_begun(&self) {
        if self.unbegun.swap(false, Ordering::Relaxed) {
            self.flow.begun(self.lane);
        }
    }

    /// The message's own permit once it is free, or a further one.
    async fn acquire(&self) -> ConcurrencyPermit {
        let mut further = pin!(self.flow.acquire());
        poll_fn(|context| match self.own_permit().take() {
            Some(permit) => Poll::Ready(permit),
            None => further.as_mut().poll(context),
        })
        .await
    }

    fn own_permit(&self) -> MutexGuard<'_, Option<ConcurrencyPermit>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a request.
    async fn turn(&self, cost: u32) -> Result<(), Held> {
        let flow = &*self.flow;
        let (lane, probe) = (self.lane, self.probe);
        if !flow.is_rated() {
            return flow.released(SendRequest { lane, cost, probe, ticket: 0 }).await;
        }
        let begun = Instant::now();
        let waiting = WaitingRequest { flow, lane, ticket: flow.waits(lane) };
        let released = flow.released(SendRequest { lane, cost, probe, ticket: waiting.ticket }).await;
        if released.is_ok() {
            flow.waited(begun.elapsed());
        }
        released
    }
}

impl Drop for WorkPermit {
    fn drop(&mut self) {
        self.all_begun();
        self.flow.ended(self.probe);
    }
}

impl SendPermit<'_> {
    /// How long the request may take.
    pub(crate) fn time_left(&self) -> Duration {
        (self.work.taken + ANSWERED_WITHIN).saturating_duration_since(Instant::now())
    }

    /// Notes the outcome of a delivery to the only receiver; see [`FlowControl::note_delivery`].
    pub(crate) fn note_delivery(self, outcome: &Outcome, last_wait: Option<Duration>) -> Option<Duration> {
        self.work.flow.note_delivery(outcome, last_wait)
    }

    /// Notes the outcomes of the request, one for each recipient, and how long it took. If the provider
    /// needs time before the next attempt, the failures then say how much.
    pub(crate) fn note(self, outcomes: &mut [Outcome], took: Duration) {
        self.work.flow.note(outcomes, took, self.work.probe);
    }
}

impl Drop for SendPermit<'_> {
    fn drop(&mut self) {
        // A message keeps one permit for its further requests, and returns the others.
        let mut own = self.work.own_permit();
        if own.is_none() {
            *own = self.permit.take();
        }
    }
}

/// A request that waits for the rate, until it is dropped.
struct WaitingRequest<'a> {
    flow: &'a FlowControl,
    lane: Priority,
    ticket: u64,
}

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        self.flow.leaves(self.lane, self.ticket);
    }
}
