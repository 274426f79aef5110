//! The pause before each further attempt.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// Pauses between attempts, without end: each is twice as long as the one before, up to the longest one.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    pauses: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    /// Pauses that begin with `first` and grow to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        let builder = ExponentialBuilder::new().with_min_delay(first.min(longest)).with_max_delay(longest);
        Self::from(builder.without_max_times(), longest)
    }

    /// Adds a random part to each pause, at most as long as the pause itself, so that processes that
    /// failed together do not try again together.
    #[must_use]
    pub fn with_jitter(self) -> Self {
        Self::from(self.builder.with_jitter(), self.longest)
    }

    fn from(builder: ExponentialBuilder, longest: Duration) -> Self {
        Self { builder, pauses: builder.build(), longest }
    }

    /// How long to wait before the next attempt.
    pub fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.longest)
    }

    /// Begins again with the first pause, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.pauses = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let pauses =
            |backoff: &mut Backoff| -> Vec<u64> { (0..5).map(|_| backoff.pause().as_secs()).collect() };
        assert_eq!(pauses(&mut backoff), [5, 10, 20, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.pause(), FIRST);
        assert_eq!(Backoff::new(LONGEST, FIRST).pause(), FIRST, "no pause is longer than the longest");
    }

    #[test]
    fn jitter_at_most_doubles_a_pause_and_is_another_one_each_time() {
        let pause = || Backoff::new(FIRST, LONGEST).with_jitter().pause();
        let pauses: Vec<Duration> = (0..100).map(|_| pause()).collect();
        assert!(pauses.iter().all(|pause| (FIRST..=FIRST * 2).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        let middle = FIRST + FIRST / 2;
        let long = pauses.iter().filter(|pause| **pause > middle).count();
        assert!((20..=80).contains(&long), "{long} of 100 are in the longer half");
    }
}
