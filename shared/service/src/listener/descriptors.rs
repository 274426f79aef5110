//! How many connections the limit of open files leaves room for: what the store, the broker, the
//! providers and the admin port need is kept back.

use rustix::process::{Resource, getrlimit};

/// Descriptors that are kept back in any case. A sixteenth of all comes on top.
const KEPT_BACK: usize = 256;

/// The most connections of a listener whose limit nobody has set: a connection takes about 11 KiB.
const MOST: usize = 20_000;

/// How many of the descriptors a listener may use, in quarters of what is not kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of them.
    Whole,
    /// Three quarters: another listener has the fourth.
    Most,
    /// One quarter.
    Quarter,
}

/// How many of `limit` open files clients may have, all listeners together.
fn for_clients(limit: usize) -> usize {
    // Under a very low limit, a quarter of it.
    limit.saturating_sub(KEPT_BACK + limit / 16).max(limit / 4)
}

/// How many of the descriptors that this process may open now are for a listener with this `share`.
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
