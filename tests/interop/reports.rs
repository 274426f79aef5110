//! What became of messages, put together from the reports on attempts and those of the provider.

use postern_tests::Tap;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The reports so far.
pub(crate) struct Reports<'a> {
    tap: &'a Tap,
    pub(crate) seen: Vec<Value>,
}

impl<'a> Reports<'a> {
    pub(crate) fn of(tap: &'a Tap) -> Self {
        Self { tap, seen: Vec::new() }
    }

    /// Takes reports until each of `identities` has one with `state`.
    pub(crate) async fn until(&mut self, state: &str, identities: &[&str]) {
        while !identities.iter().all(|identity| self.states(identity).contains(state)) {
            self.seen.push(self.tap.take("postern.reports").await.json());
        }
    }

    /// All states that were reported of an identity.
    pub(crate) fn states(&self, identity: &str) -> BTreeSet<&str> {
        self.about(identity).filter_map(|one| one["state"].as_str()).collect()
    }

    /// The first reason that was reported for an identity: `[class, code]`.
    pub(crate) fn reason(&self, identity: &str) -> Value {
        let reason = self.about(identity).find_map(|one| one.get("reason"));
        reason.map_or(Value::Null, |reason| json!([reason["class"], reason["code"]]))
    }

    /// The ids of the messages that were reported on.
    pub(crate) fn messages(&self) -> BTreeSet<&str> {
        self.seen.iter().filter_map(|report| report["message_id"].as_str()).collect()
    }

    fn about(&self, identity: &str) -> impl Iterator<Item = &Value> {
        let recipients = self.seen.iter().filter_map(|report| report["recipients"].as_array()).flatten();
        recipients.filter(move |one| one["identity"] == identity)
    }
}
