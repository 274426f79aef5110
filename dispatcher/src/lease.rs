//! How long a message may be held. RabbitMQ requeues a message that was not settled in time, and another
//! consumer would send it again: every step ends before that.

use std::time::Duration;

/// How long RabbitMQ leaves a message with a consumer: the default of its `consumer_timeout`.
const LEASE: Duration = Duration::from_secs(30 * 60);

/// A message that was prefetched and not begun for this long is requeued.
pub(crate) const BEGIN_WITHIN: Duration = part(1, 6);

/// Events that cannot be written to the message log for this long are requeued and taken again. Before
/// that, they may have waited as long for the previous batch.
pub(crate) const RECORD_WITHIN: Duration = part(1, 6);

/// A request that cannot be begun within this time after its message was begun is not made, and the rest of
/// the message is requeued.
pub(crate) const REQUEST_WITHIN: Duration = part(1, 3);

/// The last request of a message must end within this time after the message was begun.
pub(crate) const ANSWERED_WITHIN: Duration = part(5, 6);

const fn part(numerator: u64, denominator: u64) -> Duration {
    Duration::from_secs(LEASE.as_secs() * numerator / denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_ends_within_the_lease() {
        assert!(BEGIN_WITHIN + ANSWERED_WITHIN <= LEASE);
        assert!(REQUEST_WITHIN < ANSWERED_WITHIN && 2 * RECORD_WITHIN < LEASE);
        assert_eq!([BEGIN_WITHIN, REQUEST_WITHIN, ANSWERED_WITHIN].map(|d| d.as_secs() / 60), [5, 10, 25]);
    }
}
