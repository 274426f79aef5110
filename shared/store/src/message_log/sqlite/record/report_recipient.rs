//! Finding the recipient of a delivery report that spells the number differently from the message.

use super::{MessageRow, Tables};
use crate::message_log::report_recipient::is_report;
use postern_shared::{event::Event, message::Identity};
use std::collections::BTreeSet;

impl Tables<'_> {
    /// The number of the recipient whom `event`, from a delivery report, calls `identity`. `None` if the event is not
    /// from a report, or not exactly one recipient of the message has this number.
    pub(super) fn reported(
        &self,
        known: &MessageRow,
        identity: &Identity,
        event: &Event,
    ) -> rusqlite::Result<Option<i64>> {
        if !is_report(event) {
            return Ok(None);
        }
        let exact = self.number(known, &self.keeping.identity(identity))?;
        if exact.is_some() {
            return Ok(exact);
        }
        let mut same: BTreeSet<i64> = BTreeSet::new();
        for spelling in self.keeping.spellings(identity) {
            same.extend(self.number(known, &spelling)?);
        }
        Ok(same.pop_first().filter(|_| same.is_empty()))
    }
}
