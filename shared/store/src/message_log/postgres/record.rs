//! Writing a batch of events, with the same number of statements for many events as for one.

mod recipients;
mod report_recipient;

use super::{
    complete::{complete, learn},
    connection::Session,
    row::{KnownMessage, NOBODY, RecipientKey, clean, segments},
    schema::LOCK,
    tell::tell,
};
use crate::message_log::{
    Keeping, LogError,
    report_recipient::is_report,
    standing::{direction_of, is_about_all, sender},
    words::Word,
};
use postern_shared::{
    event::{Content, Direction, Event, EventKind},
    message::MessageId,
};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};
use uuid::Uuid;

/// A batch of events, and what is known so far about its messages and recipients.
struct EventBatch<'a> {
    keeping: &'a Keeping,
    events: &'a [Event],
    messages: HashMap<MessageId, KnownMessage>,
    /// The numbers of recipients, by message and identity, also as reports spell it.
    numbers: HashMap<(i64, Cow<'a, str>), i64>,
    /// The recipients whose state must be computed again.
    touched: BTreeSet<RecipientKey>,
}

/// Writes `events` in one transaction. An event that is there already changes nothing.
pub(super) async fn record(
    session: &mut Session,
    keeping: &Keeping,
    events: &[Event],
) -> Result<(), LogError> {
    session.batch_execute("BEGIN").await?;
    session.batch_execute(LOCK).await?;
    let mut batch = EventBatch {
        keeping,
        events,
        messages: HashMap::new(),
        numbers: HashMap::new(),
        touched: BTreeSet::new(),
    };
    batch.find_messages(session).await?;
    batch.insert_messages(session).await?;
    batch.remember_answers(session).await?;
    batch.find_recipients(session).await?;
    batch.insert_recipients(session, |event| !is_report(event)).await?;
    batch.find_reported(session).await?;
    batch.insert_recipients(session, |_| true).await?;
    let new = batch.insert_events(session).await?;
    batch.find_touched(session, &new).await?;
    tell(session, &batch.touched, &batch.messages, &new).await?;
    session.batch_execute("COMMIT").await?;
    Ok(())
}

impl<'a> EventBatch<'a> {
    async fn find_messages(&mut self, session: &mut Session) -> Result<(), LogError> {
        let ids: HashSet<Uuid> = self.events.iter().map(|event| event.message_id.into()).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let sql = "SELECT id, message, complete, direction FROM postern.messages WHERE id = ANY($1)";
        let sql = session.prepared(sql).await?;
        for row in session.query(&sql, &[&ids]).await? {
            let direction = Direction::of_word(row.get(3)).unwrap_or(Direction::Outbound);
            let known = KnownMessage { message: row.get(1), complete: row.get(2), direction, new: false };
            self.messages.insert(row.get::<_, Uuid>(0).into(), known);
        }
        Ok(())
    }

    /// Adds new messages, and the texts of messages that were known only from their reports.
    async fn insert_messages(&mut self, session: &mut Session) -> Result<(), LogError> {
        let mut new: Vec<(&Event, Option<&Content>)> = Vec::new();
        let mut places: HashMap<MessageId, usize> = HashMap::new();
        for event in self.events {
            match self.messages.get(&event.message_id).copied() {
                Some(known) if known.complete => {}
                Some(known) => {
                    let known = match &event.content {
                        Some(content) => complete(session, self.keeping, known, event, content).await?,
                        None => learn(session, known, event).await?,
                    };
                    self.messages.insert(event.message_id, known);
                    if known.complete {
                        let all = "SELECT recipient FROM postern.recipients WHERE message = $1";
                        let all = session.query(all, &[&known.message]).await?;
                        self.touched.extend(all.iter().map(|row| (known.message, row.get(0))));
                    }
                }
                None => {
                    let place = *places.entry(event.message_id).or_insert(new.len());
                    match new.get_mut(place) {
                        None => new.push((event, event.content.as_ref())),
                        // An event with the content came after a report.
                        Some(known) if known.1.is_none() => {
                            let (one, other) = (known.0, event);
                            let first =
                                if (other.at, other.event) < (one.at, one.event) { other } else { one };
                            let inbound = [one, other]
                                .into_iter()
                                .find(|event| direction_of(event.event) == Direction::Inbound);
                            *known = match &event.content {
                                Some(content) => (event, Some(content)),
                                None => (inbound.unwrap_or(first), None),
                            };
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        self.insert_new(session, &new).await
    }

    async fn insert_new(
        &mut self,
        session: &mut Session,
        new: &[(&'a Event, Option<&'a Content>)],
    ) -> Result<(), LogError> {
        if new.is_empty() {
            return Ok(());
        }
        let mut earliest: HashMap<MessageId, i64> = HashMap::new();
        for event in self.events {
            let at = event.at.as_millisecond();
            earliest.entry(event.message_id).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
        let ids: Vec<Uuid> = new.iter().map(|(event, _)| event.message_id.into()).collect();
        let direction = |event: &Event, content: Option<&Content>| {
            content.map_or_else(|| direction_of(event.event), |content| content.direction)
        };
        let directions: Vec<&str> =
            new.iter().map(|(event, content)| direction(event, *content).word()).collect();
        let backends: Vec<&str> = new.iter().map(|(event, _)| event.backend.as_str()).collect();
        let texts: Vec<Option<Cow<'_, str>>> = new
            .iter()
            .map(|(_, content)| content.and_then(|content| self.keeping.text(content)).map(clean))
            .collect();
        let segments: Vec<Option<i64>> = new.iter().map(|(_, content)| content.and_then(segments)).collect();
        let created: Vec<i64> = new
            .iter()
            .map(|(event, content)| match content {
                Some(content) => content.created_at.as_millisecond(),
                None => earliest.get(&event.message_id).copied().unwrap_or_default(),
            })
            .collect();
        let fields: Vec<Option<String>> =
            new.iter().map(|(_, content)| content.and_then(|content| self.keeping.fields(content))).collect();
        let complete: Vec<bool> = new.iter().map(|(_, content)| content.is_some()).collect();
        let callbacks: Vec<Option<Cow<'_, str>>> =
            new.iter().map(|(event, _)| self.keeping.callback(event).map(clean)).collect();
        let sql = "INSERT INTO postern.messages \
                   (id, direction, backend, text, segments, created_at, fields, complete, callback) \
                   SELECT id, direction, backend, text, segments, created_at, fields::json, complete, callback \
                   FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], \
                   $7::text[], $8::boolean[], $9::text[]) WITH ORDINALITY \
                   AS new (id, direction, backend, text, segments, created_at, fields, complete, callback, place) \
                   ORDER BY place RETURNING id, message, complete, direction";
        let sql = session.prepared(sql).await?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [&ids, &directions, &backends, &texts, &segments, &created, &fields, &complete, &callbacks];
        for row in session.query(&sql, &values).await? {
            let direction = Direction::of_word(row.get(3)).unwrap_or(Direction::Outbound);
            let known = KnownMessage { message: row.get(1), complete: row.get(2), direction, new: true };
            self.messages.insert(row.get::<_, Uuid>(0).into(), known);
        }
        Ok(())
    }

    /// Stores the last answers to clients.
    async fn remember_answers(&self, session: &mut Session) -> Result<(), LogError> {
        let (mut messages, mut fingerprints, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        // If there are several answers for one message, the last counts.
        let mut seen = HashSet::new();
        for event in self.events.iter().rev() {
            let (Some(first), Some(known)) = (&event.first_answer, self.known(event)) else { continue };
            if seen.insert(known.message) {
                messages.push(known.message);
                fingerprints.push(self.keeping.fingerprint(&first.fingerprint));
                answers.push(serde_json::to_string(&first.answer).unwrap_or_default());
            }
        }
        if messages.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE postern.messages SET fingerprint = new.fingerprint, answer = new.answer \
                   FROM unnest($1::bigint[], $2::text[], $3::text[]) AS new (message, fingerprint, answer) \
                   WHERE messages.message = new.message";
        let sql = session.prepared(sql).await?;
        session.execute(&sql, &[&messages, &fingerprints, &answers]).await?;
        Ok(())
    }

    fn known(&self, event: &Event) -> Option<KnownMessage> {
        self.messages.get(&event.message_id).copied()
    }

    /// Adds the events that are not there yet, and returns them.
    async fn insert_events(
        &mut self,
        session: &mut Session,
    ) -> Result<Vec<(RecipientKey, &'a Event)>, LogError> {
        let (mut keys, mut rows) = (HashSet::new(), Vec::new());
        for event in self.events {
            let Some(known) = self.known(event) else { continue };
            let place = (known.message, self.number(event));
            if keys.insert(key(place, event)) {
                rows.push((place, event));
            }
        }
        fn column<'a, T>(rows: &[(RecipientKey, &'a Event)], of: impl Fn(&'a Event) -> T) -> Vec<T> {
            rows.iter().map(|(_, event)| of(event)).collect()
        }
        let messages: Vec<i64> = rows.iter().map(|(place, _)| place.0).collect();
        let recipients: Vec<i64> = rows.iter().map(|(place, _)| place.1).collect();
        let times = column(&rows, |event| event.at.as_millisecond());
        let kinds = column(&rows, |event| event.event.word());
        let attempts = column(&rows, |event| i64::from(event.attempt.unwrap_or_default()));
        let external_ids = column(&rows, |event| clean(event.external_id.as_deref().unwrap_or_default()));
        let classes = column(&rows, |event| event.class.map(Word::word));
        let codes = column(&rows, |event| event.code.as_deref().map(clean));
        let details = column(&rows, |event| self.keeping.detail(event).map(clean));
        let statuses = column(&rows, |event| event.http_status.map(i64::from));
        let durations = column(&rows, |event| event.duration_ms.and_then(|span| i64::try_from(span).ok()));
        let by = column(&rows, |event| event.by.as_deref().map(clean));
        let senders = column(&rows, sender);
        let sql = "INSERT INTO postern.events (message, recipient, at, event, attempt, external_id, class, code, \
                   detail, http_status, duration_ms, done_by) \
                   SELECT n.message, n.recipient, n.at, n.event, n.attempt, n.external_id, n.class, n.code, \
                   n.detail, n.http_status, n.duration_ms, coalesce(n.done_by, CASE WHEN n.sender IS NOT NULL \
                   THEN (SELECT n.sender FROM postern.messages AS m WHERE m.message = n.message \
                   AND m.backend <> n.sender) END) \
                   FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], \
                   $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::text[], $13::text[]) \
                   AS n (message, recipient, at, event, attempt, external_id, class, code, detail, \
                   http_status, duration_ms, done_by, sender) ON CONFLICT DO NOTHING \
                   RETURNING message, recipient, at, event, attempt, external_id";
        let sql = session.prepared(sql).await?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 13] = [
            &messages,
            &recipients,
            &times,
            &kinds,
            &attempts,
            &external_ids,
            &classes,
            &codes,
            &details,
            &statuses,
            &durations,
            &by,
            &senders,
        ];
        let written = session.query(&sql, &values).await?;
        let written: HashSet<EventKey<'_>> = written
            .iter()
            .map(|row| {
                let external_id: String = row.get(5);
                (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), Cow::Owned(external_id))
            })
            .collect();
        rows.retain(|(place, event)| written.contains(&key(*place, event)));
        Ok(rows)
    }

    /// Finds the recipients whose state the new events may change.
    async fn find_touched(
        &mut self,
        session: &mut Session,
        new: &[(RecipientKey, &Event)],
    ) -> Result<(), LogError> {
        let (mut of_all, mut of_some, mut external_ids) = (Vec::new(), Vec::new(), Vec::new());
        for ((message, recipient), event) in new {
            let known = self.known(event);
            match event.event {
                _ if *recipient != NOBODY => {
                    let first = known.is_some_and(|known| known.new) && event.content.is_some();
                    if !first || event.external_id.is_some() {
                        self.touched.insert((*message, *recipient));
                    }
                }
                // The event that a message was accepted changes only the states of new recipients.
                EventKind::Accepted | EventKind::Received => {}
                kind if is_about_all(kind) => of_all.push(*message),
                _ => {
                    of_some.push(*message);
                    external_ids.push(clean(event.external_id.as_deref().unwrap_or_default()));
                }
            }
        }
        if of_all.is_empty() && of_some.is_empty() {
            return Ok(());
        }
        let sql = "SELECT message, recipient FROM postern.recipients WHERE message = ANY($1) \
                   UNION SELECT message, min(recipient) FROM postern.recipients WHERE message = ANY($2) \
                   GROUP BY message HAVING count(*) = 1 \
                   UNION SELECT message, recipient FROM postern.events \
                   JOIN unnest($2::bigint[], $3::text[]) AS report (message, external_id) \
                   USING (message, external_id) WHERE recipient > 0 AND external_id <> '' \
                   AND event IN ('received', 'sent')";
        let sql = session.prepared(sql).await?;
        let rows = session.query(&sql, &[&of_all, &of_some, &external_ids]).await?;
        self.touched.extend(rows.iter().map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1))));
        Ok(())
    }
}

/// The key by which an event is recognised as the same.
type EventKey<'a> = (i64, i64, i64, String, i64, Cow<'a, str>);

fn key<'a>(place: RecipientKey, event: &'a Event) -> EventKey<'a> {
    let external_id = clean(event.external_id.as_deref().unwrap_or_default());
    let attempt = i64::from(event.attempt.unwrap_or_default());
    (place.0, place.1, event.at.as_millisecond(), event.event.word().to_owned(), attempt, external_id)
}
