//! The time as messages, queues and logs hold and write it: to the millisecond, with three digits after the
//! point.

use jiff::Timestamp;
use serde::Serializer;
use std::fmt::{self, Display};

/// The current time, to the millisecond.
pub fn now() -> Timestamp {
    to_the_millisecond(Timestamp::now())
}

/// The current time in milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// `at`, truncated to the millisecond.
pub fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Whether `at` comes from a clock that was set: one that never was says 1970, or the year 1.
pub fn is_of_a_set_clock(at: Timestamp) -> bool {
    const DAY: i64 = 24 * 3600;
    at.as_second() > DAY
}

/// A time as text: RFC 3339 in UTC, with three digits after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub Timestamp);

impl Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

/// Writes a time as [`Written`] does: for a message's field.
///
/// # Errors
/// Any error of `serializer`.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Written(*at))
}

/// Writes a time that may be absent as [`Written`] does: for a message's field.
///
/// # Errors
/// Any error of `serializer`.
pub fn serialize_option<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finer_than_a_millisecond_goes() {
        let at: Timestamp = "2026-11-22T17:00:00.123987Z".parse().unwrap();
        assert_eq!(to_the_millisecond(at).to_string(), "2026-11-22T17:00:00.123Z");
        assert_eq!(Written(at).to_string(), "2026-11-22T17:00:00.123Z");
        assert_eq!(Written("2026-11-22T17:00:00Z".parse().unwrap()).to_string(), "2026-11-22T17:00:00.000Z");
        assert_eq!(now().as_nanosecond() % 1_000_000, 0);
        assert!(is_of_a_set_clock(at));
        for never_set in ["1970-01-01T03:00:00Z", "0001-01-01T00:00:00Z"] {
            assert!(!is_of_a_set_clock(never_set.parse().unwrap()), "{never_set}");
        }
        assert!(now_ms() > 1_700_000_000_000);
    }
}
