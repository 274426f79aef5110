//! What a backend's flow control knows, as a value that is told the time.

use super::{
    breaker::{Breaker, BreakerChange, Sign},
    concurrency::{AnswerSample, Concurrency},
    pacing::{Pacing, Release, SendRequest},
    throttle::Throttle,
};
use crate::outcome::Outcome;
use postern_config::{BreakerSection, backend::BackendConfig};
use postern_shared::{
    error::{Failure, FailureClass},
    message::Priority,
    value::Span,
};
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause requested by the provider during which messages are kept in hand.
const SHORT: Duration = Duration::from_secs(5);

/// What may be taken from a backend's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// As much as can be worked on.
    Open,
    /// One message at a time, to see whether the provider is back.
    Probe,
    /// Nothing until this instant.
    Closed(Instant),
    /// Nothing until an operator resumes the backend.
    Held,
}

impl Intake {
    /// Whether both are the same except for the time.
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What followed from the answers to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Noted {
    pub(super) breaker: Option<BreakerChange>,
    /// The provider asked for less: how long nothing is sent, and whether that is a new pause.
    pub(super) throttled: Option<(Duration, bool)>,
}

#[derive(Debug)]
pub(super) struct FlowState {
    breaker: Breaker,
    throttle: Throttle,
    pub(super) rate: Option<Pacing>,
    /// Whether the one message of [`Intake::Probe`] is in progress.
    probing: bool,
    concurrency: Concurrency,
    /// Whether another message could be taken but there is none.
    idle: bool,
    /// Whether an operator paused the backend.
    held: bool,
}

impl FlowState {
    /// The state of `backend`. The processes that share its rate count each other within `settle`.
    pub(super) fn new(backend: &BackendConfig, settle: Duration, now: Instant) -> Self {
        let concurrency = Concurrency::new(backend.concurrency_min, backend.concurrency, now);
        let rate = backend.definition.rate.map(|rate| Pacing::new(rate, settle, now));
        Self { rate, ..Self::of(backend.breaker, concurrency) }
    }

    /// A state that only limits the number of requests in flight.
    pub(super) fn fixed(concurrency: u16, now: Instant) -> Self {
        let zero = Span(Duration::ZERO);
        let never = BreakerSection { failures: 0, pause: zero, max_pause: zero };
        Self::with_breaker(concurrency, never, now)
    }

    /// A state that limits the number of requests in flight, and pauses as `breaker` says.
    pub(super) fn with_breaker(concurrency: u16, breaker: BreakerSection, now: Instant) -> Self {
        Self::of(breaker, Concurrency::new(concurrency, concurrency, now))
    }

    fn of(breaker: BreakerSection, concurrency: Concurrency) -> Self {
        Self {
            breaker: Breaker::new(breaker),
            throttle: Throttle::default(),
            rate: None,
            probing: false,
            concurrency,
            idle: false,
            held: false,
        }
    }

    /// Notes that an operator paused the backend.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Notes that the operator's pause is over.
    pub(super) fn unhold(&mut self) {
        self.held = false;
    }

    pub(super) fn intake(&self, now: Instant) -> Intake {
        if self.held {
            return Intake::Held;
        }
        match self.breaker.until() {
            Some(until) if now < until => return Intake::Closed(until),
            Some(_) => return Intake::Probe,
            None => {}
        }
        match self.throttle.until(now).and_then(|until| until.checked_sub(SHORT)) {
            Some(until) if now < until => Intake::Closed(until),
            _ => Intake::Open,
        }
    }

    /// When the next message may be taken by the existing subscription.
    pub(super) fn admits(&self, now: Instant) -> Release {
        match self.throttle.until(now) {
            Some(until) => Release::At(until),
            None if self.probing && self.breaker.until().is_some() => Release::OnChange,
            None => Release::Now,
        }
    }

    /// Whether the next message of `lane` may be taken. With a rate, only one message of each lane waits
    /// here for its turn, and the others stay prefetched.
    pub(super) fn admits_of(&self, lane: Priority) -> bool {
        self.rate.as_ref().is_none_or(|pacing| pacing.has_begun_all(lane))
    }

    /// Notes that a message of `lane` was taken. Returns whether it shows if the provider is back.
    pub(super) fn taken(&mut self, lane: Priority, now: Instant) -> bool {
        self.idle = false;
        if let Some(pacing) = &mut self.rate {
            pacing.taken(lane);
        }
        let probe = self.intake(now) == Intake::Probe && !self.probing;
        self.probing |= probe;
        probe
    }

    /// Notes that another message could be taken but there is none, until one is [`taken`](Self::taken).
    pub(super) fn idles(&mut self) {
        self.idle = true;
    }

    /// Notes that no request of a message of `lane` is still to be begun.
    pub(super) fn begun(&mut self, lane: Priority) {
        if let Some(pacing) = &mut self.rate {
            pacing.begun(lane);
        }
    }

    /// Notes that a message is no longer in progress. `probe` is what [`taken`](Self::taken) returned for it.
    pub(super) fn ended(&mut self, probe: bool) {
        self.probing &= !probe;
    }

    /// How many requests may be in flight. Without a rate, they are only a part of the usual number while a
    /// throttled provider's speed recovers.
    pub(super) fn limit(&self, now: Instant) -> u32 {
        let all = self.concurrency.limit();
        if self.rate.is_some() {
            return all;
        }
        // Truncates, and is at least 1.
        (f64::from(all) * self.throttle.speed(now)).max(1.0) as u32
    }

    /// Notes that a request of `lane` begins to wait for the rate, and returns its ticket.
    pub(super) fn waits(&mut self, lane: Priority, now: Instant) -> u64 {
        self.rate.as_mut().map_or(0, |pacing| pacing.waits(lane, now))
    }

    /// Notes that a request no longer waits.
    pub(super) fn leaves(&mut self, lane: Priority, ticket: u64, now: Instant) {
        if let Some(pacing) = &mut self.rate {
            pacing.leaves(lane, ticket, now);
        }
    }

    /// When `request` may be made. If the answer is [`Release::Now`], the request is counted.
    pub(super) fn release(&mut self, request: SendRequest, now: Instant) -> Release {
        match self.intake(now) {
            Intake::Held | Intake::Closed(_) => return Release::Paused,
            Intake::Probe if !request.probe => return Release::Paused,
            Intake::Probe | Intake::Open => {}
        }
        if let Some(until) = self.throttle.until(now) {
            if let Some(pacing) = &mut self.rate {
                pacing.not_before(until);
            }
            return Release::At(until);
        }
        let speed = self.throttle.speed(now);
        self.rate.as_mut().map_or(Release::Now, |pacing| pacing.release(request, speed, now))
    }

    /// Notes the outcomes of one request, one for each recipient. If the provider needs time before the
    /// next attempt, the failures then say how much.
    pub(super) fn note(&mut self, outcomes: &mut [Outcome], probe: bool, now: Instant) -> Noted {
        let mut noted = Noted::default();
        let sign = sign(outcomes);
        if outcomes.iter().any(Result::is_ok) {
            self.throttle.taken(now);
        }
        if failures(outcomes).any(|failure| asks_for_less(failure)) {
            let wish = failures(outcomes).filter_map(|failure| failure.retry_after).max();
            let (pause, new) = self.throttle.asked(wish, now);
            for failure in failures(outcomes).filter(|failure| asks_for_less(failure)) {
                failure.retry_after = Some(pause);
            }
            noted.throttled = Some((pause, new));
        }
        noted.breaker = self.breaker.note(sign, now);
        if let (true, Some(BreakerChange::StaysOpen(pause))) = (probe, noted.breaker) {
            let surely_not_sent = |failure: &&mut Failure| {
                failure.class == FailureClass::Transient && !failure.was_not_accepted()
            };
            for failure in failures(outcomes).filter(surely_not_sent) {
                failure.retry_after = Some(pause);
            }
        }
        noted
    }

    /// Notes the outcome of a delivery to the only receiver. `last_wait` is how long the message waited for
    /// this attempt if it is the last one. Returns what changed, and how long the receiver is not called if
    /// it is down and the breaker open: then the attempt does not count.
    ///
    /// A run of failures would take too long if few messages come. So a failure to connect opens the
    /// breaker if nothing went through for the first pause, and so does a last attempt if nothing went
    /// through since the one before it.
    ///
    /// Unlike for a backend, a `Retry-After` is only about its message: it pauses nothing.
    pub(super) fn note_delivery(
        &mut self,
        outcome: &Outcome,
        last_wait: Option<Duration>,
        now: Instant,
    ) -> (Option<BreakerChange>, Option<Duration>) {
        let sign = match outcome {
            Err(failure) if failure.says_down() => Sign::Down,
            outcome => sign(std::slice::from_ref(outcome)),
        };
        let mut change = self.breaker.note(sign, now);
        if sign != Sign::Down {
            return (change, None);
        }
        let no_connection = outcome.as_ref().is_err_and(Failure::had_no_connection);
        let waited = if no_connection { Some(Duration::ZERO) } else { last_wait };
        if let (None, Some(waited)) = (change, waited) {
            change = self.breaker.note_alone(waited, now);
        }
        (change, self.breaker.until().map(|until| until.saturating_duration_since(now)))
    }

    /// Notes how long the answer to a request took. `room`: a permit was free.
    pub(super) fn answered(&mut self, outcomes: &[Outcome], took: Duration, room: bool, now: Instant) {
        if self.throttle.speed(now) < 1.0 || self.breaker.until().is_some() {
            return self.concurrency.disturbed(now);
        }
        let done = |outcome: &Outcome| match outcome {
            Ok(_) => true,
            Err(failure) => failure.class == FailureClass::Permanent,
        };
        let through = outcomes.iter().all(done);
        self.concurrency.answered(AnswerSample { took, through, idle: self.idle && room }, now);
    }

    /// How many requests may be in flight, apart from throttling.
    pub(super) fn concurrency(&self) -> u32 {
        self.concurrency.limit()
    }
}

fn failures(outcomes: &mut [Outcome]) -> impl Iterator<Item = &mut Failure> {
    outcomes.iter_mut().filter_map(|outcome| outcome.as_mut().err())
}

/// Whether it is a 429, or came with a `Retry-After`.
fn asks_for_less(failure: &Failure) -> bool {
    failure.class == FailureClass::Throttled || failure.retry_after.is_some()
}

/// What the outcomes of one request say about the provider. A provider that accepted, refused or throttled
/// a single recipient works. A failure with a `Retry-After` says nothing. A provider that accepts nothing,
/// or says nothing about any recipient, in many requests in a row is as good as down: it may have sent all of
/// them, and would send them again with each attempt.
fn sign(outcomes: &[Outcome]) -> Sign {
    let mut sign = Sign::None;
    for outcome in outcomes {
        match outcome {
            Ok(_) => return Sign::Up,
            Err(Failure { class: FailureClass::Permanent | FailureClass::Throttled, .. }) => return Sign::Up,
            Err(failure) if failure.retry_after.is_some() => {}
            Err(failure) if failure.says_down() || failure.was_not_accepted() || failure.had_no_outcome() => {
                sign = Sign::Down;
            }
            Err(_) => {}
        }
    }
    sign
}

#[cfg(test)]
mod tests;
