//! Questions: lists, pages, the provider's id.

use super::*;
use crate::message_log::{LoggedCallback, LoggedState, SentMessage};
use EventKind::{Failed, Forwarded};
use postern_shared::{
    message::{BackendName, State},
    value::BackendSelection,
};

pub(super) async fn lists_are_filtered(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let [a, b, c, d] = [(); 4].map(|()| MessageId::new());
    let other = |event: Event| Ok::<_, anyhow::Error>(Event { backend: "other".parse()?, ..event });
    log.record(&[accepted(a, 0, &[1, 2])?, received(b, 1_000, 1)?, other(accepted(c, 2_000, &[3])?)?])
        .await?;
    log.record(&[received(d, 3_000, 4)?, sent(a, 10, 2, "SM1")?, event(a, 20, Failed)?.about(person(1)?)])
        .await?;
    log.record(&[event(d, 4_000, Forwarded)?.about(person(4)?)]).await?;
    let all = MessageQuery::default();
    let cases: Vec<(MessageQuery, Vec<MessageId>)> = vec![
        (all.clone(), vec![d, c, b, a]),
        (oldest(), vec![a, b, c, d]),
        (MessageQuery { backend: Some("other".parse()?), ..all.clone() }, vec![c]),
        (
            MessageQuery {
                allowed: BackendSelection::Some(vec!["clinic".parse()?, "x".parse()?]),
                ..all.clone()
            },
            vec![d, b, a],
        ),
        (MessageQuery { allowed: BackendSelection::Some(Vec::new()), ..all.clone() }, vec![]),
        (
            MessageQuery {
                allowed: BackendSelection::AllBut(vec!["clinic".parse()?, "x".parse()?]),
                ..all.clone()
            },
            vec![c],
        ),
        (
            MessageQuery { allowed: BackendSelection::AllBut(vec!["other".parse()?]), ..all.clone() },
            vec![d, b, a],
        ),
        (MessageQuery { identity: Some(person(1)?), ..all.clone() }, vec![b, a]),
        (MessageQuery { identity: Some(person(9)?), ..all.clone() }, vec![]),
        (MessageQuery { direction: Some(Direction::Inbound), ..all.clone() }, vec![d, b]),
        (MessageQuery { external_id: Some("SM1".to_owned()), ..all.clone() }, vec![a]),
        (MessageQuery { external_id: Some("in-4".to_owned()), ..all.clone() }, vec![d]),
        (MessageQuery { external_id: Some(String::new()), ..all.clone() }, vec![]),
        (MessageQuery { state: Some(LoggedState::Outbound(State::Failed)), ..all.clone() }, vec![a]),
        (MessageQuery { state: Some(LoggedState::Outbound(State::Sent)), ..all.clone() }, vec![a]),
        (MessageQuery { state: Some(LoggedState::Received), ..all.clone() }, vec![b]),
        (MessageQuery { state: Some(LoggedState::Forwarded), ..all.clone() }, vec![d]),
        (MessageQuery { since: Some(at(1_000)?), ..all.clone() }, vec![d, c, b]),
        (MessageQuery { until: Some(at(1_000)?), ..all.clone() }, vec![a]),
        (MessageQuery { since: Some(at(500)?), until: Some(at(2_001)?), ..all.clone() }, vec![c, b]),
        (MessageQuery { since: Some(at(9_000)?), until: Some(at(9_001)?), ..all.clone() }, vec![]),
        (MessageQuery { limit: 2, ..all.clone() }, vec![d, c]),
        (
            MessageQuery {
                state: Some(LoggedState::Outbound(State::Sent)),
                identity: Some(person(1)?),
                ..all.clone()
            },
            vec![],
        ),
        (
            MessageQuery {
                direction: Some(Direction::Inbound),
                since: Some(at(0)?),
                backend: Some("clinic".parse()?),
                identity: Some(person(1)?),
                ..all.clone()
            },
            vec![b],
        ),
    ];
    for (number, (query, should)) in cases.into_iter().enumerate() {
        same(&format!("query {number}"), &ids(&log, &query).await?, &should)?;
    }
    let listed = log.messages(&all).await?;
    ensure!(listed.messages.iter().all(|message| message.events.is_empty()), "a list has events");
    same("recipients", &listed.messages[3].recipients.len(), &2)?;
    log.close().await;
    Ok(())
}

pub(super) async fn pages_follow_one_another(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let empty = log.messages(&oldest()).await?;
    ensure!(empty.next.is_some() && empty.messages.is_empty(), "an empty log: {empty:?}");
    same("an empty log", &log.messages(&MessageQuery::default()).await?.next, &None)?;
    let all: Vec<MessageId> = (0..25).map(|_| MessageId::new()).collect();
    for (number, id) in all.iter().enumerate() {
        log.record(&[accepted(*id, i64::try_from(number)?, &[number])?]).await?;
    }
    for order in [ListOrder::Newest, ListOrder::Oldest] {
        let mut query = MessageQuery { limit: 10, order, ..MessageQuery::default() };
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let page = log.messages(&query).await?;
            let size = page.messages.len();
            seen.extend(page.messages.iter().map(|message| message.id));
            pages += 1;
            query.cursor = page.next;
            if size < 10 {
                break;
            }
        }
        same("pages", &pages, &3)?;
        if order == ListOrder::Newest {
            same("the end", &query.cursor, &None)?;
            seen.reverse();
        }
        same("messages", &seen, &all)?;
    }
    // A reader continues from the end, also in a list that leaves out the latest messages.
    let other = MessageQuery { backend: Some("other".parse()?), ..oldest() };
    let end = log.messages(&MessageQuery { cursor: empty.next, ..other.clone() }).await?;
    ensure!(end.messages.is_empty() && end.next > empty.next, "the end did not move: {end:?}");
    let late = MessageId::new();
    log.record(&[Event { backend: "other".parse()?, ..accepted(late, 0, &[1])? }]).await?;
    same("what came since", &ids(&log, &MessageQuery { cursor: end.next, ..other }).await?, &vec![late])?;
    log.close().await;
    Ok(())
}

/// Several writers write at the same time, and one reader that follows the cursor gets everything.
pub(super) async fn a_cursor_misses_nothing_that_is_written_side_by_side(
    storage: Arc<dyn LogStorage>,
) -> Result<()> {
    const WRITERS: usize = 4;
    const EACH: usize = 60;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let log = open(&storage).await?;
        writers.spawn(async move {
            for count in 0..EACH {
                let events = (0..1 + count % 7)
                    .map(|_| accepted(MessageId::new(), 0, &[number]))
                    .collect::<Result<Vec<_>>>()?;
                log.record(&events).await?;
            }
            log.close().await;
            anyhow::Ok(())
        });
    }
    let total: usize = WRITERS * (0..EACH).map(|count| 1 + count % 7).sum::<usize>();
    let log = open(&storage).await?;
    let mut seen = std::collections::HashSet::new();
    let mut query = MessageQuery { limit: 50, ..oldest() };
    let mut done = false;
    loop {
        let page = log.messages(&query).await?;
        ensure!(page.next >= query.cursor, "the cursor went back");
        query.cursor = page.next;
        let last = page.messages.is_empty();
        for message in page.messages {
            ensure!(seen.insert(message.id), "a message came twice");
        }
        if last && done {
            break;
        }
        if last {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(writer) = writers.try_join_next() {
            writer??;
        }
        done = writers.is_empty();
    }
    same("messages", &seen.len(), &total)?;
    log.close().await;
    Ok(())
}

pub(super) async fn a_provider_s_id_finds_the_latest_message(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let [first, second, third] = [(); 3].map(|()| MessageId::new());
    log.record(&[accepted(first, 0, &[1])?, sent(first, 1, 1, "SM1")?]).await?;
    let parts = [sent(second, 2, 3, "P1")?, sent(second, 2, 3, "P2")?, sent(second, 2, 2, "Q")?];
    log.record(&[&[accepted(second, 1, &[2, 3])?][..], &parts].concat()).await?;
    log.record(&[received(third, 3, 1)?]).await?;
    let clinic = "clinic".parse()?;
    let found =
        |id, number| anyhow::Ok(Some(SentMessage { id, identity: Some(person(number)?), callback: None }));
    for (external_id, should) in [
        ("SM1", found(first, 1)?),
        ("P1", found(second, 3)?),
        ("P2", found(second, 3)?),
        ("Q", found(second, 2)?),
    ] {
        same(external_id, &log.sent_as(&clinic, external_id).await?, &should)?;
    }
    // A provider gave one id to two recipients: it does not say which of them is meant.
    log.record(&[sent(second, 2, 2, "R")?, sent(second, 2, 3, "R")?]).await?;
    let of_both = SentMessage { id: second, identity: None, callback: None };
    same("R", &log.sent_as(&clinic, "R").await?, &Some(of_both))?;
    for nothing in ["", "SM", "in-1"] {
        same(nothing, &log.sent_as(&clinic, nothing).await?, &None)?;
    }
    same("another backend", &log.sent_as(&"other".parse()?, "SM1").await?, &None)?;
    let reused = MessageId::new();
    log.record(&[accepted(reused, 9, &[9])?, sent(reused, 10, 9, "SM1")?]).await?;
    same("reused", &log.sent_as(&clinic, "SM1").await?, &found(reused, 9)?)?;
    log.close().await;
    Ok(())
}

/// If a provider's report `sent` was not matched to its message, the log has a message that is known from that
/// report alone. It must not be found instead of the message that was sent.
pub(super) async fn a_provider_s_report_takes_no_id_over(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let (id, clinic): (_, BackendName) = (MessageId::new(), "clinic".parse()?);
    let reported = MessageId::reported(&clinic, "SM1");
    log.record(&[report(reported, 2, EventKind::Sent, "SM1")?]).await?;
    same("of a report alone", &log.sent_as(&clinic, "SM1").await?, &None)?;
    log.record(&[accepted(id, 0, &[1])?, sent(id, 1, 1, "SM1")?]).await?;
    log.record(&[report(MessageId::reported(&clinic, "SM2"), 3, EventKind::Sent, "SM2")?]).await?;
    log.record(&[sent(id, 4, 1, "SM2")?]).await?;
    for external_id in ["SM1", "SM2"] {
        let found = log.sent_as(&clinic, external_id).await?.context("not found")?;
        same(external_id, &found.id, &id)?;
    }
    log.close().await;
    Ok(())
}

/// A message is sent to its first recipient through the backend that it was accepted for. Then an operator moves it
/// to another backend, which sends it to the second.
pub(super) async fn a_provider_s_id_belongs_to_the_backend_that_sent(
    storage: Arc<dyn LogStorage>,
) -> Result<()> {
    let log = open(&storage).await?;
    let [clinic, other]: [BackendName; 2] = ["clinic".parse()?, "other".parse()?];
    let [id, next] = [MessageId::new(), MessageId::new()];
    log.record(&[accepted(id, 0, &[1, 2])?, sent(id, 1, 1, "A")?]).await?;
    let moved = Event { backend: other.clone(), ..sent(id, 2, 2, "B")? };
    log.record(std::slice::from_ref(&moved)).await?;
    // The event comes a second time, and another message is accepted and sent in one batch.
    let sent_next = Event { backend: other.clone(), ..sent(next, 4, 3, "C")? };
    log.record(&[moved, accepted(next, 3, &[3])?, sent_next]).await?;
    for (external_id, message, number) in [("A", id, 1), ("B", id, 2), ("C", next, 3)] {
        let (by, not_by) = if external_id == "A" { (&clinic, &other) } else { (&other, &clinic) };
        let found = SentMessage { id: message, identity: Some(person(number)?), callback: None };
        same(external_id, &log.sent_as(by, external_id).await?, &Some(found))?;
        same("another backend", &log.sent_as(not_by, external_id).await?, &None)?;
    }
    let is = message(&log, id).await?;
    same("the message's backend", &is.backend, &clinic)?;
    let by: Vec<Option<&str>> = is.events.iter().map(|event| event.by.as_deref()).collect();
    same("who did it", &by, &vec![Some("clinic-app"), None, Some("other")])?;
    log.close().await;
    Ok(())
}

pub(super) async fn a_callback_is_found_by_the_message_and_by_the_provider_s_id(
    storage: Arc<dyn LogStorage>,
) -> Result<()> {
    let log = open(&storage).await?;
    let [asked, late, plain, unknown] = [(); 4].map(|()| MessageId::new());
    let clinic = "clinic".parse()?;
    log.record(&[with_callback(accepted(asked, 0, &[1, 2])?, "a.b"), sent(asked, 1, 2, "SM1")?]).await?;
    log.record(&[accepted(plain, 0, &[1])?, sent(plain, 1, 1, "SM2")?]).await?;
    // A report about this message comes before the message.
    log.record(&[sent(late, 1, 3, "SM3")?]).await?;
    same("of a report alone", &log.callback(late).await?, &LoggedCallback::NotWanted)?;
    log.record(&[with_callback(accepted(late, 0, &[3])?, "c.d")]).await?;
    for (id, external_id, token) in
        [(asked, "SM1", Some("a.b")), (plain, "SM2", None), (late, "SM3", Some("c.d"))]
    {
        let found = log.sent_as(&clinic, external_id).await?.context("not found")?;
        same(external_id, &(found.id, found.callback.as_deref()), &(id, token))?;
        let wanted =
            token.map_or(LoggedCallback::NotWanted, |token| LoggedCallback::Wanted(token.to_owned()));
        same("by the message", &log.callback(id).await?, &wanted)?;
    }
    same("nobody's", &log.callback(unknown).await?, &LoggedCallback::UnknownMessage)?;
    let shown = [message(&log, asked).await?, log.messages(&oldest()).await?.messages.remove(0)];
    ensure!(!serde_json::to_string(&shown)?.contains("a.b"), "the message shows its callback");
    log.close().await;
    Ok(())
}

pub(super) async fn a_first_answer_is_found_by_the_message_s_id(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let [plain, id, late, unknown] = [(); 4].map(|()| MessageId::new());
    log.record(&[
        accepted(plain, 0, &[1])?,
        accepted(id, 0, &[1, 2])?,
        answered(id, 0, "the first body", 2)?,
    ])
    .await?;
    // The second batch of a message to many, and an answer that comes before its message.
    log.record(&[accepted(id, 0, &[3])?]).await?;
    log.record(&[answered(late, 0, "a late body", 1)?]).await?;
    log.record(&[accepted(late, 0, &[1])?]).await?;
    for _ in 0..2 {
        same("the same", &known_answer(&log, id, "the first body").await?, &Some((true, 2)))?;
        same("another", &known_answer(&log, id, "another body").await?, &Some((false, 2)))?;
        same("late", &known_answer(&log, late, "a late body").await?, &Some((true, 1)))?;
        for nothing in [plain, unknown] {
            same("no answer", &known_answer(&log, nothing, "the first body").await?, &None)?;
        }
        // Repeated events change nothing.
        log.record(&[accepted(id, 0, &[1, 2])?, answered(id, 0, "the first body", 2)?]).await?;
    }
    let is = message(&log, id).await?;
    same("events", &is.events.len(), &1)?;
    same("states", &words(&is)?.join(" "), &"queued queued queued".to_owned())?;
    ensure!(!serde_json::to_string(&is)?.contains("the first body"), "the message shows its fingerprint");
    // Accepted once more, after the first answer was forgotten.
    log.record(&[accepted(id, 9, &[1])?, answered(id, 9, "the last body", 1)?]).await?;
    same("the last", &known_answer(&log, id, "the last body").await?, &Some((true, 1)))?;
    log.close().await;
    Ok(())
}

pub(super) async fn ids_are_found_by_where_they_lie(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let id = |rest: &str| format!("0199b2a5-0000-7000-8000-0000000000{rest}").parse::<MessageId>();
    let [a, b, c] = [id("10")?, id("1f")?, id("20")?];
    log.record(&[received(c, 0, 1)?, received(a, 0, 1)?, received(b, 0, 1)?]).await?;
    for (first, last, most, wanted) in [
        (id("10")?, id("1f")?, 9, vec![a, b]),
        (id("00")?, id("ff")?, 9, vec![a, b, c]),
        (id("00")?, id("ff")?, 2, vec![a, b]),
        (id("11")?, id("1e")?, 9, vec![]),
    ] {
        let found = log.ids(first, last, most).await?;
        ensure!(found == wanted, "from {first} to {last}: {found:?}");
    }
    Ok(())
}

pub(super) async fn what_is_written_outlives_the_log(storage: Arc<dyn LogStorage>) -> Result<()> {
    let id = MessageId::new();
    let log = open(&storage).await?;
    log.record(&[accepted(id, 0, &[1])?]).await?;
    log.close().await;
    ensure!(log.record(&[accepted(id, 0, &[1])?]).await.is_err(), "a closed log records");
    ensure!(log.message(id).await.is_err(), "a closed log answers");
    let log = open(&storage).await?;
    log.record(&[sent(id, 1, 1, "SM1")?]).await?;
    same("states", &words(&message(&log, id).await?)?.join(" "), &"sent".to_owned())?;
    log.close().await;
    Ok(())
}
