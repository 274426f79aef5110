//! The rate of one process: when the next request may go, and which share of the limit this process has.
//! Both are values that are told the time.

use std::time::Duration;
use tokio::time::Instant;

/// How many seconds may be caught up at once after the process was held up: a timer that fires late must
/// not lower the rate.
const CATCH_UP: f64 = 0.1;

/// When the next request may go: the generic cell rate algorithm (ITU-T I.371), in which a request
/// that costs more than one makes the next one wait longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// The earliest instant of the next request.
    due: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// The earliest instant of the next request.
    pub(crate) fn due(self) -> Instant {
        self.due
    }

    /// Notes that no request waited until `now`: the unused rate is lost, except for `burst` requests.
    pub(crate) fn idle(&mut self, now: Instant, per_second: f64, burst: f64) {
        self.keep(now, (burst - 1.0).max(0.0) / per_second);
    }

    /// Counts a request of this `cost` that goes at `now`, after it was [`due`](Self::due).
    pub(crate) fn take(&mut self, now: Instant, per_second: f64, burst: f64, cost: u32) {
        self.keep(now, ((burst - 1.0).max(0.0) / per_second).max(CATCH_UP));
        self.due += seconds(f64::from(cost) / per_second);
    }

    /// Lets no request go before `then`. Nothing is caught up for that time.
    pub(crate) fn not_before(&mut self, then: Instant) {
        self.due = self.due.max(then);
    }

    /// Notes that the rate changed: what is owed at the old rate is owed at the new one.
    pub(crate) fn changed(&mut self, now: Instant, before: f64, after: f64) {
        let owed = self.due.saturating_duration_since(now).as_secs_f64();
        if owed > 0.0 && before > 0.0 {
            self.due = now + seconds(owed * before / after);
        }
    }

    fn keep(&mut self, now: Instant, back: f64) {
        let earliest = now.checked_sub(seconds(back)).unwrap_or(now);
        self.due = self.due.max(earliest);
    }
}

fn seconds(number: f64) -> Duration {
    // A month is as good as never.
    Duration::from_secs_f64(number.clamp(0.0, 2_592_000.0))
}

/// This process's share of a limit: the limit divided by the number of consumers of the backend's
/// queue, all of which count each other.
///
/// A process that has just begun to consume and is not alone sends nothing until the others have had the
/// time to count it; one that counts fewer than before goes faster at once. So the shares add up to the
/// limit, or for a moment to less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessShare {
    limit: f64,
    settle: Duration,
    /// The consumers, this process's included. `None` if they are not known.
    consumers: Option<u32>,
    /// Since when they are known.
    known: Option<Instant>,
    from: Option<Instant>,
}

impl ProcessShare {
    /// A share of `limit` a second. The other processes count this one within `settle`.
    pub(crate) fn new(limit: f64, settle: Duration) -> Self {
        Self { limit, settle, consumers: None, known: None, from: None }
    }

    /// Notes that this process begins to consume, or does not know whether it still does.
    pub(crate) fn forget(&mut self) {
        self.consumers = None;
        self.known = None;
        self.from = None;
    }

    /// Notes how many `consumers` were counted, including this process.
    pub(crate) fn counted(&mut self, consumers: u32, now: Instant) {
        // This process is there even if it is not counted yet.
        let consumers = consumers.max(1);
        let known = *self.known.get_or_insert(now);
        // A single consumer that was just counted may have been another process, before this one was there.
        let has_just_begun = self.consumers.is_none_or(|before| before == 1 && now < known + self.settle);
        if has_just_begun && consumers > 1 {
            self.from = Some(now + self.settle);
        } else if self.consumers.is_none() {
            self.from = Some(now);
        }
        self.consumers = Some(consumers);
    }

    /// What may be sent in a second. `None` until that is known.
    pub(crate) fn per_second(&self) -> Option<f64> {
        Some(self.limit / f64::from(self.consumers?))
    }

    /// The instant from which it may be sent. `None` until that is known.
    pub(crate) fn from(&self) -> Option<Instant> {
        self.from
    }

    /// The share as a part of the limit.
    pub(crate) fn part(&self) -> f64 {
        1.0 / f64::from(self.consumers.unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(from: Instant, milliseconds: u64) -> Instant {
        from + Duration::from_millis(milliseconds)
    }

    /// The times, in milliseconds from `now`, at which `number` waiting requests go.
    fn times(bucket: &mut Bucket, now: Instant, per_second: f64, burst: f64, number: usize) -> Vec<u128> {
        bucket.idle(now, per_second, burst);
        let mut clock = now;
        (0..number)
            .map(|_| {
                clock = clock.max(bucket.due());
                bucket.take(clock, per_second, burst, 1);
                clock.duration_since(now).as_millis()
            })
            .collect()
    }

    #[test]
    fn requests_go_at_the_rate_and_a_burst_after_a_pause() {
        let now = Instant::now() + Duration::from_secs(100);
        assert_eq!(times(&mut Bucket::new(now), now, 50.0, 1.0, 4), [0, 20, 40, 60]);
        let mut rested = Bucket::new(now - Duration::from_secs(10));
        assert_eq!(times(&mut rested, now, 50.0, 5.0, 8), [0, 0, 0, 0, 0, 20, 40, 60]);
    }

    #[test]
    fn what_costs_more_makes_the_next_one_wait() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        bucket.take(now, 10.0, 1.0, 25);
        assert_eq!(bucket.due(), after(now, 2_500));
        bucket.changed(after(now, 500), 10.0, 20.0);
        assert_eq!(bucket.due(), after(now, 1_500));
    }

    #[test]
    fn a_late_timer_lowers_no_rate_and_a_stopped_process_does_not_make_up_for_it() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        let mut clock = now;
        for _ in 0..100 {
            // Each timer is 7 ms late.
            clock = clock.max(bucket.due() + Duration::from_millis(7));
            bucket.take(clock, 50.0, 1.0, 1);
        }
        assert_eq!(bucket.due(), after(now, 2_000));
        let stopped = after(now, 10_000);
        bucket.take(stopped, 50.0, 1.0, 1);
        assert_eq!(bucket.due(), after(now, 9_920), "a tenth of a second is caught up, not eight seconds");
    }

    #[test]
    fn the_shares_of_any_number_of_processes_never_exceed_the_limit() {
        let now = Instant::now();
        let settle = Duration::from_secs(1);
        let mut first = ProcessShare::new(50.0, settle);
        assert_eq!(first.per_second(), None);
        first.counted(0, now);
        assert_eq!((first.per_second(), first.from()), (Some(50.0), Some(now)));
        let mut second = ProcessShare::new(50.0, settle);
        second.counted(2, now);
        assert_eq!((second.per_second(), second.from()), (Some(25.0), Some(now + settle)));
        first.counted(2, after(now, 1_000));
        assert_eq!((first.per_second(), first.from()), (Some(25.0), Some(now)));
        second.counted(1, after(now, 2_000));
        assert_eq!((second.per_second(), second.part()), (Some(50.0), 1.0));
        second.forget();
        assert_eq!(second.per_second(), None);
        second.counted(3, after(now, 3_000));
        assert_eq!(second.from(), Some(after(now, 4_000)));
    }

    #[test]
    fn a_process_that_counted_another_one_in_place_of_itself_waits_until_that_one_has_counted_it() {
        let now = Instant::now();
        let mut share = ProcessShare::new(50.0, Duration::from_secs(1));
        share.counted(1, now);
        share.counted(1, after(now, 5));
        assert_eq!(share.from(), Some(now), "alone");
        share.counted(2, after(now, 10));
        assert_eq!((share.per_second(), share.from()), (Some(25.0), Some(after(now, 1_010))));
        share.counted(3, after(now, 500));
        assert_eq!(share.from(), Some(after(now, 1_010)), "it waits once");
    }
}
