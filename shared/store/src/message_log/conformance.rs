//! The behaviour that every message log must have, as named cases that run against any of them. It corresponds to
//! [`postern_broker::conformance`] for brokers.
//!
//! A [`LogStorage`] is where a log keeps its rows: a folder or a database. Every case gets an empty one, which
//! no other case uses.

mod asking;
mod erasing;
mod recording;
mod reporting;

use super::{HashKey, Keeping, ListOrder, LoggedMessage, MessageLog, MessageQuery};
use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use jiff::Timestamp;
use postern_shared::{
    event::{Content, Direction, Event, EventKind, FirstAnswer},
    message::{Identity, MessageId},
    value::Secret,
};
use serde_json::{Map, Value};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

/// A place for rows that outlives the logs opened on it.
#[async_trait]
pub trait LogStorage: Send + Sync {
    /// Opens the log in this storage. Several may be open at once.
    async fn open(&self, keeping: Keeping) -> Result<Arc<dyn MessageLog>>;
}

/// Hands the names of all cases, separated by blanks, to the macro `$each`.
#[macro_export]
macro_rules! for_each_log_case {
    ($each:ident) => {
        $each! {
            a_message_comes_back_with_its_history
            an_event_is_written_once
            events_may_come_in_any_order
            batches_of_one_message_join_their_recipients
            a_report_without_recipient_finds_its_own
            a_report_in_another_spelling_finds_its_recipient
            a_redrive_sets_a_recipient_back
            what_only_reports_told_is_filled_in
            a_received_message_is_forwarded
            large_and_strange_values_come_back
            lists_are_filtered
            pages_follow_one_another
            a_cursor_misses_nothing_that_is_written_side_by_side
            a_provider_s_id_finds_the_latest_message
            a_provider_s_report_takes_no_id_over
            a_provider_s_id_belongs_to_the_backend_that_sent
            a_callback_is_found_by_the_message_and_by_the_provider_s_id
            a_first_answer_is_found_by_the_message_s_id
            ids_are_found_by_where_they_lie
            what_is_written_outlives_the_log
            states_only_keeps_no_number_and_no_word
            forgetting_erases_one_person
            forgetting_erases_every_form_of_a_person
            forgetting_erases_what_was_reported_in_another_spelling
            a_report_about_a_forgotten_person_is_about_nobody_else
            what_is_too_old_goes_in_steps
            what_is_too_much_goes_oldest_first
        }
    };
}

type LogCase = fn(Arc<dyn LogStorage>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

macro_rules! listed {
    ($($case:ident)*) => {
        fn case(name: &str) -> Option<LogCase> {
            match name {
                $(stringify!($case) => Some(|storage| Box::pin(cases::$case(storage))),)*
                _ => None,
            }
        }
    };
}
for_each_log_case!(listed);

mod cases {
    pub(super) use super::{asking::*, erasing::*, recording::*, reporting::*};
}

/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the case `name` on `storage`, which must be empty and not used by anybody else.
///
/// # Errors
/// What the log did wrong, or that there is no case with this name.
pub async fn run(name: &str, storage: Arc<dyn LogStorage>) -> Result<()> {
    let case = case(name).with_context(|| format!("no case is called {name}"))?;
    match tokio::time::timeout(PATIENCE, case(storage)).await {
        Ok(outcome) => outcome.with_context(|| format!("case {name}")),
        Err(_) => bail!("case {name}: not done after {PATIENCE:?}"),
    }
}

async fn open(storage: &Arc<dyn LogStorage>) -> Result<Arc<dyn MessageLog>> {
    storage.open(Keeping::full()).await.context("open")
}

fn states(key: &str) -> Keeping {
    Keeping::states(HashKey::new(&Secret::from(key.to_owned())))
}

/// The time `milliseconds` after a fixed moment.
fn at(milliseconds: i64) -> Result<Timestamp> {
    Ok(Timestamp::from_millisecond(1_764_000_000_000 + milliseconds)?)
}

fn person(number: usize) -> Result<Identity> {
    Ok(format!("+1555{number:07}").parse()?)
}

/// An event at [`at`] `milliseconds`, through the backend `clinic`.
fn event(id: MessageId, milliseconds: i64, kind: EventKind) -> Result<Event> {
    Ok(Event { at: at(milliseconds)?, ..Event::new(kind, id, "clinic".parse()?) })
}

/// The event that an application's message to `people` was accepted.
fn accepted(id: MessageId, milliseconds: i64, people: &[usize]) -> Result<Event> {
    let content = Content {
        direction: Direction::Outbound,
        identities: people.iter().map(|number| person(*number)).collect::<Result<_>>()?,
        text: Some("see you at noon".to_owned()),
        segments: Some(1),
        created_at: at(milliseconds)?,
        fields: serde_json::from_str(r#"{"visit":"17"}"#)?,
    };
    let by = Some("clinic-app".to_owned());
    Ok(Event { by, content: Some(content), ..event(id, milliseconds, EventKind::Accepted)? })
}

/// The same event, with a callback.
fn with_callback(event: Event, token: &str) -> Event {
    Event { callback: Some(token.to_owned()), ..event }
}

/// The event that the client of a message was answered with the number of `recipients`, to a request with this
/// `fingerprint`.
fn answered(id: MessageId, milliseconds: i64, fingerprint: &str, recipients: usize) -> Result<Event> {
    let answer = Map::from_iter([("identities".to_owned(), recipients.into())]);
    let first_answer = Some(FirstAnswer { fingerprint: fingerprint.to_owned(), answer });
    let by = Some("clinic-app".to_owned());
    Ok(Event { by, first_answer, ..event(id, milliseconds, EventKind::Accepted)? })
}

/// Whether the client's request is the same as the one before, and the number of recipients in the first answer.
async fn known_answer(
    log: &Arc<dyn MessageLog>,
    id: MessageId,
    fingerprint: &str,
) -> Result<Option<(bool, u64)>> {
    let known = log.first_answer(id, fingerprint).await?;
    let count = |answer: &Map<String, Value>| answer["identities"].as_u64().unwrap_or_default();
    Ok(known.map(|known| (known.is_same, count(&known.answer))))
}

/// The event that a message from a person was received.
fn received(id: MessageId, milliseconds: i64, from: usize) -> Result<Event> {
    let content = Content {
        direction: Direction::Inbound,
        identities: vec![person(from)?],
        text: Some("ping".to_owned()),
        segments: None,
        created_at: at(milliseconds)?,
        fields: serde_json::Map::new(),
    };
    let event = event(id, milliseconds, EventKind::Received)?.about(person(from)?);
    Ok(Event { external_id: Some(format!("in-{from}")), content: Some(content), ..event })
}

/// The event that the provider accepted the message to a person.
fn sent(id: MessageId, milliseconds: i64, to: usize, external_id: &str) -> Result<Event> {
    Ok(Event {
        attempt: Some(1),
        external_id: Some(external_id.to_owned()),
        http_status: Some(201),
        duration_ms: Some(84),
        ..event(id, milliseconds, EventKind::Sent)?.about(person(to)?)
    })
}

/// A delivery report that names the provider's id alone.
fn report(id: MessageId, milliseconds: i64, kind: EventKind, external_id: &str) -> Result<Event> {
    Ok(Event { external_id: Some(external_id.to_owned()), ..event(id, milliseconds, kind)? })
}

/// The message, which must be there.
async fn message(log: &Arc<dyn MessageLog>, id: MessageId) -> Result<LoggedMessage> {
    log.message(id).await?.context("the message is not there")
}

/// The states of the message's recipients as words, in order.
fn words(message: &LoggedMessage) -> Result<Vec<String>> {
    let word = |state| serde_json::to_value(state)?.as_str().map(str::to_owned).context("a state is a word");
    message.recipients.iter().map(|recipient| word(recipient.state)).collect()
}

async fn ids(log: &Arc<dyn MessageLog>, query: &MessageQuery) -> Result<Vec<MessageId>> {
    Ok(log.messages(query).await?.messages.iter().map(|message| message.id).collect())
}

fn oldest() -> MessageQuery {
    MessageQuery { order: ListOrder::Oldest, ..MessageQuery::default() }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<()> {
    ensure!(is == should, "{what}: {is:?} instead of {should:?}");
    Ok(())
}
