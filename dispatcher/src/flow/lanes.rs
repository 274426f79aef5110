//! The lane scheduler: the normal lane goes first, but never holds up the bulk lane completely.

use postern_shared::message::Priority;

/// How often in a row the normal lane goes before the bulk lane, if both have something.
const NORMAL_IN_A_ROW: u32 = 8;

/// The order in which the two lanes go.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LaneScheduler {
    normal_in_a_row: u32,
}

impl LaneScheduler {
    /// The lane that goes first if both have something.
    pub(crate) fn first(self) -> Priority {
        if self.normal_in_a_row < NORMAL_IN_A_ROW { Priority::Normal } else { Priority::Bulk }
    }

    /// The lane that goes next, by whether each has something.
    pub(crate) fn next(self, normal: bool, bulk: bool) -> Option<Priority> {
        match (normal, bulk) {
            (true, true) => Some(self.first()),
            (true, false) => Some(Priority::Normal),
            (false, true) => Some(Priority::Bulk),
            (false, false) => None,
        }
    }

    /// Notes that a message or a request of `lane` went.
    pub(crate) fn went(&mut self, lane: Priority) {
        self.normal_in_a_row =
            if lane == Priority::Normal { self.normal_in_a_row.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_goes_once_in_nine_times_and_whenever_normal_has_nothing() {
        let mut scheduler = LaneScheduler::default();
        let mut order = Vec::new();
        for _ in 0..27 {
            let lane = scheduler.next(true, true).unwrap();
            scheduler.went(lane);
            order.push(lane);
        }
        assert_eq!(order[0], Priority::Normal);
        assert_eq!(order.iter().filter(|lane| **lane == Priority::Bulk).count(), 3);
        assert_eq!((scheduler.next(false, true), scheduler.next(false, false)), (Some(Priority::Bulk), None));
    }
}
