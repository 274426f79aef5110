//! Hosts that did not answer a callback in time: they are not called for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The most hosts that are remembered. The host that may be called again soonest is forgotten first.
const MOST: usize = 1_024;
/// How long a host is not called after its first timeout. Each further timeout doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause: a client that is back is called within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The hosts that are not called, each with the end of its pause.
#[derive(Debug, Default)]
pub(super) struct SilentHosts(Mutex<HashMap<String, Silence>>);

#[derive(Debug, Clone, Copy)]
struct Silence {
    until: Instant,
    pause: Duration,
}

impl SilentHosts {
    /// How long from `now` on `host` is not called. `None` if it may be called.
    pub(super) fn pause(&self, host: &str, now: Instant) -> Option<Duration> {
        let until = self.hosts().get(host)?.until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Notes that `host` answered.
    pub(super) fn answered(&self, host: &str) {
        self.hosts().remove(host);
    }

    /// Notes that `host` did not answer in time. Timeouts of calls that were in flight together count
    /// once.
    pub(super) fn timed_out(&self, host: &str, now: Instant) {
        let mut hosts = self.hosts();
        let known = hosts.get(host).copied();
        if known.is_some_and(|silence| silence.until > now) {
            return;
        }
        if known.is_none() && hosts.len() >= MOST {
            let first = hosts.iter().min_by_key(|(_, silence)| silence.until).map(|(host, _)| host.clone());
            first.and_then(|first| hosts.remove(&first));
        }
        let pause = known.map_or(FIRST_PAUSE, |silence| (silence.pause * 2).min(LONGEST_PAUSE));
        hosts.insert(host.to_owned(), Silence { until: now + pause, pause });
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Silence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_stays_silent_is_left_alone_longer_each_time_and_an_answer_ends_it() {
        let (hosts, mut now) = (SilentHosts::default(), Instant::now());
        assert_eq!(hosts.pause("h", now), None);
        for seconds in [5, 10, 20, 40, 60, 60] {
            let pause = Duration::from_secs(seconds);
            // All calls in flight time out.
            for _ in 0..16 {
                hosts.timed_out("h", now);
            }
            assert_eq!(hosts.pause("h", now), Some(pause));
            assert_eq!(hosts.pause("another", now), None);
            now += pause;
            assert_eq!(hosts.pause("h", now), None);
        }
        hosts.timed_out("h", now);
        hosts.answered("h");
        assert_eq!(hosts.pause("h", now), None);
        hosts.timed_out("h", now);
        assert_eq!(hosts.pause("h", now), Some(FIRST_PAUSE));
    }

    #[test]
    fn many_hosts_do_not_fill_the_memory() {
        let (hosts, now) = (SilentHosts::default(), Instant::now());
        for number in 0..2 * MOST {
            hosts.timed_out(&number.to_string(), now + Duration::from_millis(number as u64));
        }
        assert_eq!(hosts.hosts().len(), MOST);
        let last = (2 * MOST - 1).to_string();
        assert!(hosts.pause(&last, now).is_some() && hosts.pause("0", now).is_none());
    }
}
