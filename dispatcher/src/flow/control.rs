//! Flow control of one backend, or of one receiver ([`receiver`]): the shell around `state`, which decides.

mod receiver;

use super::{
    held::Held,
    limit::{ConcurrencyLimit, ConcurrencyPermit},
    pacing::{Release, SendRequest},
    shown::FlowShown,
    state::{FlowState, Intake, Noted},
};
use crate::outcome::Outcome;
use postern_config::backend::{BackendConfig, flow::RateLimit};
use postern_service::health::HealthReporter;
use postern_shared::{message::Priority, value::MAX_CONCURRENCY};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The longest time of a request if there is no `send.timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Says what may be taken from a backend's queues, and when each request may be made.
#[derive(Debug)]
pub(crate) struct FlowControl {
    name: String,
    state: Mutex<FlowState>,
    /// Notified whenever something changed in `state`.
    changed: Notify,
    /// Limits the requests in flight.
    limit: ConcurrencyLimit,
    rated: bool,
    /// How many messages of each queue are held at a time.
    prefetch: u16,
    /// Notified to have the consumers counted again.
    recount: Arc<Notify>,
    shown: Option<FlowShown>,
    receiver: Option<ReceiverShown>,
    /// Cancelled when no request is to be begun any more.
    draining: CancellationToken,
}

/// Where flow control of deliveries to one receiver shows that the receiver is down.
#[derive(Debug)]
struct ReceiverShown {
    /// The receiver's name in the log.
    to: &'static str,
    health: HealthReporter,
}

impl FlowControl {
    /// Flow control that only limits the requests in flight, to `concurrency`.
    pub(crate) fn fixed(concurrency: u16) -> Self {
        Self::of_deliveries(concurrency, FlowState::fixed(concurrency, Instant::now()))
    }

    fn of_deliveries(concurrency: u16, state: FlowState) -> Self {
        Self {
            name: String::new(),
            limit: ConcurrencyLimit::new(state.concurrency()),
            state: Mutex::new(state),
            changed: Notify::new(),
            rated: false,
            prefetch: prefetch(concurrency, None, TIMEOUT),
            recount: Arc::default(),
            shown: None,
            receiver: None,
            draining: CancellationToken::new(),
        }
    }

    /// Flow control of `backend`. The processes that share its rate count each other within `settle`,
    /// and `recount` is notified when they should.
    pub(crate) fn new(
        backend: &BackendConfig,
        settle: Duration,
        recount: Arc<Notify>,
        shown: FlowShown,
    ) -> Self {
        let rate = backend.definition.rate;
        let timeout = backend.definition.connector.http().map_or(TIMEOUT, |send| send.timeout.0);
        let state = FlowState::new(backend, settle, Instant::now());
        shown.metrics.concurrency(state.concurrency());
        Self {
            name: backend.name.to_string(),
            limit: ConcurrencyLimit::new(state.concurrency()),
            state: Mutex::new(state),
            changed: Notify::new(),
            rated: rate.is_some(),
            prefetch: prefetch(backend.concurrency, rate, timeout),
            recount,
            shown: Some(shown),
            receiver: None,
            draining: CancellationToken::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a rate.
    pub(crate) fn is_rated(&self) -> bool {
        self.rated
    }

    /// How many messages a subscription for `intake` prefetches. With a rate, no more than can be sent in
    /// the time that a request may take: others would wait here instead of in the queue.
    pub(crate) fn prefetch(&self, intake: Intake) -> u16 {
        if intake == Intake::Open { self.prefetch } else { 1 }
    }

    /// Waits until something may be taken from the queues.
    pub(crate) async fn opens(&self) -> Intake {
        let until_open = || match self.state().intake(Instant::now()) {
            Intake::Closed(until) => Err(Release::At(until)),
            Intake::Held => Err(Release::OnChange),
            intake => Ok(intake),
        };
        let intake = self.until(until_open).await;
        if intake == Intake::Open {
            let receiver = self.receiver.as_ref().map(|receiver| &receiver.health);
            let health = self.shown.as_ref().map(|shown| &shown.health).or(receiver);
            health.into_iter().for_each(HealthReporter::resumed);
        }
        intake
    }

    /// Notes that an operator paused the backend: nothing is taken and no request is begun, until
    /// [`unhold`].
    ///
    /// [`unhold`]: Self::unhold
    pub(crate) fn hold(&self) {
        self.state().hold();
        self.changed.notify_waiters();
    }

    /// Notes that the operator's pause is over.
    pub(crate) fn unhold(&self) {
        self.state().unhold();
        self.changed.notify_waiters();
    }

    /// Waits until something other than `intake` may be taken.
    pub(crate) async fn leaves_off(&self, intake: Intake) {
        let still = || self.state().intake(Instant::now()).is_like(intake);
        self.until(|| if still() { Err(Release::OnChange) } else { Ok(()) }).await;
    }

    /// Notes that a subscription begins.
    pub(crate) fn consuming(&self) {
        if let Some(rate) = &mut self.state().rate {
            rate.share.forget();
        }
        self.recount.notify_one();
    }

    /// Notes how many `consumers` the backend's queue has in all processes. `None` if the broker, and with
    /// it the subscription, is lost.
    pub(crate) fn counted(&self, consumers: Option<u32>) {
        let mut state = self.state();
        let Some(rate) = &mut state.rate else { return };
        let before = rate.share.per_second();
        match consumers {
            Some(consumers) => rate.share.counted(consumers, Instant::now()),
            None => rate.share.forget(),
        }
        let share = rate.share.per_second();
        drop(state);
        if share != before {
            if let Some(FlowShown { metrics, .. }) = &self.shown {
                metrics.share(share.unwrap_or_default());
            }
            self.changed.notify_waiters();
        }
    }

    /// Waits until another message may be taken by the existing subscription.
    pub(crate) async fn admits(&self) {
        let admits = || match self.state().admits(Instant::now()) {
            Release::Now => Ok(()),
            wait => Err(wait),
        };
        self.until(admits).await;
    }

    /// Waits until the next message of `lane` may be taken. With a rate, no other message of the lane may
    /// wait here.
    pub(crate) async fn admits_of(&self, lane: Priority) {
        if self.rated {
            let admits = || if self.state().admits_of(lane) { Ok(()) } else { Err(Release::OnChange) };
            self.until(admits).await;
        }
    }

    /// Lets no request begin from now on. Messages in progress settle what they have sent, and leave the rest
    /// to another process.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Resolves when no request is to be begun any more.
    pub(super) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits for the right to have one more request in flight.
    pub(crate) async fn acquire(&self) -> ConcurrencyPermit {
        self.limit.resize(self.state().limit(Instant::now()));
        self.limit.acquire().await
    }

    /// Notes that another message could be taken but there is none, until one is taken.
    pub(crate) fn idles(&self) {
        self.state().idles();
    }

    /// Notes that a message of `lane` was taken. Returns whether it shows if the provider is back.
    pub(super) fn taken(&self, lane: Priority) -> bool {
        self.state().taken(lane, Instant::now())
    }

    /// Notes that every request of a message of `lane` was begun.
    pub(super) fn begun(&self, lane: Priority) {
        if self.rated {
            self.state().begun(lane);
            self.changed.notify_waiters();
        }
    }

    /// Notes that a message is no longer in progress. `probe` is what [`taken`](Self::taken) returned for it.
    pub(super) fn ended(&self, probe: bool) {
        if probe {
            self.state().ended(probe);
            self.changed.notify_waiters();
        }
    }

    /// Notes that a request of `lane` begins to wait for the rate, and returns its ticket.
    pub(super) fn waits(&self, lane: Priority) -> u64 {
        self.state().waits(lane, Instant::now())
    }

    /// Notes that a request no longer waits for the rate.
    pub(super) fn leaves(&self, lane: Priority, ticket: u64) {
        self.state().leaves(lane, ticket, Instant::now());
        self.changed.notify_waiters();
    }

    /// Observes how long a request waited for the rate.
    pub(super) fn waited(&self, wait: Duration) {
        if let Some(FlowShown { metrics, .. }) = &self.shown {
            metrics.waited(wait.as_secs_f64());
        }
    }

    /// Waits until `request` may be made.
    ///
    /// # Errors
    /// Sending is paused.
    pub(super) async fn released(&self, request: SendRequest) -> Result<(), Held> {
        self.until(|| match self.state().release(request, Instant::now()) {
            Release::Now => Ok(Ok(())),
            Release::Paused => Ok(Err(Held::Paused)),
            wait => Err(wait),
        })
        .await
    }

    /// Notes the outcomes of a request, one for each recipient, and how long it took. `probe`: its message
    /// shows whether the provider is back. If the provider needs time before the next attempt, the failures
    /// then say how much.
    pub(super) fn note(&self, outcomes: &mut [Outcome], took: Duration, probe: bool) {
        let (now, room) = (Instant::now(), self.limit.has_room());
        let mut state = self.state();
        let before = state.concurrency();
        let noted = state.note(outcomes, probe, now);
        state.answered(outcomes, took, room, now);
        let (limit, concurrency) = (state.limit(now), state.concurrency());
        drop(state);
        self.limit.resize(limit);
        // Once the drain has begun, a new part may serve the backend, and only that one may show its state.
        let shown = self.shown.as_ref().filter(|_| !self.draining.is_cancelled());
        if let (true, Some(FlowShown { metrics, .. })) = (concurrency != before, shown) {
            metrics.concurrency(concurrency);
        }
        if noted != Noted::default() {
            if let Some(shown) = shown {
                let is_closed = matches!(self.state().intake(Instant::now()), Intake::Closed(_));
                shown.report(&self.name, noted, outcomes, is_closed);
            }
            self.changed.notify_waiters();
        }
    }

    /// Waits until `condition` holds. Checks it again at the time that it names, and whenever something
    /// changes.
    async fn until<T>(&self, condition: impl Fn() -> Result<T, Release>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match condition() {
                Ok(value) => return value,
                Err(Release::At(instant)) => tokio::select! {
                    () = sleep_until(instant) => {}
                    () = changed => {}
                },
                Err(_) => changed.await,
            }
        }
    }
}

fn prefetch(concurrency: u16, rate: Option<RateLimit>, timeout: Duration) -> u16 {
    // Twice the concurrency: while some messages are sent, as many wait for the broker to confirm their
    // outcomes. RabbitMQ prefetches no more than MAX_CONCURRENCY on a quorum queue.
    let unrated = concurrency.saturating_mul(2).clamp(1, MAX_CONCURRENCY);
    let out = rate.map(|rate| rate.limit.per_second() * timeout.as_secs_f64() + 1.0);
    // Saturates.
    out.map_or(unrated, |out| unrated.min(out as u16).max(1))
}
