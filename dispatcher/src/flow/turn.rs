//! Whose turn it is: the normal lane's or the bulk lane's.

use postern_shared::message::Priority;

/// After so many of the normal lane in a row, one of the bulk lane is due, if one is there: normal
/// goes first, and bulk never stands still.
const NORMAL_IN_A_ROW: u32 = 8;

/// The order of two lanes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    in_a_row: u32,
}

impl Turn {
    /// The lane that goes first where both have something.
    pub(crate) fn first(self) -> Priority {
        if self.in_a_row < NORMAL_IN_A_ROW { Priority::Normal } else { Priority::Bulk }
    }

    /// The lane whose turn it is, by whether each has something.
    pub(crate) fn of(self, normal: bool, bulk: bool) -> Option<Priority> {
        match (normal, bulk) {
            (true, true) => Some(self.first()),
            (true, false) => Some(Priority::Normal),
            (false, true) => Some(Priority::Bulk),
            (false, false) => None,
        }
    }

    /// `lane` had its turn.
    pub(crate) fn took(&mut self, lane: Priority) {
        self.in_a_row = if lane == Priority::Normal { self.in_a_row.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_has_one_turn_in_nine_and_all_that_nobody_wants() {
        let mut turn = Turn::default();
        let mut order = Vec::new();
        for _ in 0..27 {
            let lane = turn.of(true, true).unwrap();
            turn.took(lane);
            order.push(lane);
        }
        assert_eq!(order[0], Priority::Normal);
        assert_eq!(order.iter().filter(|lane| **lane == Priority::Bulk).count(), 3);
        assert_eq!((turn.of(false, true), turn.of(false, false)), (Some(Priority::Bulk), None));
    }
}
