//! Finding the recipient of a delivery report that spells the number differently from the message.

use super::{MessageRow, Tables};
use crate::message_log::report_recipient::{is_report, may_be_left_out};
use postern_shared::{event::Event, message::Identity};
use rusqlite::params;
use std::collections::BTreeSet;

impl Tables<'_> {
    /// The number of the recipient whom `event`, from a delivery report, calls `identity`. `None` if the event is not
    /// from a report, or no recipient of the message is meant.
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
        if let Some(external_id) = &event.external_id {
            let sent = self.sent_under(known.message, external_id)?;
            if let [recipient] = sent[..] {
                return Ok(Some(recipient));
            }
        }
        let mut same: BTreeSet<i64> = BTreeSet::new();
        for spelling in self.keeping.spellings(identity) {
            same.extend(self.number(known, &spelling)?);
        }
        if same.len() == 1 {
            return Ok(same.pop_first());
        }
        match known.complete && !may_be_left_out(event) {
            true => self.only(known.message),
            false => Ok(None),
        }
    }

    /// The recipients to whom the message was sent under the provider's id `external_id`, at most two.
    fn sent_under(&self, message: i64, external_id: &str) -> rusqlite::Result<Vec<i64>> {
        self.numbers(
            "SELECT DISTINCT recipient FROM events WHERE message = ?1 AND recipient > 0 AND external_id = ?2 \
             AND external_id <> '' AND event IN ('received', 'sent') AND event = 'sent' AND attempt > 0 LIMIT 2",
            params![message, external_id],
        )
    }
}
