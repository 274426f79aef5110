//! How many connections the limit of open files leaves room for. Descriptors for the store, the broker, the
//! providers and the admin port are reserved.

use rustix::process::{Resource, getrlimit};

/// How many descriptors are reserved in any case, in addition to a sixteenth of the limit.
const KEPT_BACK: usize = 256;

/// The most connections of a listener without a limit of its own: a connection takes about 11 KiB.
const MOST: usize = 20_000;

/// How many of the descriptors that are not reserved a listener may use, in quarters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All quarters.
    Whole,
    /// Three quarters: another listener has the fourth one.
    Most,
    /// One quarter.
    Quarter,
}

/// How many of `limit` open files clients may use, all listeners together.
fn for_clients(limit: usize) -> usize {
    // Under a very low limit, a quarter of the limit.
    limit.saturating_sub(KEPT_BACK + limit / 16).max(limit / 4)
}

/// How many of the descriptors that this process may open now a listener with this `share` may use.
pub(super) fn room(share: Share) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let all = for_clients(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX / 4));
    match share {
        Share::Whole => all,
        Share::Most => all / 4 * 3,
        Share::Quarter => all / 4,
    }
}

/// How many connections a listener with this `share` may have now; at most `configured`, if it is set.
pub(super) fn most(configured: Option<usize>, share: Share) -> usize {
    room(share).min(configured.unwrap_or(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_back_however_few_there_are() {
        for (limit, clients) in
            [(0, 0), (64, 16), (256, 64), (400, 119), (1_024, 704), (11_000, 10_057), (1_048_576, 982_784)]
        {
            assert_eq!(for_clients(limit), clients, "{limit}");
        }
    }

    #[test]
    fn a_configured_limit_counts_as_far_as_there_is_room() {
        assert_eq!(most(Some(3), Share::Whole), 3);
        assert_eq!(most(Some(usize::MAX), Share::Quarter), room(Share::Quarter));
        assert!(most(None, Share::Whole) <= MOST);
        assert!(room(Share::Most) + room(Share::Quarter) <= room(Share::Whole));
    }
}
