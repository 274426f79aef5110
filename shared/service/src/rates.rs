//! Limits how many requests an address or an API key may make, and how many wrong tokens an address may
//! show, with a bucket for each, which fills steadily.
//!
//! The buckets are our own: libraries cannot check a bucket without taking from it, which is needed so that
//! proved requests stay uncounted, and do not limit the number of keys.

use postern_config::AddressLimit;
use postern_shared::value::Rate;
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The most buckets that are kept. Full ones are removed first, since a new one is full, too. If there are
/// too few of them, all are removed: a limit for each address does not stop anybody who has this many
/// addresses.
const MAX_BUCKETS: usize = 65_536;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    interval: Duration,
    burst: u32,
}

impl From<Rate> for Allowance {
    fn from(rate: Rate) -> Self {
        Self { interval: rate.interval(), burst: rate.count }
    }
}

impl From<AddressLimit> for Allowance {
    fn from(limit: AddressLimit) -> Self {
        let rate = limit.per_address;
        Self { interval: rate.interval(), burst: limit.burst.unwrap_or(rate.count) }
    }
}

impl Allowance {
    /// A bucket that holds `burst`, and gets one more every `interval`.
    pub const fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst }
    }

    fn capacity(self) -> Duration {
        self.interval * self.burst
    }
}

/// The buckets: for each key, the moment at which it is full again. The time until then is what it lacks
/// now (the generic cell rate algorithm). Clones share them.
#[derive(Debug)]
pub struct Buckets<K>(Arc<Mutex<HashMap<K, Instant>>>);

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Buckets<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// Whether there is anything in the bucket of `key`.
    ///
    /// # Errors
    /// The time until there is.
    pub fn open(&self, key: &K, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        let full = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        wait(full.unwrap_or(now), allowance, now)
    }

    /// Takes one out of the bucket of `key`.
    ///
    /// # Errors
    /// The time until there is one; nothing is taken.
    pub fn take(&self, key: K, allowance: Allowance, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = buckets.get(&key).copied().unwrap_or(now).max(now);
        wait(full, allowance, now)?;
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&key) {
            buckets.retain(|_, full| *full > now);
            // If this made little room, the next calls would search all of them in vain.
            if buckets.len() > MAX_BUCKETS / 2 {
                buckets.clear();
            }
        }
        buckets.insert(key, full + allowance.interval);
        Ok(())
    }

    /// Puts one back that was taken.
    pub fn give_back(&self, key: &K, allowance: Allowance) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full) = buckets.get_mut(key) {
            // A moment in the past counts as now.
            *full = full.checked_sub(allowance.interval).unwrap_or(*full);
        }
    }
}

/// The limit `ingress.rate_limit`, with a bucket for each address.
#[derive(Debug)]
pub struct AddressLimiter {
    allowance: Allowance,
    buckets: Buckets<IpAddr>,
}

impl AddressLimiter {
    /// Applies `limit` to what is taken from `buckets`.
    pub fn new(limit: AddressLimit, buckets: Buckets<IpAddr>) -> Self {
        Self { allowance: limit.into(), buckets }
    }

    /// Whether there is anything in the bucket of `client`.
    ///
    /// # Errors
    /// The time until there is.
    pub fn open(&self, client: &IpAddr, now: Instant) -> Result<(), Duration> {
        self.buckets.open(client, self.allowance, now)
    }

    /// Takes one request out of the bucket of `client`.
    ///
    /// # Errors
    /// The time until there is one; nothing is taken.
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.buckets.take(client, self.allowance, now)
    }
}

fn wait(full: Instant, allowance: Allowance, now: Instant) -> Result<(), Duration> {
    let after = full.max(now) + allowance.interval;
    match after.saturating_duration_since(now).checked_sub(allowance.capacity()) {
        Some(wait) if !wait.is_zero() => Err(wait),
        _ => Ok(()),
    }
}

/// The address that stands for all addresses of one client: an IPv4 address, or the first of the /64
/// that an IPv6 subscriber gets.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// The value of `Retry-After` for `wait`, in whole seconds, at least 1 unless `wait` is 0.
pub fn retry_after(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { interval: Duration::from_millis(100), burst: 3 };

    #[test]
    fn a_bucket_holds_a_burst_and_fills_steadily() {
        let (buckets, start) = (Buckets::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for (when, wanted) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(100)),
            (50, Err(50)),
            (100, Ok(())),
            (100, Err(100)),
            (10_000, Ok(())),
            (10_000, Ok(())),
            (10_000, Ok(())),
            (10_000, Err(100)),
        ] {
            let wanted = wanted.map_err(Duration::from_millis);
            assert_eq!(buckets.open(&"a", ALLOWANCE, at(when)), wanted, "{when}");
            assert_eq!(buckets.take("a", ALLOWANCE, at(when)), wanted, "{when}");
        }
        assert_eq!(buckets.take("b", ALLOWANCE, at(10_000)), Ok(()), "another's bucket");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let (buckets, now) = (Buckets::default(), Instant::now());
        for _ in 0..9 {
            assert_eq!(buckets.take("a", ALLOWANCE, now), Ok(()));
            buckets.give_back(&"a", ALLOWANCE);
        }
        let later = now + Duration::from_secs(60);
        buckets.give_back(&"a", ALLOWANCE);
        for wanted in [Ok(()), Ok(()), Ok(()), Err(ALLOWANCE.interval)] {
            assert_eq!(buckets.take("a", ALLOWANCE, later), wanted);
        }
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let (buckets, start) = (Buckets::default(), Instant::now());
        for number in 0..3 * MAX_BUCKETS {
            // Half of them are full again by then.
            let now = start + Duration::from_millis(number as u64 / 1_000);
            assert_eq!(buckets.take(number, ALLOWANCE, now), Ok(()));
            assert!(buckets.0.lock().unwrap().len() <= MAX_BUCKETS);
        }
        for (address, wanted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(client(address.parse().unwrap()).to_string(), wanted);
        }
    }

    #[test]
    fn a_wait_is_whole_seconds() {
        for (milliseconds, wanted) in [(1, 1), (1_000, 1), (1_001, 2), (60_000, 60)] {
            assert_eq!(retry_after(Duration::from_millis(milliseconds)), wanted);
        }
    }
}
