//! How many messages are sent at a time, where that may follow the provider.
//!
//! Its latency alone does not say what is right: it grows with the number in flight where the
//! provider is at its limit, and by itself where it is far away or slow, when only more in flight
//! keep the rate. So a width is tried, and kept where it pays: a wider one that lets clearly more
//! through, a narrower one that lets hardly less through.

use std::time::Duration;
use tokio::time::Instant;

/// A width is measured for at least so long, and for two answers' time,
const PERIOD: Duration = Duration::from_millis(500);
/// and until so many have come.
const ENOUGH: u32 = 32;
/// Of a wider width, the part of what it could let through that it must; of a narrower one, the part
/// that it may lose.
const WORTH: f64 = 0.25;
/// After a width that did not pay, the next is not tried for so long: it may have been a hiccup. After
/// each more in a row it is twice as long,
const REST: Duration = Duration::from_secs(2);
/// up to this,
const LONGEST_REST: Duration = Duration::from_secs(20);
/// unless the rate changes by such a part: then a wider one is.
const UPSET: f64 = 0.25;

/// How wide it is, in places: so many of them does a message take.
#[derive(Debug)]
pub(super) struct Width {
    /// All places: the most messages.
    all: u32,
    /// The places of one message at the narrowest. 1: the width is fixed.
    narrowest: u32,
    places: u32,
    /// How long answers take, smoothed.
    latency: Duration,
    period: Period,
    trial: Option<Trial>,
    /// The direction of the next trial.
    wider: bool,
    /// Until when none is made, and the rate meanwhile.
    rest: Option<(Instant, f64)>,
    /// How long the next one is.
    next_rest: Duration,
}

/// What is counted of one width.
#[derive(Debug, Clone, Copy)]
struct Period {
    from: Instant,
    answers: u32,
    /// Of them, those of messages that the provider took or refused for good.
    through: u32,
    /// Of them, those while there was room for another message and none to be had.
    idle: u32,
}

/// The width before this one, and its rate.
#[derive(Debug, Clone, Copy)]
struct Trial {
    places: u32,
    rate: f64,
}

impl Width {
    /// Of at least `fewest` messages and at most `most`; it begins with the fewest.
    pub(super) fn new(fewest: u16, most: u16, now: Instant) -> Self {
        let (fewest, most) = (u32::from(fewest.max(1)), u32::from(most.max(1)));
        let narrowest = (most / fewest).max(1);
        Self {
            all: most,
            narrowest,
            places: narrowest,
            latency: Duration::ZERO,
            period: Period::from(now),
            trial: None,
            wider: true,
            rest: None,
            next_rest: REST,
        }
    }

    /// How many places one message takes.
    pub(super) fn places(&self) -> u32 {
        self.places
    }

    /// How many messages that lets through.
    pub(super) fn messages(&self) -> u32 {
        self.all / self.places
    }

    /// What was measured says nothing: the provider asked for less, or is down. Whether the width is
    /// another one now.
    pub(super) fn forget(&mut self, now: Instant) -> bool {
        self.period = Period::from(now);
        self.break_off()
    }

    /// An answer came after `took`. `through`: its message is done with; `idle`: there was room for
    /// another one, and none to be had. Whether the width is another one now.
    pub(super) fn answered(&mut self, took: Duration, through: bool, idle: bool, now: Instant) -> bool {
        if self.narrowest == 1 {
            return false;
        }
        self.latency = if self.latency.is_zero() { took } else { (self.latency * 7 + took) / 8 };
        let period = &mut self.period;
        if now < period.from {
            return false;
        }
        period.answers += 1;
        period.through += u32::from(through);
        period.idle += u32::from(idle);
        let lasted = now.duration_since(period.from);
        if lasted < PERIOD.max(self.latency * 2) || period.answers < ENOUGH {
            return false;
        }
        let Period { answers, through, idle, .. } = std::mem::replace(period, Period::from(now));
        let rate = f64::from(through) / lasted.as_secs_f64();
        let before = self.places;
        if idle * 10 <= answers {
            self.judge(rate, now);
        } else if self.trial.as_ref().is_some_and(|before| before.pays(self.places, rate)) {
            // It lets through all that there is.
            self.trial = None;
        } else {
            self.break_off();
        }
        if self.places != before {
            // What is in flight was begun at the width before.
            self.period.from = now + self.latency;
        }
        self.places != before
    }

    fn judge(&mut self, rate: f64, now: Instant) {
        match self.trial.take() {
            Some(before) if before.pays(self.places, rate) => {
                self.next_rest = REST;
                self.step(rate, now);
            }
            Some(before) => {
                self.places = before.places;
                self.settle(before.rate, now);
            }
            None => match self.rest {
                Some((_, usual)) if (rate / usual - 1.0).abs() > UPSET => {
                    self.wider = true;
                    self.next_rest = REST;
                    self.step(rate, now);
                }
                Some((until, usual)) if now < until => {
                    self.rest = Some((until, (usual * 3.0 + rate) / 4.0));
                }
                _ => self.step(rate, now),
            },
        }
    }

    /// Ends a trial that nothing can be learnt from: of its two widths the narrower one stays.
    fn break_off(&mut self) -> bool {
        let Some(before) = self.trial.take() else { return false };
        let narrower = self.places.max(before.places);
        std::mem::replace(&mut self.places, narrower) != narrower
    }

    /// Tries the next width.
    fn step(&mut self, rate: f64, now: Instant) {
        let next = if self.wider { self.places * 2 / 3 } else { self.places + self.places.div_ceil(2) };
        let next = next.clamp(1, self.narrowest);
        if next == self.places {
            self.settle(rate, now);
        } else {
            self.trial = Some(Trial { places: self.places, rate });
            self.rest = None;
            self.places = next;
        }
    }

    /// Stays as it is for a while, and then tries the other direction.
    fn settle(&mut self, rate: f64, now: Instant) {
        self.rest = Some((now + self.next_rest, rate.max(f64::MIN_POSITIVE)));
        self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
        self.wider = !self.wider;
    }
}

impl Trial {
    /// Whether another width with this `rate` is better than the one before it.
    fn pays(&self, places: u32, rate: f64) -> bool {
        let possible = f64::from(self.places) / f64::from(places);
        rate >= self.rate * (1.0 + WORTH * (possible - 1.0))
    }
}

impl Period {
    fn from(from: Instant) -> Self {
        Self { from, answers: 0, through: 0, idle: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider that answers after `latency`, but no more than `limit` messages a second, and
    /// whose messages never end.
    struct Provider {
        latency: Duration,
        limit: f64,
    }

    impl Provider {
        /// Sends for so long; how many came through a second, in its last quarter.
        fn takes(&self, width: &mut Width, now: &mut Instant, seconds: u64) -> f64 {
            let end = *now + Duration::from_secs(seconds);
            let last = *now + Duration::from_secs(seconds * 3 / 4);
            let mut counted = 0.0;
            while *now < end {
                let working = width.messages();
                // Little's law: what is beyond the limit waits at the provider.
                let took = self.latency.as_secs_f64().max(f64::from(working) / self.limit);
                *now += Duration::from_secs_f64(took / f64::from(working));
                width.answered(Duration::from_secs_f64(took), true, false, *now);
                counted += if *now > last { 1.0 } else { 0.0 };
            }
            counted / (seconds as f64 / 4.0)
        }
    }

    const FAR: Provider = Provider { latency: Duration::from_millis(300), limit: 1e9 };
    const NEAR: Provider = Provider { latency: Duration::from_millis(50), limit: 1_000.0 };

    #[test]
    fn it_widens_for_a_provider_that_is_slow_and_narrows_for_one_at_its_limit() {
        let mut now = Instant::now();
        let mut width = Width::new(64, 512, now);
        assert_eq!((width.places(), width.messages()), (8, 64));
        let rate = FAR.takes(&mut width, &mut now, 60);
        assert!(rate > 0.9 * 512.0 / 0.3, "{rate}/s, {} at a time", width.messages());
        // At its limit with 50 at a time: whatever is more only waits there.
        let rate = NEAR.takes(&mut width, &mut now, 300);
        assert!(rate > 0.95 * NEAR.limit, "{rate}");
        assert!(width.messages() <= 102, "{} at a time", width.messages());
        // Slow all at once: it does not wait until its rest is over.
        let rate = FAR.takes(&mut width, &mut now, 16);
        assert!(rate > 0.9 * 512.0 / 0.3, "{rate}/s, {} at a time", width.messages());
    }

    #[test]
    fn it_is_fixed_where_there_is_nothing_between_the_fewest_and_the_most() {
        let mut now = Instant::now();
        let mut width = Width::new(64, 64, now);
        FAR.takes(&mut width, &mut now, 60);
        assert_eq!((width.places(), width.messages()), (1, 64));
    }

    #[test]
    fn it_stays_where_there_are_not_so_many_messages() {
        let mut now = Instant::now();
        let mut width = Width::new(10, 100, now);
        for _ in 0..10_000 {
            now += Duration::from_millis(10);
            assert!(!width.answered(Duration::from_millis(50), true, true, now));
        }
        assert_eq!(width.messages(), 10);
    }

    #[test]
    fn a_wider_width_that_nobody_can_judge_is_not_kept() {
        let start = Instant::now();
        let on_trial = || {
            let (mut now, mut width) = (start, Width::new(64, 512, start));
            while width.messages() == 64 {
                now += Duration::from_millis(300) / 64;
                width.answered(Duration::from_millis(300), true, false, now);
            }
            (width, now)
        };
        let (mut throttled, now) = on_trial();
        assert!(throttled.messages() > 64);
        assert!(throttled.forget(now));
        assert_eq!(throttled.messages(), 64);
        assert!(!throttled.forget(now));
        let (mut few, mut now) = on_trial();
        for _ in 0..1_000 {
            now += Duration::from_millis(10);
            few.answered(Duration::from_millis(300), true, true, now);
        }
        assert_eq!(few.messages(), 64);
    }

    #[test]
    fn a_wider_width_that_sends_all_there_is_stays() {
        let mut now = Instant::now();
        let mut width = Width::new(64, 512, now);
        // 300 a second come, of which 64 at a time would send 213.
        for _ in 0..60 * 250 {
            let rate = (f64::from(width.messages()) / 0.3).min(300.0);
            now += Duration::from_secs_f64(1.0 / rate);
            width.answered(Duration::from_millis(300), true, width.messages() > 90, now);
        }
        assert_eq!(width.messages(), 102);
    }

    #[test]
    fn a_hiccup_while_a_width_is_tried_costs_seconds() {
        let mut now = Instant::now();
        let mut width = Width::new(64, 512, now);
        FAR.takes(&mut width, &mut now, 2);
        assert!(width.messages() > 64, "one is on trial");
        Provider { latency: Duration::from_secs(1), ..FAR }.takes(&mut width, &mut now, 3);
        let rate = FAR.takes(&mut width, &mut now, 24);
        assert!(rate > 0.9 * 512.0 / 0.3, "{rate}/s, {} at a time", width.messages());
    }

    #[test]
    fn more_that_fail_are_not_more() {
        let mut now = Instant::now();
        let mut width = Width::new(10, 100, now);
        for n in 0..100_000_u32 {
            let working = width.messages();
            now += Duration::from_millis(100) / working;
            // It takes 10 at a time, and lets the others come to nothing.
            width.answered(Duration::from_millis(100), n % working < 10, false, now);
        }
        assert!(width.messages() <= 25, "{}", width.messages());
    }
}
