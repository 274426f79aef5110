//! Finding the recipients of delivery reports that spell numbers differently from their messages.

use super::super::{
    connection::Session,
    row::{NOBODY, clean},
};
use super::EventBatch;
use crate::message_log::{
    LogError,
    report_recipient::{is_report, may_be_left_out},
};
use postern_shared::event::{Event, EventKind};
use std::collections::{BTreeMap, BTreeSet};

/// The recipient to whom the message was sent under the report's id.
const SENT_UNDER_THE_ID: i64 = 1;
/// The recipient with the same number in another spelling.
const SAME_NUMBER: i64 = 2;
/// The only recipient of the message.
const ONLY_RECIPIENT: i64 = 3;

/// What is looked for, each with the place of its report in the batch and its message.
#[derive(Default)]
struct Wanted<T> {
    places: Vec<i64>,
    messages: Vec<i64>,
    values: Vec<T>,
}

impl<T> Wanted<T> {
    fn push(&mut self, place: i64, message: i64, value: T) {
        self.places.push(place);
        self.messages.push(message);
        self.values.push(value);
    }
}

impl EventBatch<'_> {
    /// Finds the recipients of reports whose identity no recipient of the message has. Their numbers are then known
    /// under the reports' spellings, too.
    pub(super) async fn find_reported(&mut self, session: &mut Session) -> Result<(), LogError> {
        let mut reports = Vec::new();
        for event in self.events {
            let known = self.known(event).filter(|_| is_report(event));
            let (Some(known), Some(identity)) = (known, &event.identity) else { continue };
            if !self.numbers.contains_key(&(known.message, self.kept(identity))) {
                reports.push((known, event, identity));
            }
        }
        if reports.is_empty() {
            return Ok(());
        }
        let (mut ids, mut spelled, mut messages) =
            (Wanted::default(), Wanted::default(), Wanted::<()>::default());
        for (place, (known, event, identity)) in (0_i64..).zip(&reports) {
            if let Some(id) = &event.external_id {
                ids.push(place, known.message, clean(id));
            }
            for spelling in self.keeping.spellings(identity) {
                spelled.push(place, known.message, spelling);
            }
            if known.complete && !may_be_left_out(event) {
                messages.push(place, known.message, ());
            }
        }
        let sql = "SELECT place, 1::bigint, recipient \
                   FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS report (place, message, external_id) \
                   JOIN postern.events USING (message, external_id) WHERE recipient > 0 AND external_id <> '' \
                   AND event IN ('received', 'sent') AND event = 'sent' AND attempt > 0 \
                   UNION SELECT place, 2::bigint, recipient \
                   FROM unnest($4::bigint[], $5::bigint[], $6::text[]) AS report (place, message, identity) \
                   JOIN postern.recipients USING (message, identity) \
                   UNION SELECT place, 3::bigint, few.recipient \
                   FROM unnest($7::bigint[], $8::bigint[]) AS report (place, message) CROSS JOIN LATERAL \
                   (SELECT recipient FROM postern.recipients WHERE recipients.message = report.message LIMIT 2) \
                   AS few";
        let sql = session.prepared(sql).await?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &ids.places,
            &ids.messages,
            &ids.values,
            &spelled.places,
            &spelled.messages,
            &spelled.values,
            &messages.places,
            &messages.messages,
        ];
        let mut found: BTreeMap<(i64, i64), BTreeSet<i64>> = BTreeMap::new();
        for row in session.query(&sql, &values).await? {
            found.entry((row.get(0), row.get(1))).or_default().insert(row.get(2));
        }
        for (place, (_, report, _)) in (0_i64..).zip(&reports) {
            let sent = self.sent_in_the_batch(report);
            found.entry((place, SENT_UNDER_THE_ID)).or_default().extend(sent);
        }
        for (place, (known, _, identity)) in (0_i64..).zip(reports) {
            let only = |question: i64| match found.get(&(place, question)) {
                Some(recipients) if recipients.len() == 1 => recipients.first().copied(),
                _ => None,
            };
            let recipient = [SENT_UNDER_THE_ID, SAME_NUMBER, ONLY_RECIPIENT].into_iter().find_map(only);
            if let Some(recipient) = recipient {
                let kept = self.kept(identity);
                self.numbers.entry((known.message, kept)).or_insert(recipient);
            }
        }
        Ok(())
    }

    /// The recipients to whom the message of `report` was sent under the report's id, by events of this batch, which
    /// are not in the table yet.
    fn sent_in_the_batch(&self, report: &Event) -> BTreeSet<i64> {
        let is_its = |event: &&Event| {
            let is_sent = event.event == EventKind::Sent && event.attempt.is_some();
            is_sent
                && event.external_id.is_some()
                && event.external_id == report.external_id
                && event.message_id == report.message_id
        };
        let numbers = self.events.iter().filter(is_its).map(|event| self.number(event));
        numbers.filter(|number| *number != NOBODY).collect()
    }
}
