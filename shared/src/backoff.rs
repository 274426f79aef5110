//! The pause before each further attempt.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Pauses between attempts: each twice as long as the one before, up to a longest one.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    jittered: bool,
    next: Duration,
}

impl Backoff {
    /// Pauses that begin with `first` and grow to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, jittered: false, next: first }
    }

    /// Adds a random part to each pause, at most as long as the pause itself, so that processes that
    /// failed together do not try again together.
    pub const fn with_jitter(self) -> Self {
        Self { jittered: true, ..self }
    }

    /// How long to wait before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        if self.jittered { pause.saturating_add(pause.mul_f64(random())) } else { pause }
    }

    /// An attempt succeeded: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A number from 0 to 1. Each `RandomState` has other keys.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(()) >> 11;
    bits as f64 / (1_u64 << 53) as f64
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
