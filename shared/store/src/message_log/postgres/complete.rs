//! Messages that are known only from their reports, which came before the message or without it. They are rare, so
//! each is written by itself.

use super::{
    connection::Session,
    row::{KnownMessage, clean, segments},
};
use crate::message_log::{Keeping, LogError, standing::direction_of, words::Word};
use postern_shared::event::{Content, Direction, Event};
use uuid::Uuid;

/// Completes a message that is known only from its reports. It gets a new number, so that a reader that continues
/// from a number gets it with its text.
pub(super) async fn complete(
    session: &mut Session,
    keeping: &Keeping,
    known: KnownMessage,
    event: &Event,
    content: &Content,
) -> Result<KnownMessage, LogError> {
    let sql = "DELETE FROM postern.messages WHERE message = $1 RETURNING fingerprint, answer";
    let answered = session.query_one(sql, &[&known.message]).await?;
    let (fingerprint, answer): (Option<String>, Option<String>) = (answered.get(0), answered.get(1));
    let sql = "INSERT INTO postern.messages \
               (id, direction, backend, text, segments, created_at, fields, complete, callback, fingerprint, answer) \
               VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, true, $8, $9, $10) RETURNING message";
    let (id, direction) = (Uuid::from(event.message_id), content.direction.word());
    let row = session
        .query_one(
            sql,
            &[
                &id,
                &direction,
                &event.backend.as_str(),
                &keeping.text(content).map(clean),
                &segments(content),
                &content.created_at.as_millisecond(),
                &keeping.fields(content),
                &keeping.callback(event).map(clean),
                &fingerprint,
                &answer,
            ],
        )
        .await?;
    let message: i64 = row.get(0);
    for sql in [
        "UPDATE postern.recipients SET message = $2 WHERE message = $1",
        "UPDATE postern.events SET message = $2 WHERE message = $1",
    ] {
        session.execute(sql, &[&known.message, &message]).await?;
    }
    Ok(KnownMessage { message, complete: true, direction: content.direction, new: false })
}

/// Updates the time and the direction of an incomplete message from one of its events.
pub(super) async fn learn(
    session: &mut Session,
    known: KnownMessage,
    event: &Event,
) -> Result<KnownMessage, LogError> {
    let direction = match direction_of(event.event) {
        Direction::Inbound => Direction::Inbound,
        Direction::Outbound => known.direction,
    };
    let sql =
        "UPDATE postern.messages SET created_at = least(created_at, $2), direction = $3 WHERE message = $1";
    session.execute(sql, &[&known.message, &event.at.as_millisecond(), &direction.word()]).await?;
    Ok(KnownMessage { direction, ..known })
}
