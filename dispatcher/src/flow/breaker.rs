//! A circuit breaker: whether a provider is down, by what its last answers said.
//!
//! It counts consecutive failures that say that the provider is down (`Failure::says_down`), that it accepts
//! nothing (`Failure::was_not_accepted`), or that its answer says nothing about the recipient
//! (`Failure::had_no_outcome`). A failure counts by its code and not by its class alone: a provider also uses
//! `transient` for single messages, and those must not stop the others. A single `200 ERROR` is about one
//! message as well, but a run of them without any success means a wrong `send.success`, and a run of answers
//! that say nothing about the recipients a wrong `send.results`: each attempt would send to everybody again.
//!
//! When the breaker opens, the subscription ends and prefetched messages are requeued. After a growing
//! pause with jitter, one message is taken as a probe, from the normal lane if one waits there; if it
//! succeeds, the subscription begins again. The messages that failed before have used up an attempt.
//! Messages in hand and probes have not, unless the provider may have sent them.

use postern_config::BreakerSection;
use postern_shared::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// What the answer to one request says about the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It works: it accepted a message, refused one because of the message itself, or asked for less.
    Up,
    /// It is down, or it accepted nothing, or it said nothing about any recipient.
    Down,
    /// The answer says nothing about it.
    None,
}

/// How a sign changed the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerChange {
    /// It opened: nothing is sent for this long.
    Opened(Duration),
    /// The probe failed: nothing is sent for this long.
    StaysOpen(Duration),
    /// It closed.
    Closed,
}

/// A circuit breaker. While it is open, it lets nothing through until its pause is over, and then one
/// message at a time until one shows whether the provider works.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// The number of consecutive failures that opens it. 0: it never opens.
    failures: u32,
    in_a_row: u32,
    /// The end of the pause. `None` while it is closed.
    until: Option<Instant>,
    backoff: Backoff,
    first_pause: Duration,
    /// When the other side last showed that it works.
    last_up: Option<Instant>,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new(section: BreakerSection) -> Self {
        let backoff = Backoff::new(section.pause.0, section.max_pause.0).with_jitter();
        let (failures, first_pause) = (section.failures, section.pause.0);
        Self { failures, in_a_row: 0, until: None, backoff, first_pause, last_up: None }
    }

    /// The end of the pause. `None` while it is closed.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Notes a sign. During the pause, signs change nothing: those requests were in flight when the breaker
    /// opened.
    pub(crate) fn note(&mut self, sign: Sign, now: Instant) -> Option<BreakerChange> {
        if sign == Sign::Up {
            self.last_up = Some(now);
        }
        match (self.until, sign) {
            (_, Sign::None) => None,
            (Some(until), _) if now < until => None,
            (Some(_), Sign::Down) => Some(BreakerChange::StaysOpen(self.pause(now))),
            (Some(_), Sign::Up) => {
                self.until = None;
                self.in_a_row = 0;
                self.backoff.reset();
                Some(BreakerChange::Closed)
            }
            (None, Sign::Up) => {
                self.in_a_row = 0;
                None
            }
            (None, Sign::Down) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                let opens = self.failures > 0 && self.in_a_row >= self.failures;
                opens.then(|| BreakerChange::Opened(self.pause(now)))
            }
        }
    }

    /// Opens the breaker before enough sends have failed in a row, if nothing showed for `waited`, and for
    /// the first pause, that the other side works.
    pub(crate) fn note_alone(&mut self, waited: Duration, now: Instant) -> Option<BreakerChange> {
        let since = now.checked_sub(waited.max(self.first_pause));
        let worked = self.last_up.is_some_and(|up| since.is_none_or(|since| up >= since));
        (self.failures > 0 && self.until.is_none() && !worked).then(|| BreakerChange::Opened(self.pause(now)))
    }

    fn pause(&mut self, now: Instant) -> Duration {
        let pause = self.backoff.pause();
        self.until = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_shared::value::Span;

    fn breaker(failures: u32) -> Breaker {
        let (pause, max_pause) = (Span(Duration::from_secs(5)), Span(Duration::from_secs(30)));
        Breaker::new(BreakerSection { failures, pause, max_pause })
    }

    fn opened(breaker: &mut Breaker, now: Instant) -> Duration {
        match breaker.note(Sign::Down, now) {
            Some(BreakerChange::Opened(pause)) => pause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let (now, mut breaker) = (Instant::now(), breaker(3));
        for sign in [Sign::Down, Sign::Down, Sign::Up, Sign::Down, Sign::None, Sign::Down] {
            assert_eq!(breaker.note(sign, now), None);
        }
        let pause = opened(&mut breaker, now);
        assert!((5..=10).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(breaker.until(), Some(now + pause));
    }

    #[test]
    fn what_was_on_its_way_changes_nothing_and_the_pauses_grow_to_the_longest() {
        let (mut now, mut breaker) = (Instant::now(), breaker(1));
        let mut until = now + opened(&mut breaker, now);
        assert_eq!(breaker.note(Sign::Up, now), None);
        assert_eq!(breaker.note(Sign::Down, now), None);
        for base in [10, 20, 30, 30, 30] {
            now = until;
            let Some(BreakerChange::StaysOpen(pause)) = breaker.note(Sign::Down, now) else { panic!() };
            assert!((base..=2 * base).contains(&pause.as_secs()), "{base}: {pause:?}");
            until = now + pause;
        }
        assert_eq!(breaker.note(Sign::None, until), None, "a message that showed nothing");
        assert_eq!(breaker.note(Sign::Up, until), Some(BreakerChange::Closed));
        assert_eq!(breaker.until(), None);
        let pause = opened(&mut breaker, until);
        assert!(pause.as_secs() <= 10, "it begins anew: {pause:?}");
    }

    #[test]
    fn one_failure_opens_it_if_nothing_went_through_for_long_enough() {
        let (mut now, mut breaker) = (Instant::now(), breaker(10));
        let hour = Duration::from_secs(3_600);
        assert_eq!(breaker.note(Sign::Up, now), None);
        assert_eq!(breaker.note(Sign::Down, now), None);
        assert_eq!(breaker.note_alone(Duration::ZERO, now), None, "it worked a moment ago");
        now += hour;
        assert_eq!(breaker.note_alone(hour, now), None, "it worked while the message waited");
        now += Duration::from_secs(1);
        let Some(BreakerChange::Opened(pause)) = breaker.note_alone(hour, now) else { panic!() };
        assert_eq!((breaker.until(), breaker.note_alone(hour, now)), (Some(now + pause), None));
    }

    #[test]
    fn without_failures_it_never_opens() {
        let mut breaker = breaker(0);
        assert!((0..1_000).all(|_| breaker.note(Sign::Down, Instant::now()).is_none()));
        assert_eq!(breaker.note_alone(Duration::ZERO, Instant::now()), None);
    }
}
