//! The recipients that a batch names, and their numbers.

use super::super::{
    connection::Session,
    row::{KnownMessage, NOBODY, clean},
};
use super::EventBatch;
use crate::message_log::{LogError, standing::Standing, words::Word};
use postern_shared::{event::Event, message::Identity};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

impl<'a> EventBatch<'a> {
    /// The messages and identities in the events that `wanted` selects, in order, each once.
    fn named(&self, wanted: fn(&Event) -> bool) -> Vec<(KnownMessage, Cow<'a, str>, i64)> {
        let (mut seen, mut named) = (HashSet::new(), Vec::new());
        for event in self.events {
            let Some(known) = self.known(event).filter(|_| wanted(event)) else { continue };
            let of_content = event.content.iter().flat_map(|content| &content.identities);
            for identity in of_content.chain(&event.identity) {
                let identity = self.kept(identity);
                if seen.insert((known.message, identity.clone())) {
                    named.push((known, identity, event.at.as_millisecond()));
                }
            }
        }
        // The recipients of a new message have the order of its content.
        named
    }

    /// Reads the numbers of the known recipients.
    pub(super) async fn find_recipients(&mut self, session: &mut Session) -> Result<(), LogError> {
        let named = self.named(|_| true);
        let old = named.iter().filter(|(known, ..)| !known.new);
        let (messages, identities): (Vec<i64>, Vec<&str>) =
            old.map(|(known, identity, _)| (known.message, identity.as_ref())).unzip();
        if messages.is_empty() {
            return Ok(());
        }
        let sql = "SELECT message, identity, recipient FROM postern.recipients \
                   JOIN unnest($1::bigint[], $2::text[]) AS named (message, identity) USING (message, identity)";
        let sql = session.prepared(sql).await?;
        for row in session.query(&sql, &[&messages, &identities]).await? {
            self.numbers.insert((row.get(0), Cow::Owned(row.get(1))), row.get(2));
        }
        Ok(())
    }

    /// Adds the recipients in the events that `wanted` selects, if they have no number yet.
    pub(super) async fn insert_recipients(
        &mut self,
        session: &mut Session,
        wanted: fn(&Event) -> bool,
    ) -> Result<(), LogError> {
        let new: Vec<_> = self
            .named(wanted)
            .into_iter()
            .filter(|(known, identity, _)| !self.numbers.contains_key(&(known.message, identity.clone())))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut last = self.last_numbers(session, &new).await?;
        for ((message, _), number) in &self.numbers {
            let last = last.entry(*message).or_default();
            *last = (*last).max(*number);
        }
        let mut counts: HashMap<i64, usize> = HashMap::new();
        for event in self.events {
            *counts.entry(self.known(event).map_or(0, |known| known.message)).or_default() += 1;
        }
        let (mut messages, mut recipients, mut identities) = (Vec::new(), Vec::new(), Vec::new());
        let (mut states, mut times) = (Vec::new(), Vec::new());
        for (known, identity, at) in &new {
            let last = last.entry(known.message).or_default();
            *last += 1;
            let place = (known.message, *last);
            self.numbers.insert((known.message, identity.clone()), *last);
            // If a message has only one event, the recipient's state is already known from it.
            let first = known.new && counts.get(&known.message) == Some(&1);
            if !first {
                self.touched.insert(place);
            }
            // Until now, a report without a recipient was about the only recipient. That is no longer so.
            if !known.new && *last == 2 {
                self.touched.insert((known.message, 1));
            }
            messages.push(place.0);
            recipients.push(place.1);
            identities.push(identity.as_ref());
            states.push(Standing::new(known.direction, *at).state.word());
            times.push(*at);
        }
        let sql = "INSERT INTO postern.recipients (message, recipient, identity, state, since) \
                   SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])";
        let sql = session.prepared(sql).await?;
        session.execute(&sql, &[&messages, &recipients, &identities, &states, &times]).await?;
        Ok(())
    }

    /// The greatest recipient number of each message that was there before the batch.
    async fn last_numbers(
        &self,
        session: &mut Session,
        new: &[(KnownMessage, Cow<'a, str>, i64)],
    ) -> Result<HashMap<i64, i64>, LogError> {
        let old: Vec<i64> =
            new.iter().filter(|(known, ..)| !known.new).map(|(known, ..)| known.message).collect();
        if old.is_empty() {
            return Ok(HashMap::new());
        }
        let sql =
            "SELECT message, max(recipient) FROM postern.recipients WHERE message = ANY($1) GROUP BY message";
        let sql = session.prepared(sql).await?;
        let rows = session.query(&sql, &[&old]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The number of the recipient that `event` is about. [`NOBODY`] if it names none.
    pub(super) fn number(&self, event: &Event) -> i64 {
        let (Some(known), Some(identity)) = (self.known(event), &event.identity) else { return NOBODY };
        self.numbers.get(&(known.message, self.kept(identity))).copied().unwrap_or(NOBODY)
    }

    /// The identity as a row holds it.
    pub(super) fn kept<'i>(&self, identity: &'i Identity) -> Cow<'i, str> {
        match clean(identity.as_str()) {
            Cow::Borrowed(_) => self.keeping.identity(identity),
            Cow::Owned(clean) => Cow::Owned(clean),
        }
    }
}
