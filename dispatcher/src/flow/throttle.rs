//! A provider that asks for less: how long nothing is sent, and how slowly it begins again.
//!
//! A 429 or a `Retry-After` pauses the backend, at most for an hour. Up to five seconds, messages are kept
//! in hand; a longer pause ends the subscription. Then the backend goes on at half its speed (half the
//! rate, or half the limit without a rate), and is back at full speed within a minute.

use postern_shared::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after a 429 that names no pause; it doubles with each one that follows.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause if the provider names no pause.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest pause that a provider can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);
/// The lowest speed, as a part of the usual speed.
const SLOWEST: f64 = 1.0 / 16.0;
/// How long the speed takes to grow from nothing to the usual speed.
const RECOVERY: Duration = Duration::from_secs(60);

/// How much slower than usual the backend sends, because the provider asked for it.
#[derive(Debug)]
pub(crate) struct Throttle {
    pause: Option<ThrottlePause>,
    /// The pauses after answers that name no pause.
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy)]
struct ThrottlePause {
    until: Instant,
    /// The speed when the pause ends, as a part of the usual speed.
    speed: f64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { pause: None, backoff: Backoff::new(FIRST, LONGEST) }
    }
}

impl Throttle {
    /// Notes that the provider asked for less, for the time `wish` if it named one. Returns how long
    /// nothing is sent, and whether that is a new pause.
    ///
    /// Each new pause halves the speed. Further answers of this kind during a pause do not: they are to
    /// earlier requests.
    pub(crate) fn asked(&mut self, wish: Option<Duration>, now: Instant) -> (Duration, bool) {
        let pausing = self.pause.is_some_and(|pause| now < pause.until);
        let own = if pausing { Duration::ZERO } else { self.backoff.pause() };
        let wanted = wish.map_or(own, |wish| wish.min(LONGEST_ASKED));
        let until = self.pause.map_or(now, |pause| pause.until).max(now + wanted);
        let speed = match self.pause {
            Some(pause) if pausing => pause.speed,
            _ => (self.speed(now) / 2.0).max(SLOWEST),
        };
        self.pause = Some(ThrottlePause { until, speed });
        (until.saturating_duration_since(now), !pausing)
    }

    /// Notes that the provider accepted a message. If the pause is over, the next one is short again.
    pub(crate) fn taken(&mut self, now: Instant) {
        if self.pause.is_some_and(|pause| now >= pause.until) {
            self.backoff.reset();
            if self.speed(now) >= 1.0 {
                self.pause = None;
            }
        }
    }

    /// The end of the pause. `None` if it is over.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.pause.map(|pause| pause.until).filter(|until| now < *until)
    }

    /// The speed to use at `now`, as a part of the usual speed: 1 if nobody asked for less.
    pub(crate) fn speed(&self, now: Instant) -> f64 {
        self.pause.map_or(1.0, |ThrottlePause { until, speed }| {
            let since = now.saturating_duration_since(until);
            (speed + since.as_secs_f64() / RECOVERY.as_secs_f64()).min(1.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_wish_is_kept_within_bounds_and_pauses_without_one_double() {
        let mut throttle = Throttle::default();
        let mut now = Instant::now();
        assert_eq!(throttle.asked(Some(seconds(86_400)), now), (seconds(3_600), true));
        assert_eq!(throttle.until(now), Some(now + seconds(3_600)));
        let mut throttle = Throttle::default();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(throttle.asked(None, now), (seconds(pause), true));
            now += seconds(pause);
            assert_eq!(throttle.until(now), None);
        }
        throttle.taken(now);
        assert_eq!(throttle.asked(None, now), (seconds(1), true));
    }

    #[test]
    fn the_speed_is_halved_once_a_pause_and_comes_back_slowly() {
        let now = Instant::now();
        let mut throttle = Throttle::default();
        assert_eq!(throttle.speed(now), 1.0);
        throttle.asked(Some(seconds(2)), now);
        for _ in 0..64 {
            assert_eq!(throttle.asked(Some(seconds(1)), now), (seconds(2), false), "in flight before it");
        }
        let over = now + seconds(2);
        assert_eq!(throttle.speed(over), 0.5);
        assert_eq!(throttle.speed(over + seconds(15)), 0.75);
        throttle.taken(over + seconds(15));
        assert_eq!(throttle.speed(over + seconds(40)), 1.0);
        for _ in 0..10 {
            let (pause, _) = throttle.asked(None, over);
            assert!(throttle.speed(over + pause) >= SLOWEST);
        }
    }
}
