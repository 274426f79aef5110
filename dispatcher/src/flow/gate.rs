//! One backend's gate: the shell around what [`State`] decides.

use super::{
    breaker::Change,
    state::{Mode, Noted, State, Step},
    width::Width,
};
use crate::backends::Outcome;
use postern_config::{
    BreakerSection,
    backend::{BackendConfig, flow::RateLimit},
};
use postern_service::metrics::FlowMetrics;
use postern_shared::{error::Failure, message::Priority, value::Span};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// So long a message waits here for the rate, from when it was taken; then what is left of it goes
/// back to its queue. RabbitMQ takes a message back after 30 minutes.
const WAIT: Duration = Duration::from_secs(10 * 60);
/// The most that RabbitMQ prefetches on a quorum queue.
const MAX_PREFETCH: u16 = 2_000;
/// How long a request takes at most where no `send.timeout` says so.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) use crate::outcome::NOT_BEGUN;

/// Says what may be taken from a backend's queue, and when each request may go.
#[derive(Debug)]
pub(crate) struct Gate {
    name: String,
    state: Mutex<State>,
    /// Told whenever something changed in `state`.
    changed: Notify,
    lanes: Option<[LaneGate; 2]>,
    /// What this process takes from each queue at a time.
    prefetch: u16,
    /// Told to count the consumers again.
    recount: Arc<Notify>,
    metrics: Option<FlowMetrics>,
}

/// A lane with a rate.
#[derive(Debug)]
struct LaneGate {
    /// Held by the one message that is not yet on its way with its first requests.
    door: Arc<Semaphore>,
    /// Held by the one request that waits for the rate.
    front: Semaphore,
}

impl LaneGate {
    fn new() -> Self {
        Self { door: Arc::new(Semaphore::new(1)), front: Semaphore::new(1) }
    }
}

/// The right to take a lane's next message. It is given up when the message's requests are on their
/// way, so that of each lane only one message waits for the rate here, and the others in the queue.
pub(crate) type Door = Option<OwnedSemaphorePermit>;

/// A message that was taken.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    lane: Priority,
    door: Mutex<Door>,
    /// Whether it shows if the provider is back.
    tries: bool,
    deadline: Instant,
}

impl Gate {
    /// A gate that is always open.
    pub(crate) fn always(concurrency: u16) -> Self {
        let now = Instant::now();
        let width = Width::new(concurrency, concurrency, now);
        let never = BreakerSection { failures: 0, pause: Span(SECOND), max_pause: Span(SECOND) };
        Self {
            name: String::new(),
            state: Mutex::new(State::new(never, None, Duration::ZERO, width, now)),
            changed: Notify::new(),
            lanes: None,
            prefetch: prefetch(concurrency, None, TIMEOUT),
            recount: Arc::default(),
            metrics: None,
        }
    }

    /// `backend`'s. Where it has a rate, the processes that share it count each other within
    /// `settle`; `recount` is told when they should.
    pub(crate) fn new(
        backend: &BackendConfig,
        settle: Duration,
        recount: Arc<Notify>,
        metrics: FlowMetrics,
    ) -> Self {
        let rate = backend.definition.rate;
        let timeout = backend.definition.send.as_ref().map_or(TIMEOUT, |send| send.timeout.0);
        let now = Instant::now();
        let width = Width::new(backend.concurrency_min, backend.concurrency, now);
        let state = State::new(backend.breaker, rate, settle, width, now);
        metrics.concurrency(state.messages());
        Self {
            name: backend.name.to_string(),
            state: Mutex::new(state),
            changed: Notify::new(),
            lanes: rate.map(|_| [LaneGate::new(), LaneGate::new()]),
            prefetch: prefetch(backend.concurrency, rate, timeout),
            recount,
            metrics: Some(metrics),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a rate.
    pub(crate) fn is_rated(&self) -> bool {
        self.lanes.is_some()
    }

    /// What a subscription of this kind prefetches. With a rate it is what goes out in the time that
    /// a request may take: more would wait here and not in the queue.
    pub(crate) fn prefetch(&self, mode: Mode) -> u16 {
        if mode == Mode::Full { self.prefetch } else { 1 }
    }

    /// Waits until something may be taken.
    pub(crate) async fn opens(&self) -> Mode {
        let until_open = || match self.state().mode(Instant::now()) {
            Mode::Shut(until) => Err(Step::At(until)),
            mode => Ok(mode),
        };
        let mode = self.until(until_open).await;
        if let (Mode::Full, Some(metrics)) = (mode, &self.metrics) {
            metrics.goes_on();
        }
        mode
    }

    /// Waits until it is not `mode` any more.
    pub(crate) async fn leaves(&self, mode: Mode) {
        let still = || self.state().mode(Instant::now()).is_like(mode);
        self.until(|| if still() { Err(Step::Later) } else { Ok(()) }).await;
    }

    /// A subscription begins.
    pub(crate) fn consuming(&self) {
        if let Some(pace) = &mut self.state().pace {
            pace.share.forget();
        }
        self.recount.notify_one();
    }

    /// So many consumers of the backend's queue were counted, in all processes; `None`: the broker is
    /// lost, and with it the subscription.
    pub(crate) fn counted(&self, consumers: Option<u32>) {
        let mut state = self.state();
        let Some(pace) = &mut state.pace else { return };
        let before = pace.share.per_second();
        match consumers {
            Some(consumers) => pace.share.counted(consumers, Instant::now()),
            None => pace.share.forget(),
        }
        let share = pace.share.per_second();
        drop(state);
        if share != before {
            if let Some(metrics) = &self.metrics {
                metrics.share(share.unwrap_or_default());
            }
            self.changed.notify_waiters();
        }
    }

    /// Waits until another message may be taken, though there may be some.
    pub(crate) async fn admits(&self) {
        self.until(|| self.state().held(Instant::now()).map_or(Ok(()), Err)).await;
    }

    /// How many places a message takes of those for the messages in work.
    pub(crate) fn places(&self) -> u32 {
        self.state().places(Instant::now())
    }

    /// The right to take `lane`'s next message.
    pub(crate) async fn door(&self, lane: Priority) -> Door {
        let lanes = self.lanes.as_ref()?;
        let door = match lane {
            Priority::Normal => &lanes[0].door,
            Priority::Bulk => &lanes[1].door,
        };
        // Never closed.
        door.clone().acquire_owned().await.ok()
    }

    /// There is room for another message, and none to be had: until one is taken.
    pub(crate) fn idles(&self) {
        self.state().idles();
    }

    /// A message of `lane` was taken through `door`.
    pub(crate) fn pass(self: &Arc<Self>, lane: Priority, door: Door) -> Pass {
        let now = Instant::now();
        let tries = self.state().taken(now);
        Pass { gate: self.clone(), lane, door: Mutex::new(door), tries, deadline: now + WAIT }
    }

    /// Waits until `condition` holds, asking again when it says so and whenever something changed.
    async fn until<T>(&self, condition: impl Fn() -> Result<T, Step>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match condition() {
                Ok(value) => return value,
                Err(Step::At(instant)) => tokio::select! {
                    () = sleep_until(instant) => {}
                    () = changed => {}
                },
                Err(_) => changed.await,
            }
        }
    }

    fn tell(&self, noted: Noted, outcomes: &[Outcome]) {
        let (Some(metrics), backend) = (&self.metrics, self.name.as_str()) else { return };
        let code =
            || outcomes.iter().find_map(|outcome| outcome.as_ref().err()).map(|failure| &*failure.code);
        let until = |pause| std::time::Instant::now() + pause;
        if let Some((pause, new)) = noted.throttled {
            metrics.throttled();
            if new {
                let seconds = pause.as_secs_f64();
                tracing::warn!(
                    backend,
                    code = code(),
                    seconds,
                    "the provider asks for less: nothing is sent for a while"
                );
            }
            if matches!(self.state().mode(Instant::now()), Mode::Shut(_)) {
                metrics.pauses(until(pause), "its provider asked for time".to_owned());
            }
        }
        let why = || {
            format!(
                "its provider is down: sends failed in a row, the last with {}",
                code().unwrap_or_default()
            )
        };
        match noted.breaker {
            None => {}
            Some(Change::Opened(pause)) => {
                metrics.breaker(true);
                metrics.pauses(until(pause), why());
                let seconds = pause.as_secs_f64();
                tracing::warn!(
                    backend,
                    code = code(),
                    seconds,
                    "the provider is down: its messages wait in their queue"
                );
            }
            Some(Change::StaysOpen(pause)) => metrics.pauses(until(pause), why()),
            Some(Change::Closed) => {
                metrics.breaker(false);
                metrics.goes_on();
                tracing::info!(backend, "the provider is back: its messages are sent again");
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn prefetch(concurrency: u16, rate: Option<RateLimit>, timeout: Duration) -> u16 {
    // Twice: while as many are sent, as many wait for the broker's confirm of what became of them.
    let unrated = concurrency.saturating_mul(2).clamp(1, MAX_PREFETCH);
    let out = rate.map(|rate| rate.limit.per_second() * timeout.as_secs_f64() + 1.0);
    // Saturates.
    out.map_or(unrated, |out| unrated.min(out as u16).max(1))
}

/// Why a request was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Sending paused meanwhile.
    Paused,
    /// It would have waited too long.
    TooLong,
}

impl Held {
    /// What that is for a recipient.
    pub(crate) fn failure(self) -> Failure {
        Failure::transient(
            NOT_BEGUN,
            match self {
                Self::Paused => "sending through this backend paused before its turn: it was not begun",
                Self::TooLong => "the backend's rate did not let it go in time: it was not begun",
            },
        )
    }
}

impl Pass {
    /// Waits until a request of this `cost` may go.
    ///
    /// # Errors
    /// It must not go: what is left of the message goes back to its queue.
    pub(crate) async fn request(&self, cost: u32) -> Result<(), Held> {
        let gate = &*self.gate;
        let Some(lanes) = &gate.lanes else {
            return self.released(gate, cost).await;
        };
        let lane = if self.lane == Priority::Normal { &lanes[0] } else { &lanes[1] };
        let begun = Instant::now();
        let waited = tokio::time::timeout_at(self.deadline, async {
            let _front = lane.front.acquire().await;
            gate.state().waits(self.lane, Instant::now());
            let _waiting = Waiting(self);
            self.released(gate, cost).await
        });
        let outcome = waited.await.unwrap_or(Err(Held::TooLong));
        if let (Ok(()), Some(metrics)) = (outcome, &gate.metrics) {
            metrics.waited(begun.elapsed().as_secs_f64());
        }
        outcome
    }

    async fn released(&self, gate: &Gate, cost: u32) -> Result<(), Held> {
        let step = || gate.state().step(self.lane, cost, self.tries, Instant::now());
        gate.until(|| match step() {
            Step::Go => Ok(Ok(())),
            Step::Shut => Ok(Err(Held::Paused)),
            wait => Err(wait),
        })
        .await
    }

    /// The message's requests are on their way: the lane's next message may be taken.
    pub(crate) fn moves_on(&self) {
        drop(self.door.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Notes what one send came to for each of its recipients, and how long it took. Where the
    /// provider is to be given time before the next attempt, the failure then says how much.
    pub(crate) fn note(&self, outcomes: &mut [Outcome], took: Duration) {
        let (gate, now) = (&*self.gate, Instant::now());
        let mut state = gate.state();
        let noted = state.note(outcomes, self.tries, now);
        let messages = state.answered(outcomes, took, now);
        drop(state);
        if let (Some(messages), Some(metrics)) = (messages, &gate.metrics) {
            metrics.concurrency(messages);
        }
        if noted != Noted::default() {
            gate.tell(noted, outcomes);
            gate.changed.notify_waiters();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state().given_up(self.tries);
        if self.tries {
            self.gate.changed.notify_waiters();
        }
    }
}

/// A request that waits for the rate, for as long as it is there.
struct Waiting<'a>(&'a Pass);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let gate = &*self.0.gate;
        gate.state().leaves(self.0.lane, Instant::now());
        gate.changed.notify_waiters();
    }
}
