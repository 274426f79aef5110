//! The effect of all commands up to now.

use super::{CancelRule, ControlCommand, ControlRecord};
use crate::message::{BackendName, Priority};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The effect of all commands up to now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlState {
    pauses: BTreeMap<BackendName, Pause>,
    cancelled: BTreeMap<BackendName, Vec<CancelRule>>,
    known: BTreeSet<BackendName>,
}

/// A backend that an operator paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When the backend was paused. UTC.
    pub since: Timestamp,
    /// Who gave it.
    pub by: String,
}

impl ControlState {
    /// Applies the command in `record`. Records must be given in the stream's order.
    pub fn fold(&mut self, record: &ControlRecord) {
        match &record.command {
            ControlCommand::Pause { backend } => {
                // A repeated command changes nothing.
                let pause = || Pause { since: record.at, by: record.by.clone() };
                self.pauses.entry(backend.clone()).or_insert_with(pause);
            }
            ControlCommand::Resume { backend } => drop(self.pauses.remove(backend)),
            ControlCommand::Cancel(rule) => self.cancel(rule),
            ControlCommand::Known { backends } => self.known.extend(backends.iter().cloned()),
            ControlCommand::Done(_) | ControlCommand::Unknown => {}
        }
    }

    fn cancel(&mut self, rule: &CancelRule) {
        let rules = self.cancelled.entry(rule.backend.clone()).or_default();
        if !rules.iter().any(|earlier| earlier.includes(rule)) {
            rules.retain(|earlier| !rule.includes(earlier));
            rules.push(rule.clone());
        }
    }

    /// The backends that are paused, in the order of their names.
    pub fn pauses(&self) -> &BTreeMap<BackendName, Pause> {
        &self.pauses
    }

    /// Whether a message of `backend` that was created at `created_at` and waits in `lane` is cancelled.
    pub fn cancels(&self, backend: &BackendName, created_at: Timestamp, lane: Priority) -> bool {
        let rules = self.cancelled.get(backend);
        rules.is_some_and(|rules| rules.iter().any(|rule| rule.covers(created_at, lane)))
    }

    /// Whether any message of `backend` was ever cancelled.
    pub fn has_cancelled(&self, backend: &BackendName) -> bool {
        self.cancelled.contains_key(backend)
    }

    /// Every backend that is, or was, configured.
    pub fn known(&self) -> &BTreeSet<BackendName> {
        &self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn backend(name: &str) -> BackendName {
        name.parse().unwrap()
    }

    fn state(commands: impl IntoIterator<Item = ControlCommand>) -> ControlState {
        let mut state = ControlState::default();
        for (n, command) in commands.into_iter().enumerate() {
            state.fold(&ControlRecord { at: at(n as i64), by: format!("operator {n}"), command });
        }
        state
    }

    fn cancel(since: Option<i64>, until: i64, priority: Option<Priority>) -> ControlCommand {
        let (since, until) = (since.map(at), at(until));
        ControlCommand::Cancel(CancelRule { backend: backend("a"), since, until, priority })
    }

    #[test]
    fn a_pause_holds_until_it_is_resumed_and_the_first_one_counts() {
        let (pause, resume) = (
            |name| ControlCommand::Pause { backend: backend(name) },
            |name| ControlCommand::Resume { backend: backend(name) },
        );
        let paused = state([pause("a"), pause("b"), pause("a"), resume("b"), resume("c")]);
        let expected = Pause { since: at(0), by: "operator 0".to_owned() };
        assert_eq!(*paused.pauses(), [(backend("a"), expected)].into());
        let again = state([pause("a"), resume("a"), pause("a")]);
        assert_eq!(again.pauses()[&backend("a")].since, at(2));
    }

    #[test]
    fn what_a_rule_covers_is_cancelled_and_nothing_else() {
        let bulk = state([cancel(Some(100), 200, Some(Priority::Bulk))]);
        for (created_at, lane, cancelled) in [
            (99, Priority::Bulk, false),
            (100, Priority::Bulk, true),
            (200, Priority::Bulk, true),
            (201, Priority::Bulk, false),
            (150, Priority::Normal, false),
        ] {
            assert_eq!(bulk.cancels(&backend("a"), at(created_at), lane), cancelled, "{created_at} {lane:?}");
            assert!(!bulk.cancels(&backend("b"), at(created_at), lane), "another backend");
        }
        let all = state([cancel(None, 200, None)]);
        assert!(all.cancels(&backend("a"), at(-5_000), Priority::Normal));
        assert!(!all.cancels(&backend("a"), at(201), Priority::Normal), "sent afterwards");
    }

    #[test]
    fn rules_that_others_include_are_not_kept() {
        let rules = |commands: Vec<ControlCommand>| state(commands).cancelled[&backend("a")].len();
        let bulk = Some(Priority::Bulk);
        assert_eq!(rules((1..100).map(|until| cancel(None, until, None)).collect()), 1);
        assert_eq!(rules(vec![cancel(None, 9, None), cancel(Some(3), 5, bulk)]), 1);
        assert_eq!(rules(vec![cancel(Some(3), 5, None), cancel(None, 9, bulk)]), 2);
        assert_eq!(rules(vec![cancel(None, 9, bulk), cancel(Some(3), 9, None)]), 2);
        assert_eq!(rules(vec![cancel(Some(3), 5, None), cancel(Some(4), 9, None)]), 2);
    }

    #[test]
    fn every_backend_that_was_ever_configured_is_known() {
        let known = |names: &[&str]| ControlCommand::Known {
            backends: names.iter().map(|name| backend(name)).collect(),
        };
        assert_eq!(*state([known(&["a", "b"]), known(&["c"])]).known(), ["a", "b", "c"].map(backend).into());
    }
}
