//! The state of one recipient, computed from the events. It is a pure function, and the same in both databases.

use super::LoggedState;
use postern_shared::{
    event::{Direction, Event, EventKind},
    message::State,
};

/// A recipient's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: LoggedState,
    /// When the last event with this state happened, in milliseconds since 1970.
    pub(super) since: i64,
}

/// An event that may change the state of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Happened {
    /// When it happened, in milliseconds since 1970.
    pub(super) at: i64,
    pub(super) event: EventKind,
}

/// The error for an event that may be older than those behind the state: the state must be computed from all
/// events again ([`Standing::told_from`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late;

impl Standing {
    /// The state of a recipient before any event but the message itself.
    pub(super) fn new(direction: Direction, at: i64) -> Self {
        Self { state: start(direction), since: at }
    }

    /// The state after all `events`, which may be in any order. `None` if there are none.
    pub(super) fn told_from(direction: Direction, mut events: Vec<Happened>) -> Option<Self> {
        events.sort_by_key(|happened| (happened.at, rank(happened.event)));
        let first = Self::new(direction, events.first()?.at);
        Some(events.iter().fold(first, |standing, happened| standing.then(direction, *happened)))
    }

    /// The state after one more event.
    pub(super) fn after(self, direction: Direction, happened: Happened) -> Result<Self, Late> {
        // An event that was ignored after a final state would count after a redrive.
        let redriven = happened.event == EventKind::Redriven;
        let earlier = (happened.at, rank(happened.event)) < (self.since, rank_of_state(self.state));
        if redriven || earlier { Err(Late) } else { Ok(self.then(direction, happened)) }
    }

    fn then(self, direction: Direction, happened: Happened) -> Self {
        use EventKind::{Buffered, Deferred, Redriven, Sent, Unknown};
        let state = match happened.event {
            Redriven => Some(start(direction)),
            EventKind::Received | EventKind::Accepted => None,
            Sent | Deferred | Buffered | Unknown if self.is_final() => None,
            other => LoggedState::after(other),
        };
        state.map_or(self, |state| Self { state, since: happened.at })
    }

    fn is_final(self) -> bool {
        let LoggedState::Outbound(state) = self.state else { return self.state == LoggedState::Forwarded };
        matches!(state, State::Delivered | State::Undelivered | State::Failed | State::Expired)
    }
}

/// Whether an event of this kind without a recipient is about all recipients. An event of another kind without a
/// recipient is a delivery report that does not name one.
pub(super) fn is_about_all(event: EventKind) -> bool {
    matches!(event, EventKind::Accepted | EventKind::Received | EventKind::Redriven | EventKind::Forwarded)
}

/// The backend through which the provider took the message, if `event` is an attempt that succeeded. It is not the
/// message's backend if an operator moved the message after it was accepted. A row then holds it in `done_by`, since
/// the provider's id belongs to it.
pub(super) fn sender(event: &Event) -> Option<&str> {
    let is_sent = event.event == EventKind::Sent && event.attempt.is_some();
    is_sent.then(|| event.backend.as_str())
}

/// The direction of a message of which only `event` is known.
pub(super) fn direction_of(event: EventKind) -> Direction {
    match event {
        EventKind::Received | EventKind::Forwarded => Direction::Inbound,
        _ => Direction::Outbound,
    }
}

fn start(direction: Direction) -> LoggedState {
    match direction {
        Direction::Inbound => LoggedState::Received,
        Direction::Outbound => LoggedState::Outbound(State::Queued),
    }
}

/// The rank of an event among those of the same millisecond: a higher rank counts as later.
fn rank(event: EventKind) -> u8 {
    match event {
        EventKind::Received | EventKind::Accepted | EventKind::Redriven => 0,
        EventKind::Deferred => 1,
        EventKind::Sent => 2,
        EventKind::Buffered => 3,
        EventKind::Unknown => 4,
        EventKind::Expired => 5,
        EventKind::Failed => 6,
        EventKind::Undelivered => 7,
        EventKind::Delivered => 8,
        EventKind::Forwarded => 9,
        EventKind::Dead | EventKind::CalledBack => 10,
    }
}

fn rank_of_state(state: LoggedState) -> u8 {
    rank(match state {
        LoggedState::Received => EventKind::Received,
        LoggedState::Forwarded => EventKind::Forwarded,
        LoggedState::Outbound(state) => EventKind::from(state),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(events: &[(i64, EventKind)]) -> LoggedState {
        let happened = events.iter().map(|&(at, event)| Happened { at, event }).collect();
        Standing::told_from(Direction::Outbound, happened).unwrap().state
    }

    #[test]
    fn a_final_state_is_undone_by_another_one_and_by_a_redrive_alone() {
        use EventKind::{Accepted, Buffered, Deferred, Delivered, Failed, Redriven, Sent, Unknown};
        let outbound = LoggedState::Outbound;
        for (events, state) in [
            (vec![(1, Accepted), (2, Sent)], State::Sent),
            (vec![(1, Accepted), (2, Deferred), (3, Sent), (4, Buffered)], State::Buffered),
            (vec![(1, Accepted), (2, Delivered), (3, Sent)], State::Delivered),
            (vec![(2, Failed), (3, Buffered), (4, Deferred), (5, Unknown)], State::Failed),
            (vec![(2, Failed), (3, Delivered)], State::Delivered),
            (vec![(2, Failed), (3, Redriven)], State::Queued),
            (vec![(2, Failed), (3, Redriven), (4, Sent)], State::Sent),
            (vec![(2, Failed), (3, Accepted)], State::Failed),
        ] {
            assert_eq!(after(&events), outbound(state), "{events:?}");
        }
    }

    proptest! {
        /// Computed event by event, in any order, the state is the same as from all events together.
        #[test]
        fn the_order_in_which_events_come_does_not_matter(
            kinds in prop::collection::vec((0..20_i64, 0..EventKind::ALL.len()), 1..12)
        ) {
            let event = |&(at, kind): &(i64, usize)| Happened { at, event: EventKind::ALL[kind] };
            let events: Vec<Happened> = kinds.iter().map(event).collect();
            let direction = Direction::Outbound;
            let mut standing = Standing::told_from(direction, vec![events[0]]).unwrap();
            for count in 1..events.len() {
                let all = Standing::told_from(direction, events[..=count].to_vec()).unwrap();
                standing = standing.after(direction, events[count]).unwrap_or(all);
                prop_assert_eq!(standing, all);
            }
        }
    }
}
