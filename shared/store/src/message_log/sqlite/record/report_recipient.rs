//! Finding the recipient of a delivery report that spells the number differently from the message.

use super::{MessageRow, Tables};
use crate::message_log::report_recipient::is_report;
use postern_shared::{event::Event, message::Identity};
use std::collections::BTreeSet;

impl Tables<'_> {
    /// The number of the recipient who has the number `identity` of `event`, from a delivery report, in another
    /// spelling. `None` if the event is not from a report, or not exactly one recipient of the message has it.
    pub(super) fn respelled(
        &self,
        known: &MessageRow,
        identity: &Identity,
        event: &Event,
    ) -> rusqlite::Result<Option<i64>> {
        if !is_report(event) {
            return Ok(None);
        }
        let mut same: BTreeSet<i64> = BTreeSet::new();
        for spelling in self.keeping.spellings(identity) {
            same.extend(self.number(known, &spelling)?);
        }
        Ok(same.pop_first().filter(|_| same.is_empty()))
    }
}
