//! Computing the states of recipients from their events.

use super::{
    connection::Session,
    row::{KnownMessage, NOBODY, RecipientKey, clean},
};
use crate::message_log::{
    LogError,
    standing::{Happened, Standing, is_about_all},
    words::Word,
};
use postern_shared::{
    event::{Direction, Event, EventKind},
    message::MessageId,
};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

/// Computes the states of the touched recipients from all of their events.
pub(super) async fn tell(
    session: &mut Session,
    touched: &BTreeSet<RecipientKey>,
    messages: &HashMap<MessageId, KnownMessage>,
    new: &[(RecipientKey, &Event)],
) -> Result<(), LogError> {
    if touched.is_empty() {
        return Ok(());
    }
    let (numbers, recipients): (Vec<i64>, Vec<i64>) = touched.iter().copied().unzip();
    let sql = "SELECT message, recipient, at, event, external_id FROM postern.events \
               JOIN unnest($1::bigint[], $2::bigint[]) AS touched (message, recipient) USING (message, recipient) \
               UNION ALL SELECT message, recipient, at, event, external_id FROM postern.events \
               WHERE message = ANY($1) AND recipient = 0";
    let sql = session.prepared(sql).await?;
    let mut told: HashMap<RecipientKey, Vec<(Happened, String)>> = HashMap::new();
    let mut unsaid = BTreeSet::new();
    for row in session.query(&sql, &[&numbers, &recipients]).await? {
        let Some(event) = EventKind::of_word(row.get(3)) else { continue };
        let place: RecipientKey = (row.get(0), row.get(1));
        if place.1 == NOBODY && !is_about_all(event) {
            unsaid.insert(place.0);
        }
        told.entry(place).or_default().push((Happened { at: row.get(2), event }, row.get(4)));
    }
    let only = only(session, &unsaid).await?;
    let directions: HashMap<i64, Direction> =
        messages.values().map(|known| (known.message, known.direction)).collect();
    let external_ids = external_ids(new);
    let mut changed = Changed::default();
    for place in touched {
        let own = told.get(place).map(Vec::as_slice).unwrap_or_default();
        let ids: HashSet<&str> = own
            .iter()
            .filter(|(happened, _)| matches!(happened.event, EventKind::Sent | EventKind::Received))
            .map(|(_, external_id)| external_id.as_str())
            .collect();
        let of_all = told.get(&(place.0, NOBODY)).map(Vec::as_slice).unwrap_or_default();
        let of_all = of_all.iter().filter(|(happened, external_id)| {
            is_about_all(happened.event)
                || only.contains(&place.0)
                || (!external_id.is_empty() && ids.contains(external_id.as_str()))
        });
        let events = own.iter().chain(of_all).map(|(happened, _)| *happened).collect();
        let direction = directions.get(&place.0).copied().unwrap_or(Direction::Outbound);
        if let Some(standing) = Standing::told_from(direction, events) {
            changed.push(*place, standing, external_ids.get(place).cloned());
        }
    }
    changed.write(session).await
}

/// Changed recipients, with their new states.
#[derive(Default)]
struct Changed<'a> {
    messages: Vec<i64>,
    recipients: Vec<i64>,
    states: Vec<&'static str>,
    times: Vec<i64>,
    external_ids: Vec<Option<Cow<'a, str>>>,
    /// Since when the provider's id is valid; `i64::MIN` for an id that is used only if there is no other.
    since: Vec<i64>,
}

impl<'a> Changed<'a> {
    fn push(&mut self, place: RecipientKey, standing: Standing, external_id: Option<(Cow<'a, str>, i64)>) {
        self.messages.push(place.0);
        self.recipients.push(place.1);
        self.states.push(standing.state.word());
        self.times.push(standing.since);
        let (external_id, since) = external_id.unzip();
        self.external_ids.push(external_id);
        self.since.push(since.unwrap_or(i64::MIN));
    }

    async fn write(&self, session: &mut Session) -> Result<(), LogError> {
        let sql = "UPDATE postern.recipients AS r SET state = new.state, since = new.since, \
                   external_id = CASE WHEN new.external_id IS NOT NULL \
                       AND (r.external_id IS NULL OR new.sent_at >= r.since) \
                       THEN new.external_id ELSE r.external_id END \
                   FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[]) \
                   AS new (message, recipient, state, since, external_id, sent_at) \
                   WHERE r.message = new.message AND r.recipient = new.recipient \
                   AND (r.state, r.since) IS DISTINCT FROM (new.state, new.since) OR \
                   (r.message = new.message AND r.recipient = new.recipient AND new.external_id IS NOT NULL)";
        let sql = session.prepared(sql).await?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.messages, &self.recipients, &self.states, &self.times, &self.external_ids, &self.since];
        session.execute(&sql, &values).await?;
        Ok(())
    }
}

/// The provider's id of the message to each recipient by the new events, and when the message was sent under
/// it: the last id, or else the first that a report names.
fn external_ids<'a>(new: &[(RecipientKey, &'a Event)]) -> HashMap<RecipientKey, (Cow<'a, str>, i64)> {
    let mut ids = HashMap::new();
    for (place, event) in new {
        let Some(id) = event.external_id.as_deref() else { continue };
        if matches!(event.event, EventKind::Sent | EventKind::Received) {
            ids.insert(*place, (clean(id), event.at.as_millisecond()));
        } else {
            ids.entry(*place).or_insert_with(|| (clean(id), i64::MIN));
        }
    }
    ids
}

/// The messages that have only one recipient.
async fn only(session: &mut Session, messages: &BTreeSet<i64>) -> Result<HashSet<i64>, LogError> {
    if messages.is_empty() {
        return Ok(HashSet::new());
    }
    let messages: Vec<i64> = messages.iter().copied().collect();
    let sql =
        "SELECT message FROM postern.recipients WHERE message = ANY($1) GROUP BY message HAVING count(*) = 1";
    let sql = session.prepared(sql).await?;
    Ok(session.query(&sql, &[&messages]).await?.iter().map(|row| row.get(0)).collect())
}
