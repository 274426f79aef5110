//! Removing rows: those about one person, or those that are too old or too many.

use super::{
    connection::{DEADLINE, Session},
    schema::LOCK,
};
use crate::message_log::{LogError, Retention};
use jiff::Timestamp;
use std::{collections::BTreeSet, time::Duration};

/// The most messages that one step removes or changes.
const STEP: i64 = 200;

/// The most bytes of each table that an estimate of its size reads, on average.
const SAMPLE_BYTES: u32 = 2_500_000;

/// How long vacuuming the tables may take.
pub(super) const VACUUM: Duration = Duration::from_secs(120);

/// Erases the rows of a person, whose identity has one of `forms`, from a limited number of messages. Returns
/// from how many.
pub(super) async fn forget(session: &mut Session, forms: &[String]) -> Result<u64, LogError> {
    session.batch_execute("BEGIN").await?;
    session.batch_execute(LOCK).await?;
    // A message may hold the person in several forms: the others are those who have none of them.
    let find = "SELECT message, recipient, NOT EXISTS (SELECT 1 FROM postern.recipients AS other \
                WHERE other.message = mine.message AND other.identity <> ALL($1)) \
                FROM postern.recipients AS mine WHERE identity = ANY($1) LIMIT $2";
    let find = session.prepared(find).await?;
    let rows = session.query(&find, &[&forms, &STEP]).await?;
    let whole: Vec<i64> = rows.iter().filter(|row| row.get(2)).map(|row| row.get(0)).collect();
    remove(session, &whole).await?;
    let parts: Vec<_> = rows.iter().filter(|row| !row.get::<_, bool>(2)).collect();
    let messages: Vec<i64> = parts.iter().map(|row| row.get(0)).collect();
    let recipients: Vec<i64> = parts.iter().map(|row| row.get(1)).collect();
    for sql in [
        // Reports that name only the provider's id, and no recipient.
        "DELETE FROM postern.events AS report USING postern.events AS mine, \
         unnest($1::bigint[], $2::bigint[]) AS gone (message, recipient) \
         WHERE mine.message = gone.message AND mine.recipient = gone.recipient AND mine.external_id <> '' \
         AND report.message = gone.message AND report.recipient = 0 AND report.external_id = mine.external_id",
        "DELETE FROM postern.events USING unnest($1::bigint[], $2::bigint[]) AS gone (message, recipient) \
         WHERE events.message = gone.message AND events.recipient = gone.recipient",
        "DELETE FROM postern.recipients USING unnest($1::bigint[], $2::bigint[]) AS gone (message, recipient) \
         WHERE recipients.message = gone.message AND recipients.recipient = gone.recipient",
    ] {
        if !parts.is_empty() {
            let sql = session.prepared(sql).await?;
            session.execute(&sql, &[&messages, &recipients]).await?;
        }
    }
    // A callback's address may hold the number, and somebody who knows the other recipients can find it by trying
    // against the fingerprint.
    let sql = "UPDATE postern.messages SET callback = NULL, fingerprint = NULL, answer = NULL \
               WHERE message = ANY($1)";
    if !parts.is_empty() {
        let sql = session.prepared(sql).await?;
        session.execute(&sql, &[&messages]).await?;
    }
    session.batch_execute("COMMIT").await?;
    let erased: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    Ok(erased.len() as u64)
}

/// Frees the space of the rows that were deleted.
pub(super) async fn vacuum(session: &mut Session) -> Result<(), LogError> {
    let milliseconds = VACUUM.as_millis();
    session.batch_execute(&format!("SET statement_timeout = {milliseconds}")).await?;
    session.batch_execute("VACUUM postern.messages, postern.recipients, postern.events").await?;
    let milliseconds = DEADLINE.as_millis();
    session.batch_execute(&format!("SET statement_timeout = {milliseconds}")).await?;
    Ok(())
}

/// Removes a limited number of messages that are too old or too many. Returns how many.
pub(super) async fn expire(session: &mut Session, retention: &Retention) -> Result<u64, LogError> {
    if let Some(before) = retention.age.and_then(|age| Timestamp::now().checked_sub(age).ok()) {
        let sql = "SELECT message FROM postern.messages WHERE created_at < $1 ORDER BY created_at LIMIT $2";
        let before = before.as_millisecond();
        let find = session.prepared(sql).await?;
        let old: Vec<i64> =
            session.query(&find, &[&before, &STEP]).await?.iter().map(|row| row.get(0)).collect();
        if !old.is_empty() {
            return expire_these(session, &old).await;
        }
    }
    let Some(most) = retention.max_bytes else { return Ok(0) };
    if bytes(session).await? <= most {
        return Ok(0);
    }
    let find = session.prepared("SELECT message FROM postern.messages ORDER BY message LIMIT $1").await?;
    let oldest: Vec<i64> = session.query(&find, &[&STEP]).await?.iter().map(|row| row.get(0)).collect();
    expire_these(session, &oldest).await
}

async fn expire_these(session: &mut Session, messages: &[i64]) -> Result<u64, LogError> {
    session.batch_execute("BEGIN").await?;
    session.batch_execute(LOCK).await?;
    remove(session, messages).await?;
    session.batch_execute("COMMIT").await?;
    Ok(messages.len() as u64)
}

async fn remove(session: &mut Session, messages: &[i64]) -> Result<(), LogError> {
    if messages.is_empty() {
        return Ok(());
    }
    for sql in [
        "DELETE FROM postern.events WHERE message = ANY($1)",
        "DELETE FROM postern.recipients WHERE message = ANY($1)",
        "DELETE FROM postern.messages WHERE message = ANY($1)",
    ] {
        let sql = session.prepared(sql).await?;
        session.execute(&sql, &[&messages]).await?;
    }
    Ok(())
}

/// An estimate of the bytes of the rows and their index entries, from random pages of each table. The sample is
/// taken from all pages, since a few messages to many recipients take more than thousands of others. The files'
/// size is no measure, since they do not shrink when rows are deleted.
async fn bytes(session: &mut Session) -> Result<u64, LogError> {
    let mut bytes = 0;
    // With what a row takes in the indexes and in its page's directory.
    for (table, more) in [("messages", 150), ("recipients", 130), ("events", 140)] {
        let sql = format!(
            "SELECT least(100, 100.0 * {SAMPLE_BYTES} / greatest(pg_relation_size('postern.{table}'), 1))::real"
        );
        let sql = session.prepared(&sql).await?;
        let percent: f32 = session.query_one(&sql, &[]).await?.get(0);
        let sql = format!(
            "SELECT coalesce(sum(pg_column_size(sampled.*) + {more})::float8 * 100 / $1::real, 0)::bigint \
             FROM postern.{table} AS sampled TABLESAMPLE SYSTEM ($1::real)"
        );
        let sql = session.prepared(&sql).await?;
        let part: i64 = session.query_one(&sql, &[&percent]).await?.get(0);
        bytes += u64::try_from(part).unwrap_or_default();
    }
    Ok(bytes)
}
