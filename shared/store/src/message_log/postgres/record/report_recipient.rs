//! Finding the recipients of delivery reports that spell numbers differently from their messages.

use super::super::connection::Session;
use super::EventBatch;
use crate::message_log::{LogError, report_recipient::is_report};
use std::collections::{BTreeMap, BTreeSet};

impl EventBatch<'_> {
    /// Finds the recipients of reports whose identity no recipient of the message has. Their numbers are then known
    /// under the reports' spellings, too.
    pub(super) async fn find_reported(&mut self, session: &mut Session) -> Result<(), LogError> {
        let mut reports = Vec::new();
        let (mut places, mut messages, mut spellings) = (Vec::new(), Vec::new(), Vec::new());
        for event in self.events {
            let known = self.known(event).filter(|_| is_report(event));
            let (Some(known), Some(identity)) = (known, &event.identity) else { continue };
            let kept = (known.message, self.kept(identity));
            if self.numbers.contains_key(&kept) {
                continue;
            }
            for spelling in self.keeping.spellings(identity) {
                places.push(i64::try_from(reports.len()).unwrap_or(i64::MAX));
                messages.push(known.message);
                spellings.push(spelling);
            }
            reports.push(kept);
        }
        if spellings.is_empty() {
            return Ok(());
        }
        let sql = "SELECT place, recipient \
                   FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS report (place, message, identity) \
                   JOIN postern.recipients USING (message, identity)";
        let sql = session.prepared(sql).await?;
        let mut found: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for row in session.query(&sql, &[&places, &messages, &spellings]).await? {
            found.entry(row.get(0)).or_default().insert(row.get(1));
        }
        for (place, kept) in (0_i64..).zip(reports) {
            let mut same = found.remove(&place).unwrap_or_default();
            if let Some(recipient) = same.pop_first().filter(|_| same.is_empty()) {
                self.numbers.insert(kept, recipient);
            }
        }
        Ok(())
    }
}
