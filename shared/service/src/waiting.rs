//! How long messages have waited for each backend. No broker says this about all its queues: RabbitMQ does
//! not know the age of a quorum queue's messages. But queues are first in, first out: a message that waits
//! is younger than the one taken last, and arrived after the queue was last seen empty.

use jiff::Timestamp;
use postern_shared::message::{BackendName, Priority};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// The lanes of the backends that this process serves. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct WaitingLanes(Arc<Mutex<BTreeMap<(BackendName, Priority), Lane>>>);

/// What is known of one lane.
#[derive(Debug, Clone)]
struct Lane {
    taken: TakenLast,
    /// When the queue was last seen empty.
    empty: Option<Timestamp>,
    /// When the queue was first seen with messages.
    first_seen: Option<Timestamp>,
}

/// When the message that was taken last from one lane was created. Clones share it.
#[derive(Debug, Clone)]
pub struct TakenLast(Arc<AtomicI64>);

impl TakenLast {
    /// Notes that a message that was created at `created` was taken at `now`. A creation time in the future
    /// counts as `now`.
    pub fn note(&self, created: Timestamp, now: Timestamp) {
        self.0.fetch_max(created.min(now).as_millisecond(), Ordering::Relaxed);
    }
}

/// When the messages that were taken last from the two lanes of one backend were created.
#[derive(Debug, Clone)]
pub struct LanesTaken {
    normal: TakenLast,
    bulk: TakenLast,
}

impl LanesTaken {
    /// The part for `lane`.
    pub fn of(&self, lane: Priority) -> &TakenLast {
        match lane {
            Priority::Normal => &self.normal,
            Priority::Bulk => &self.bulk,
        }
    }
}

impl WaitingLanes {
    /// Follows the lanes of `backend`, or continues if it already does. The caller must note what it takes
    /// from them.
    pub fn follow(&self, backend: &BackendName) -> LanesTaken {
        let [normal, bulk] = [Priority::Normal, Priority::Bulk].map(|lane| {
            let taken = TakenLast(Arc::new(AtomicI64::new(i64::MIN)));
            let new = Lane { taken, empty: None, first_seen: None };
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.entry((backend.clone(), lane)).or_insert(new).taken.clone()
        });
        LanesTaken { normal, bulk }
    }

    /// Stops following the lanes of `backend`: this process no longer serves it.
    pub fn forget(&self, backend: &BackendName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _), _| name != backend);
    }

    /// How long the oldest message has waited in the queue of this lane, in which `ready` messages wait at
    /// `now`: at most this, or at least this if this process has neither taken a message nor seen the queue
    /// empty. `None` if this process does not serve the backend.
    pub(crate) fn age(
        &self,
        backend: &BackendName,
        lane: Priority,
        ready: u64,
        now: Timestamp,
    ) -> Option<Duration> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get_mut(&(backend.clone(), lane))?;
        if ready == 0 {
            lane.empty = Some(now);
            return Some(Duration::ZERO);
        }
        let taken = Timestamp::from_millisecond(lane.taken.0.load(Ordering::Relaxed)).ok();
        let since = lane.empty.max(taken).unwrap_or_else(|| *lane.first_seen.get_or_insert(now));
        Some(now.duration_since(since).try_into().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_no_older_than_the_one_taken_last_and_the_last_empty_queue() {
        let lanes = WaitingLanes::default();
        let [clinic, other]: [BackendName; 2] = ["clinic", "other"].map(|name| name.parse().unwrap());
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let age = |ready, second| {
            let age = lanes.age(&clinic, Priority::Normal, ready, at(second));
            age.map(|age| age.as_secs())
        };
        assert_eq!(age(1, 0), None, "nobody here serves it");
        let followed = lanes.follow(&clinic);
        let taken = followed.of(Priority::Normal);
        assert_eq!(lanes.age(&other, Priority::Normal, 1, at(0)), None);
        // A backlog from before: its age is at least this.
        assert_eq!((age(5, 0), age(5, 30)), (Some(0), Some(30)));
        // Its first message is an hour old, so the next is at most that.
        taken.note(at(-3_600), at(31));
        assert_eq!(age(4, 32), Some(3_632));
        assert_eq!(age(0, 40), Some(0));
        assert_eq!((age(3, 50), age(3, 60)), (Some(10), Some(20)), "empty at 40");
        taken.note(at(55), at(61));
        taken.note(at(45), at(62));
        assert_eq!(age(2, 65), Some(10), "one that waited for its retry makes no other older");
        taken.note(at(9_999), at(66));
        assert_eq!(age(1, 70), Some(4), "dated into the future");
    }
}
