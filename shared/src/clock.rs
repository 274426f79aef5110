//! The time as messages and queues hold it: to the millisecond.

use jiff::Timestamp;

/// The current time, to the millisecond.
pub fn now() -> Timestamp {
    to_the_millisecond(Timestamp::now())
}

/// The current time in milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// `at` without what is finer than a millisecond.
pub fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finer_than_a_millisecond_goes() {
        let at: Timestamp = "2026-11-22T17:00:00.123987Z".parse().unwrap();
        assert_eq!(to_the_millisecond(at).to_string(), "2026-11-22T17:00:00.123Z");
        assert_eq!(now().as_nanosecond() % 1_000_000, 0);
        assert!(now_ms() > 1_700_000_000_000);
    }
}
