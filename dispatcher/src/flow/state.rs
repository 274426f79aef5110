//! What a gate knows, as a value that is told the time.

use super::{
    breaker::{Breaker, Change, Sign},
    rate::{Bucket, Share},
    throttle::Throttle,
    turn::Turn,
    width::Width,
};
use crate::backends::Outcome;
use postern_config::{BreakerSection, backend::flow::RateLimit};
use postern_shared::{
    error::{Failure, FailureClass},
    message::Priority,
};
use std::time::Duration;
use tokio::time::Instant;

/// A pause of the provider's wish that is not longer is waited for with messages in hand.
const SHORT: Duration = Duration::from_secs(5);
/// Where nobody wanted to send for so long, what was not used of the rate is lost but for the burst.
const IDLE: Duration = Duration::from_millis(50);

/// What may be taken from a backend's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As much as can be worked on.
    Full,
    /// One message at a time, to see whether the provider is back.
    One,
    /// Nothing, before then.
    Shut(Instant),
}

impl Mode {
    /// Whether it is the same but for the time.
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What a request that wants to go is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes.
    Go,
    /// Not before then.
    At(Instant),
    /// Not before something changes.
    Later,
    /// Its message goes back to the queue.
    Shut,
}

/// What came of the answers to one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Noted {
    pub(super) breaker: Option<Change>,
    /// The provider asked for less: for so long nothing is sent, and whether that is new.
    pub(super) throttled: Option<(Duration, bool)>,
}

#[derive(Debug)]
pub(super) struct State {
    breaker: Breaker,
    throttle: Throttle,
    pub(super) pace: Option<Pace>,
    /// Whether the one message of [`Mode::One`] is on its way.
    pub(super) trying: bool,
    width: Width,
    /// Whether there is room for another message, and none to be had.
    idle: bool,
}

/// How a rate is kept.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) share: Share,
    bucket: Bucket,
    burst: f64,
    turn: Turn,
    /// Requests that want to go, by lane.
    waiting: [usize; 2],
    /// Since when none has.
    idle_since: Instant,
    /// By which the bucket was last filled, a second.
    per_second: f64,
}

impl State {
    pub(super) fn new(
        breaker: BreakerSection,
        rate: Option<RateLimit>,
        settle: Duration,
        width: Width,
        now: Instant,
    ) -> Self {
        let pace = rate.map(|rate| {
            let limit = rate.limit.per_second();
            Pace {
                share: Share::new(limit, settle),
                bucket: Bucket::new(now),
                burst: rate.burst.map_or((limit / 10.0).max(1.0), f64::from),
                turn: Turn::default(),
                waiting: [0; 2],
                idle_since: now,
                per_second: limit,
            }
        });
        Self {
            breaker: Breaker::new(breaker),
            throttle: Throttle::default(),
            pace,
            trying: false,
            width,
            idle: false,
        }
    }

    pub(super) fn mode(&self, now: Instant) -> Mode {
        match self.breaker.until() {
            Some(until) if now < until => return Mode::Shut(until),
            Some(_) => return Mode::One,
            None => {}
        }
        match self.throttle.until(now).and_then(|until| until.checked_sub(SHORT)) {
            Some(until) if now < until => Mode::Shut(until),
            _ => Mode::Full,
        }
    }

    /// Until when nothing more is to be taken, though there is a subscription.
    pub(super) fn held(&self, now: Instant) -> Option<Step> {
        match self.throttle.until(now) {
            Some(until) => Some(Step::At(until)),
            None => (self.trying && self.breaker.until().is_some()).then_some(Step::Later),
        }
    }

    /// A message was taken: whether it is the one that shows whether the provider is back. There is
    /// one at a time, wherever it was taken from.
    pub(super) fn taken(&mut self, now: Instant) -> bool {
        self.idle = false;
        let tries = self.mode(now) == Mode::One && !self.trying;
        self.trying |= tries;
        tries
    }

    /// There is room for another message, and none to be had.
    pub(super) fn idles(&mut self) {
        self.idle = true;
    }

    /// A message that was taken is in work no more.
    pub(super) fn given_up(&mut self, tries: bool) {
        self.trying &= !tries;
    }

    /// How many places one message takes: more than one while the speed comes back, or where the
    /// width is not the widest.
    pub(super) fn places(&self, now: Instant) -> u32 {
        if self.pace.is_some() {
            return 1;
        }
        // 1 to 16.
        let slower = (1.0 / self.throttle.speed(now)).round() as u32;
        self.width.places() * slower.max(1)
    }

    /// Notes that an answer took so long; how many messages may be sent at a time, where that is
    /// another number now.
    pub(super) fn answered(&mut self, outcomes: &[Outcome], took: Duration, now: Instant) -> Option<u32> {
        if self.throttle.speed(now) < 1.0 || self.breaker.until().is_some() {
            return self.width.forget(now).then(|| self.width.messages());
        }
        let done = |outcome: &Outcome| match outcome {
            Ok(_) => true,
            Err(failure) => failure.class == FailureClass::Permanent,
        };
        let changed = self.width.answered(took, outcomes.iter().all(done), self.idle, now);
        changed.then(|| self.width.messages())
    }

    /// How many messages may be sent at a time.
    pub(super) fn messages(&self) -> u32 {
        self.width.messages()
    }

    /// A request of `lane` begins to wait.
    pub(super) fn waits(&mut self, lane: Priority, now: Instant) {
        if let Some(pace) = &mut self.pace {
            if pace.waiting == [0; 2] && now.saturating_duration_since(pace.idle_since) > IDLE {
                pace.bucket.idle(now, pace.per_second, pace.burst * pace.share.part());
            }
            pace.waiting[index(lane)] += 1;
        }
    }

    /// It waits no more.
    pub(super) fn leaves(&mut self, lane: Priority, now: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.waiting[index(lane)] = pace.waiting[index(lane)].saturating_sub(1);
            if pace.waiting == [0; 2] {
                pace.idle_since = now;
            }
        }
    }

    /// Whether a request of this `cost` may go now, which then counts. `tries`: it belongs to the
    /// message that shows whether the provider is back.
    pub(super) fn step(&mut self, lane: Priority, cost: u32, tries: bool, now: Instant) -> Step {
        match self.mode(now) {
            Mode::Shut(_) => return Step::Shut,
            Mode::One if !tries => return Step::Shut,
            Mode::One | Mode::Full => {}
        }
        if let Some(until) = self.throttle.until(now) {
            if let Some(pace) = &mut self.pace {
                pace.bucket.not_before(until);
            }
            return Step::At(until);
        }
        let speed = self.throttle.speed(now);
        self.pace.as_mut().map_or(Step::Go, |pace| pace.step(lane, cost, speed, now))
    }

    /// Notes what one send came to for each of its recipients. Where the provider is to be given
    /// time before the next attempt, the failure then says how much.
    pub(super) fn note(&mut self, outcomes: &mut [Outcome], tries: bool, now: Instant) -> Noted {
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
        if let (true, Some(Change::StaysOpen(pause))) = (tries, noted.breaker) {
            let surely_not_sent = |failure: &&mut Failure| failure.class == FailureClass::Transient;
            for failure in failures(outcomes).filter(surely_not_sent) {
                failure.retry_after = Some(pause);
            }
        }
        noted
    }
}

impl Pace {
    fn step(&mut self, lane: Priority, cost: u32, speed: f64, now: Instant) -> Step {
        let (Some(share), Some(from)) = (self.share.per_second(), self.share.from()) else {
            return Step::Later;
        };
        self.bucket.not_before(from);
        if now < from {
            return Step::At(from);
        }
        if self.turn.of(self.waiting[0] > 0, self.waiting[1] > 0) != Some(lane) {
            return Step::Later;
        }
        let per_second = share * speed;
        if (per_second - self.per_second).abs() > f64::EPSILON {
            self.bucket.changed(now, self.per_second, per_second);
            self.per_second = per_second;
        }
        if now < self.bucket.due() {
            return Step::At(self.bucket.due());
        }
        self.bucket.take(now, per_second, self.burst * self.share.part(), cost);
        self.turn.took(lane);
        Step::Go
    }
}

fn index(lane: Priority) -> usize {
    match lane {
        Priority::Normal => 0,
        Priority::Bulk => 1,
    }
}

fn failures(outcomes: &mut [Outcome]) -> impl Iterator<Item = &mut Failure> {
    outcomes.iter_mut().filter_map(|outcome| outcome.as_mut().err())
}

/// A 429, or whatever else came with a `Retry-After`.
fn asks_for_less(failure: &Failure) -> bool {
    failure.class == FailureClass::Throttled || failure.retry_after.is_some()
}

/// What the outcomes of one send say of the provider. One that took a single recipient over, refused
/// one, or asked for less works.
fn sign(outcomes: &[Outcome]) -> Sign {
    let mut sign = Sign::None;
    for outcome in outcomes {
        match outcome {
            Ok(_) => return Sign::Up,
            Err(Failure { class: FailureClass::Permanent | FailureClass::Throttled, .. }) => return Sign::Up,
            Err(failure) if failure.retry_after.is_none() && failure.says_down() => sign = Sign::Down,
            Err(_) => {}
        }
    }
    sign
}

#[cfg(test)]
mod tests;
