//! Log lines that others can cause without limit: one in a while, with the number of the rest.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Permits one log line in a while.
#[derive(Debug)]
pub(crate) struct LogLimit {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl LogLimit {
    /// Permits one line in the time of `every`.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, state: Mutex::default() }
    }

    /// Whether a line may be written now, and then how many were not since the last one.
    pub(crate) fn permit(&self) -> Option<u64> {
        self.permit_at(Instant::now())
    }

    fn permit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_tells_of_the_rest() {
        let (limit, start) = (LogLimit::new(Duration::from_secs(10)), Instant::now());
        for (second, wanted) in [(0, Some(0)), (0, None), (9, None), (10, Some(2)), (11, None), (30, Some(1))]
        {
            assert_eq!(limit.permit_at(start + Duration::from_secs(second)), wanted, "{second}");
        }
    }
}
