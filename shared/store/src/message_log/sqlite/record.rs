//! Writing events, with a few statements for each, in a transaction that the caller begins and ends.

mod report_recipient;

use crate::message_log::{
    Keeping,
    standing::{Happened, Late, Standing, direction_of, is_about_all, sender},
    words::Word,
};
use postern_shared::{
    event::{Content, Direction, Event, EventKind, FirstAnswer},
    message::{Identity, MessageId},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};
use std::collections::HashSet;

/// Writes `events` in the transaction that is open on `connection`. An event that is there already changes
/// nothing.
///
/// # Errors
/// SQLite's. The transaction must then be rolled back.
pub fn record(connection: &Connection, keeping: &Keeping, events: &[Event]) -> rusqlite::Result<()> {
    let tables = Tables { connection, keeping };
    events.iter().try_for_each(|event| tables.record(event))
}

/// The recipient number of events about the whole message or an unnamed recipient.
const NOBODY: i64 = 0;

struct Tables<'a> {
    connection: &'a Connection,
    keeping: &'a Keeping,
}

/// A message that has a row.
struct MessageRow {
    message: i64,
    complete: bool,
    direction: Direction,
}

impl Tables<'_> {
    fn record(&self, event: &Event) -> rusqlite::Result<()> {
        let Some(content) = &event.content else {
            let known = match self.find(event.message_id)? {
                Some(known) => known,
                None => self.insert_unknown(event)?,
            };
            return self.record_of(&known, event);
        };
        if let Some(message) = self.insert_message(event, content)? {
            self.first_of(message, event, content)?;
            return self.remember_answer(message, event);
        }
        let known = self.find(event.message_id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        if known.complete {
            // The event names further recipients of the message.
            self.join(&known, event, content)?;
            return self.record_of(&known, event);
        }
        let known = self.complete(&known, event, content)?;
        self.join(&known, event, content)?;
        self.record_of(&known, event)?;
        let all = self.numbers("SELECT recipient FROM recipients WHERE message = ?1", [known.message])?;
        all.into_iter().try_for_each(|recipient| self.tell(&known, recipient))
    }

    /// Writes an event of a message that has a row.
    fn record_of(&self, known: &MessageRow, event: &Event) -> rusqlite::Result<()> {
        if !known.complete {
            self.learn(known.message, event)?;
        }
        self.remember_answer(known.message, event)?;
        let recipient = match &event.identity {
            Some(identity) => self.recipient_of(known, identity, event)?,
            None => NOBODY,
        };
        if !self.insert_event(known.message, recipient, event)? {
            return Ok(());
        }
        let named = recipient != NOBODY;
        let external_id = event.external_id.as_deref().filter(|_| named);
        let happened = Happened { at: event.at.as_millisecond(), event: event.event };
        for recipient in self.targets(known.message, recipient, event)? {
            self.move_on(known, recipient, happened, external_id)?;
        }
        match external_id {
            // A report with this provider's id may have come before.
            Some(id) if self.has_report(known.message, id)? => self.tell(known, recipient),
            _ => Ok(()),
        }
    }

    fn find(&self, id: MessageId) -> rusqlite::Result<Option<MessageRow>> {
        let sql = "SELECT message, complete, direction FROM messages WHERE id = ?1";
        let known = |row: &Row<'_>| {
            let inbound = row.get_ref(2)?.as_str()? == Direction::Inbound.word();
            let direction = if inbound { Direction::Inbound } else { Direction::Outbound };
            Ok(MessageRow { message: row.get(0)?, complete: row.get(1)?, direction })
        };
        self.prepare(sql)?.query_row([id.as_bytes()], known).optional()
    }

    /// Adds a message of which only this event is known.
    fn insert_unknown(&self, event: &Event) -> rusqlite::Result<MessageRow> {
        let sql =
            "INSERT INTO messages (id, direction, backend, created_at, complete) VALUES (?1, ?2, ?3, ?4, 0)";
        let direction = direction_of(event.event);
        let at = event.at.as_millisecond();
        let id = event.message_id.as_bytes();
        let row = params![id, direction.word(), event.backend.as_str(), at];
        let message = self.prepare(sql)?.insert(row)?;
        Ok(MessageRow { message, complete: false, direction })
    }

    /// Updates the time and the direction of an incomplete message from one of its events.
    fn learn(&self, message: i64, event: &Event) -> rusqlite::Result<()> {
        let sql = "UPDATE messages SET created_at = min(created_at, ?2), \
                   direction = iif(?3 = 'inbound', ?3, direction) WHERE message = ?1";
        let direction = direction_of(event.event).word();
        self.prepare(sql)?.execute(params![message, event.at.as_millisecond(), direction]).map(drop)
    }

    /// Stores the last answer to a client.
    fn remember_answer(&self, message: i64, event: &Event) -> rusqlite::Result<()> {
        let Some(FirstAnswer { fingerprint, answer }) = &event.first_answer else { return Ok(()) };
        let answer = serde_json::to_string(answer).unwrap_or_default();
        self.set_answer(message, Some(self.keeping.fingerprint(fingerprint).as_ref()), Some(&answer))
    }

    fn set_answer(
        &self,
        message: i64,
        fingerprint: Option<&str>,
        answer: Option<&str>,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE messages SET fingerprint = ?2, answer = ?3 WHERE message = ?1";
        self.prepare(sql)?.execute(params![message, fingerprint, answer]).map(drop)
    }

    /// Adds a message. Returns its number, or `None` if it was there already.
    fn insert_message(&self, event: &Event, content: &Content) -> rusqlite::Result<Option<i64>> {
        let sql = "INSERT INTO messages (id, direction, backend, text, segments, created_at, fields, complete, \
                   callback) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8) ON CONFLICT (id) DO NOTHING";
        let new = self.prepare(sql)?.execute(params![
            event.message_id.as_bytes(),
            content.direction.word(),
            event.backend.as_str(),
            self.keeping.text(content),
            content.segments.and_then(|segments| i64::try_from(segments).ok()),
            content.created_at.as_millisecond(),
            self.keeping.fields(content),
            self.keeping.callback(event),
        ])?;
        Ok((new > 0).then(|| self.connection.last_insert_rowid()))
    }

    /// Writes the first event of a message. This is the usual case, in which nothing has to be looked up.
    fn first_of(&self, message: i64, event: &Event, content: &Content) -> rusqlite::Result<()> {
        let standing = Standing::new(content.direction, event.at.as_millisecond());
        let mut places = HashSet::with_capacity(content.identities.len());
        let mut named = NOBODY;
        for identity in content.identities.iter().chain(&event.identity) {
            if !places.insert(identity) {
                continue;
            }
            let recipient = places.len().try_into().unwrap_or(i64::MAX);
            let is_named = event.identity.as_ref() == Some(identity);
            named = if is_named { recipient } else { named };
            let external_id = event.external_id.as_deref().filter(|_| is_named);
            self.insert_recipient(message, recipient, identity, standing, external_id)?;
        }
        self.insert_event(message, named, event).map(drop)
    }

    /// Completes a message that is known only from its reports. It gets a new number, so that a reader that
    /// continues from a number gets it with its text.
    fn complete(&self, known: &MessageRow, event: &Event, content: &Content) -> rusqlite::Result<MessageRow> {
        let sql = "DELETE FROM messages WHERE message = ?1 RETURNING fingerprint, answer";
        let answered = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (fingerprint, answer): (Option<String>, Option<String>) =
            self.prepare(sql)?.query_row([known.message], answered)?;
        let message = self.insert_message(event, content)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        if fingerprint.is_some() {
            self.set_answer(message, fingerprint.as_deref(), answer.as_deref())?;
        }
        for sql in [
            "UPDATE recipients SET message = ?2 WHERE message = ?1",
            "UPDATE events SET message = ?2 WHERE message = ?1",
        ] {
            self.prepare(sql)?.execute([known.message, message])?;
        }
        Ok(MessageRow { message, complete: true, direction: content.direction })
    }

    fn join(&self, known: &MessageRow, event: &Event, content: &Content) -> rusqlite::Result<()> {
        let at = event.at.as_millisecond();
        for identity in &content.identities {
            if self.number(known, &self.keeping.identity(identity))?.is_none() {
                self.add_recipient(known, identity, at)?;
            }
        }
        Ok(())
    }

    /// The number of the recipient whom `event` calls `identity`, and who is added if necessary.
    fn recipient_of(&self, known: &MessageRow, identity: &Identity, event: &Event) -> rusqlite::Result<i64> {
        if let Some(recipient) = self.number(known, &self.keeping.identity(identity))? {
            return Ok(recipient);
        }
        match self.respelled(known, identity, event)? {
            Some(recipient) => Ok(recipient),
            None => self.add_recipient(known, identity, event.at.as_millisecond()),
        }
    }

    /// Adds the recipient `identity`, and returns the number.
    fn add_recipient(&self, known: &MessageRow, identity: &Identity, at: i64) -> rusqlite::Result<i64> {
        let sql = "SELECT coalesce(max(recipient), 0) FROM recipients WHERE message = ?1";
        let last: i64 = self.prepare(sql)?.query_row([known.message], |row| row.get(0))?;
        let standing = Standing::new(known.direction, at);
        self.insert_recipient(known.message, last + 1, identity, standing, None)?;
        self.tell(known, last + 1)?;
        // Until now, a report without a recipient was about the only recipient. That is no longer so.
        if last == 1 {
            self.tell(known, last)?;
        }
        Ok(last + 1)
    }

    /// The number of the recipient whose row holds the identity as `kept`. `None` if there is no row.
    fn number(&self, known: &MessageRow, kept: &str) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT recipient FROM recipients WHERE identity = ?1 AND message = ?2";
        self.prepare(sql)?.query_row(params![kept, known.message], |row| row.get(0)).optional()
    }

    fn insert_recipient(
        &self,
        message: i64,
        recipient: i64,
        identity: &Identity,
        standing: Standing,
        external_id: Option<&str>,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO recipients (message, recipient, identity, state, since, external_id) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let identity = self.keeping.identity(identity);
        let row = params![message, recipient, identity, standing.state.word(), standing.since, external_id];
        self.prepare(sql)?.execute(row).map(drop)
    }

    /// Adds an event. Returns whether it was not there yet.
    fn insert_event(&self, message: i64, recipient: i64, event: &Event) -> rusqlite::Result<bool> {
        let sql = "INSERT INTO events (message, recipient, at, event, attempt, external_id, class, code, \
                   detail, http_status, duration_ms, done_by) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, coalesce(?12, CASE WHEN ?13 IS NOT NULL \
                   THEN (SELECT ?13 FROM messages WHERE message = ?1 AND backend <> ?13) END)) \
                   ON CONFLICT DO NOTHING";
        let new = self.prepare(sql)?.execute(params![
            message,
            recipient,
            event.at.as_millisecond(),
            event.event.word(),
            event.attempt.unwrap_or_default(),
            event.external_id.as_deref().unwrap_or_default(),
            event.class.map(Word::word),
            event.code,
            self.keeping.detail(event),
            event.http_status,
            event.duration_ms.and_then(|span| i64::try_from(span).ok()),
            event.by,
            sender(event),
        ])?;
        Ok(new > 0)
    }

    /// The recipients that a new event is about.
    fn targets(&self, message: i64, recipient: i64, event: &Event) -> rusqlite::Result<Vec<i64>> {
        if recipient != NOBODY {
            return Ok(vec![recipient]);
        }
        if is_about_all(event.event) {
            // The event that a message was accepted changes only the states of recipients with a later event.
            let moves = matches!(event.event, EventKind::Redriven | EventKind::Forwarded);
            let sql = "SELECT recipient FROM recipients WHERE message = ?1 AND (?2 OR since > ?3)";
            return self.numbers(sql, params![message, moves, event.at.as_millisecond()]);
        }
        if let Some(only) = self.only(message)? {
            return Ok(vec![only]);
        }
        match &event.external_id {
            None => Ok(Vec::new()),
            Some(id) => self.numbers(
                "SELECT DISTINCT recipient FROM events WHERE message = ?1 AND recipient > 0 AND external_id = ?2 \
                 AND external_id <> '' AND event IN ('received', 'sent')",
                params![message, id],
            ),
        }
    }

    /// The only recipient of a message. `None` if it has several.
    fn only(&self, message: i64) -> rusqlite::Result<Option<i64>> {
        let first = self.numbers("SELECT recipient FROM recipients WHERE message = ?1 LIMIT 2", [message])?;
        Ok(Some(first).filter(|first| first.len() == 1).map(|first| first[0]))
    }

    fn has_report(&self, message: i64, external_id: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM events WHERE message = ?1 AND recipient = 0 AND external_id = ?2";
        self.prepare(sql)?.exists(params![message, external_id])
    }

    /// Updates a recipient's state and the provider's id after one more event.
    fn move_on(
        &self,
        known: &MessageRow,
        recipient: i64,
        happened: Happened,
        external_id: Option<&str>,
    ) -> rusqlite::Result<()> {
        let sql =
            "SELECT state, since, external_id IS NULL FROM recipients WHERE message = ?1 AND recipient = ?2";
        let (before, has_none) = self
            .prepare(sql)?
            .query_row([known.message, recipient], |row| Ok((standing(row)?, row.get::<_, bool>(2)?)))?;
        let by_sending = matches!(happened.event, EventKind::Sent | EventKind::Received);
        let external_id = external_id.filter(|_| has_none || (by_sending && before.since <= happened.at));
        let after = before.after(known.direction, happened);
        let standing = after.unwrap_or(before);
        if standing != before || external_id.is_some() {
            self.set(known.message, recipient, standing, external_id)?;
        }
        match after {
            Ok(_) => Ok(()),
            Err(Late) => self.tell(known, recipient),
        }
    }

    /// Computes a recipient's state from all events.
    fn tell(&self, known: &MessageRow, recipient: i64) -> rusqlite::Result<()> {
        let only = self.only(known.message)?.is_some();
        let sql = "SELECT recipient, at, event, external_id FROM events \
                   WHERE message = ?1 AND recipient IN (0, ?2) ORDER BY recipient DESC";
        let (mut events, mut ids) = (Vec::new(), HashSet::new());
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query([known.message, recipient])?;
        while let Some(row) = rows.next()? {
            let (named, external_id) = (row.get::<_, i64>(0)? != NOBODY, row.get::<_, String>(3)?);
            let Some(event) = EventKind::of_word(row.get_ref(2)?.as_str()?) else { continue };
            if named && matches!(event, EventKind::Sent | EventKind::Received) {
                ids.insert(external_id.clone());
            }
            if named || only || is_about_all(event) || (!external_id.is_empty() && ids.contains(&external_id))
            {
                events.push(Happened { at: row.get(1)?, event });
            }
        }
        match Standing::told_from(known.direction, events) {
            Some(standing) => self.set(known.message, recipient, standing, None),
            None => Ok(()),
        }
    }

    /// Sets a recipient's state, and the provider's id if there is a new one.
    fn set(
        &self,
        message: i64,
        recipient: i64,
        standing: Standing,
        external_id: Option<&str>,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE recipients SET state = ?3, since = ?4, external_id = coalesce(?5, external_id) \
                   WHERE message = ?1 AND recipient = ?2";
        let row = params![message, recipient, standing.state.word(), standing.since, external_id];
        self.prepare(sql)?.execute(row).map(drop)
    }

    fn numbers(&self, sql: &'static str, params: impl rusqlite::Params) -> rusqlite::Result<Vec<i64>> {
        self.prepare(sql)?.query_map(params, |row| row.get(0))?.collect()
    }

    fn prepare(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }
}

fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    let state = crate::message_log::LoggedState::of_word(row.get_ref(0)?.as_str()?);
    let state =
        state.ok_or_else(|| super::failure::unreadable(crate::message_log::raw::UnreadableRow("state")))?;
    Ok(Standing { state, since: row.get(1)? })
}
