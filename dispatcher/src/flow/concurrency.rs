//! How many requests may be in flight, if that follows the provider: additive increase, multiplicative
//! decrease (AIMD), as in TCP.
//!
//! Throughput shows whether there are too many. Latency alone does not: it grows with the number in flight
//! if the provider is at its limit, but also if the provider is slow or far away, when only more requests
//! in flight keep the rate.
//!
//! The limit is judged in rounds of half a second, or of the time of two answers if that is longer. After
//! each round it grows by half of `concurrency`. If the last increases raised the throughput by less than a
//! quarter of what they allowed, the limit falls to 0.8 of its value before them. After a round in which
//! requests could have been made but no message waited, the limit is set to what was in use. Without
//! `concurrency_max` the limit is fixed: a provider often allows a number of connections, which must not be
//! exceeded unless the user says so.

use std::time::Duration;
use tokio::time::Instant;

/// A round lasts at least this long, and at least as long as two answers take.
const ROUND: Duration = Duration::from_millis(500);
/// A round lasts until at least this many answers have come.
const ENOUGH: u32 = 32;
/// Increases are judged together once the limit has grown by this factor: a smaller one would be lost in
/// noise.
const JUDGED: f64 = 1.5;
/// The part of the possible gain in throughput that increases must bring. If they bring less, there are too
/// many requests in flight.
const WORTH: f64 = 0.25;
/// A decrease goes to this part of the limit before the increases, or of the upper end of the range.
const DECREASE: f64 = 0.8;
/// If the throughput falls below this part of the throughput before, the provider has changed.
const CHANGED: f64 = 0.75;
/// After this many rounds at the upper end of the range, a lower limit is tried.
const ROUNDS_AT_MOST: u32 = 10;

/// The limit on the requests in flight.
#[derive(Debug)]
pub(super) struct Concurrency {
    fewest: u32,
    most: u32,
    limit: u32,
    /// How long answers take, smoothed.
    latency: Duration,
    round: Round,
    /// The limit with which later ones are compared, and the rate at which answers came through.
    before: Option<(u32, f64)>,
    /// Rounds in a row at the upper end of the range.
    at_most: u32,
}

/// The answers of one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    from: Instant,
    answers: u32,
    /// Answers for messages that the provider accepted or refused for good.
    through: u32,
    /// Answers that came while the limit held nothing back.
    idle: u32,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerSample {
    pub(super) took: Duration,
    /// Whether the provider accepted or refused the message for good.
    pub(super) through: bool,
    /// Whether more could have been in flight, and there was nothing to send.
    pub(super) idle: bool,
}

impl Concurrency {
    /// A limit of at least `fewest` and at most `most`. It starts at `fewest`, and stays there unless
    /// `most` is larger.
    pub(super) fn new(fewest: u16, most: u16, now: Instant) -> Self {
        let (fewest, most) = (u32::from(fewest.max(1)), u32::from(most.max(1)));
        let (limit, latency, round) = (fewest.min(most), Duration::ZERO, Round::from(now));
        Self { fewest: limit, most, limit, latency, round, before: None, at_most: 0 }
    }

    /// How many requests may be in flight.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Discards what was counted: the provider asks for less, or is down. Increases that are not judged yet
    /// are undone.
    pub(super) fn disturbed(&mut self, now: Instant) {
        if let Some((before, _)) = self.before.take() {
            self.limit = self.limit.min(before);
        }
        self.round = Round::from(now);
    }

    /// Counts an answer, which may end a round and set another limit.
    pub(super) fn answered(&mut self, AnswerSample { took, through, idle }: AnswerSample, now: Instant) {
        if self.fewest == self.most {
            return;
        }
        self.latency = if self.latency.is_zero() { took } else { (self.latency * 7 + took) / 8 };
        if now < self.round.from {
            return;
        }
        let round = &mut self.round;
        round.answers += 1;
        round.through += u32::from(through);
        round.idle += u32::from(idle);
        let lasted = now.duration_since(round.from);
        if lasted < ROUND.max(self.latency * 2) || round.answers < ENOUGH {
            return;
        }
        let (limit, idle) = (self.limit, round.idle * 10 > round.answers);
        let rate = f64::from(round.through) / lasted.as_secs_f64();
        self.limit = if idle { self.in_use(rate) } else { self.next(rate).clamp(self.fewest, self.most) };
        // Requests that are in flight now were begun at the limit before.
        self.round = Round::from(if self.limit == limit { now } else { now + self.latency });
    }

    /// The limit after a round in which `rate` answers a second came through.
    fn next(&mut self, rate: f64) -> u32 {
        self.at_most = if self.limit == self.most { self.at_most + 1 } else { 0 };
        if self.at_most > ROUNDS_AT_MOST {
            return self.decrease(self.limit);
        }
        let (before, rate_before) = *self.before.get_or_insert((self.limit, rate));
        let grown = f64::from(self.limit) / f64::from(before);
        if rate < rate_before * CHANGED {
            self.before = Some((self.limit, rate));
        } else if grown >= JUDGED || self.limit == self.most && grown > 1.0 {
            if rate < rate_before * (1.0 + WORTH * (grown - 1.0)) {
                return self.decrease(before);
            }
            self.before = Some((self.limit, rate));
        }
        self.limit + self.fewest.div_ceil(2)
    }

    fn decrease(&mut self, limit: u32) -> u32 {
        self.before = None;
        (f64::from(limit) * DECREASE) as u32
    }

    /// The limit if nothing waited: what was in flight (Little's law) and a tenth more, but not above the
    /// present limit.
    fn in_use(&mut self, rate: f64) -> u32 {
        self.before = None;
        let in_flight = rate * self.latency.as_secs_f64() * 1.1;
        self.limit.min((in_flight.ceil() as u32).max(self.fewest))
    }
}

impl Round {
    fn from(from: Instant) -> Self {
        Self { from, answers: 0, through: 0, idle: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider that answers after `latency`, but at most `most` messages a second. There is always a
    /// message to send.
    struct Provider {
        latency: Duration,
        most: f64,
    }

    impl Provider {
        /// Sends for `seconds`. Returns how many answers a second came in the last quarter of that time.
        fn takes(&self, limit: &mut Concurrency, now: &mut Instant, seconds: u64) -> f64 {
            let end = *now + Duration::from_secs(seconds);
            let last = *now + Duration::from_secs(seconds * 3 / 4);
            let mut counted = 0.0;
            while *now < end {
                let working = limit.limit();
                // Little's law: what is beyond the limit waits at the provider.
                let took = self.latency.as_secs_f64().max(f64::from(working) / self.most);
                *now += Duration::from_secs_f64(took / f64::from(working));
                limit.answered(
                    AnswerSample { took: Duration::from_secs_f64(took), through: true, idle: false },
                    *now,
                );
                counted += if *now > last { 1.0 } else { 0.0 };
            }
            counted / (seconds as f64 / 4.0)
        }
    }

    const FAR: Provider = Provider { latency: Duration::from_millis(300), most: 1e9 };
    const NEAR: Provider = Provider { latency: Duration::from_millis(50), most: 1_000.0 };

    #[test]
    fn it_grows_for_a_provider_that_is_slow_and_shrinks_for_one_at_its_limit() {
        let mut now = Instant::now();
        let mut limit = Concurrency::new(64, 512, now);
        assert_eq!(limit.limit(), 64);
        let rate = FAR.takes(&mut limit, &mut now, 60);
        assert!(rate > 0.9 * 512.0 / 0.3, "{rate}/s, {} at a time", limit.limit());
        // This provider is at its limit with 50 requests at a time: any more only wait there.
        let rate = NEAR.takes(&mut limit, &mut now, 300);
        assert!(rate > 0.95 * NEAR.most, "{rate}");
        assert!(limit.limit() <= 102, "{} at a time", limit.limit());
        // The provider suddenly becomes slow.
        let rate = FAR.takes(&mut limit, &mut now, 16);
        assert!(rate > 0.9 * 512.0 / 0.3, "{rate}/s, {} at a time", limit.limit());
    }

    #[test]
    fn it_is_fixed_if_there_is_nothing_between_the_fewest_and_the_most() {
        let mut now = Instant::now();
        let mut limit = Concurrency::new(64, 64, now);
        FAR.takes(&mut limit, &mut now, 60);
        assert_eq!(limit.limit(), 64);
    }

    /// An answer after `milliseconds`.
    fn after(milliseconds: u64) -> AnswerSample {
        AnswerSample { took: Duration::from_millis(milliseconds), through: true, idle: false }
    }

    #[test]
    fn it_stays_if_there_are_not_so_many_messages() {
        let mut now = Instant::now();
        let mut limit = Concurrency::new(10, 100, now);
        for _ in 0..10_000 {
            now += Duration::from_millis(10);
            limit.answered(AnswerSample { idle: true, ..after(50) }, now);
            assert_eq!(limit.limit(), 10);
        }
    }

    #[test]
    fn a_higher_limit_that_nobody_can_judge_is_not_kept() {
        let start = Instant::now();
        let raised = || {
            let (mut now, mut limit) = (start, Concurrency::new(64, 512, start));
            while limit.limit() == 64 {
                now += Duration::from_millis(300) / 64;
                limit.answered(after(300), now);
            }
            (limit, now)
        };
        let (mut throttled, now) = raised();
        assert!(throttled.limit() > 64);
        throttled.disturbed(now);
        assert_eq!(throttled.limit(), 64);
        let (mut few, mut now) = raised();
        for _ in 0..1_000 {
            now += Duration::from_millis(10);
            few.answered(AnswerSample { idle: true, ..after(300) }, now);
        }
        assert_eq!(few.limit(), 64);
    }

    #[test]
    fn a_higher_limit_at_which_nothing_waits_stays() {
        let mut now = Instant::now();
        let mut limit = Concurrency::new(64, 512, now);
        // 300 messages a second come. With 64 at a time, only 213 a second would be sent.
        for _ in 0..60 * 250 {
            let rate = (f64::from(limit.limit()) / 0.3).min(300.0);
            now += Duration::from_secs_f64(1.0 / rate);
            limit.answered(AnswerSample { idle: limit.limit() > 90, ..after(300) }, now);
        }
        assert!((90..=102).contains(&limit.limit()), "{}", limit.limit());
    }

    #[test]
    fn a_hiccup_after_an_increase_costs_seconds() {
        let mut now = Instant::now();
        let mut limit = Concurrency::new(64, 512, now);
        FAR.takes(&mut limit, &mut now, 2);
        assert!(limit.limit() > 64, "it was increased");
        Provider { latency: Duration::from_secs(1), ..FAR }.takes(&mut limit, &mut now, 3);
        let rate = FAR.takes(&mut limit, &mut now, 24);
        assert!(rate > 0.9 * 512.0 / 0.3, "{rate}/s, {} at a time", limit.limit());
    }

    #[test]
    fn more_that_fail_are_not_more() {
        let mut now = Instant::now();
        let mut limit = Concurrency::new(10, 100, now);
        for n in 0..100_000_u32 {
            let working = limit.limit();
            now += Duration::from_millis(100) / working;
            // The provider accepts 10 at a time, and the others fail.
            limit.answered(AnswerSample { through: n % working < 10, ..after(100) }, now);
        }
        assert!(limit.limit() <= 25, "{}", limit.limit());
    }
}
