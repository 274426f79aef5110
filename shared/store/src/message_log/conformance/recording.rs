//! What is recorded can be read again.

use super::*;
use crate::message_log::{LoggedRecipient, LoggedState};
use EventKind::{Buffered, Dead, Deferred, Delivered, Failed, Forwarded, Redriven};
use postern_shared::{error::FailureClass, message::State};

pub(super) async fn a_message_comes_back_with_its_history(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let mut changes = log.changes();
    let id = MessageId::new();
    let failure = Event {
        attempt: Some(1),
        class: Some(FailureClass::Transient),
        code: Some("http_503".to_owned()),
        detail: Some("busy".to_owned()),
        http_status: Some(503),
        duration_ms: Some(12),
        ..event(id, 1, Deferred)?.about(person(1)?)
    };
    let sent = Event { attempt: Some(2), ..sent(id, 5_000, 1, "SM1")? };
    let events = [accepted(id, 0, &[1, 2])?, failure, sent, event(id, 6_000, Delivered)?.about(person(1)?)];
    log.record(&events).await?;
    // Half of it, so that the case itself does not time out first.
    tokio::time::timeout(PATIENCE / 2, changes.changed()).await.context("it does not say so")??;

    let is = message(&log, id).await?;
    let recipient = |number, state, external_id: Option<&str>| -> Result<LoggedRecipient> {
        let (identity, external_id) = (person(number)?.as_str().to_owned(), external_id.map(str::to_owned));
        Ok(LoggedRecipient { identity, state: LoggedState::Outbound(state), external_id })
    };
    let should = LoggedMessage {
        id,
        direction: Direction::Outbound,
        backend: "clinic".parse()?,
        text: Some("see you at noon".to_owned()),
        segments: Some(1),
        created_at: at(0)?,
        fields: serde_json::from_str(r#"{"visit":"17"}"#)?,
        recipients: vec![recipient(1, State::Delivered, Some("SM1"))?, recipient(2, State::Queued, None)?],
        events: events.into_iter().map(|event| Event { content: None, ..event }).collect(),
    };
    same("the message", &is, &should)?;
    ensure!(log.message(MessageId::new()).await?.is_none(), "an unknown message is there");
    log.record(&[]).await?;
    log.close().await;
    Ok(())
}

pub(super) async fn an_event_is_written_once(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let id = MessageId::new();
    let mut events = vec![accepted(id, 0, &[1, 2])?, sent(id, 1, 1, "SM1")?, sent(id, 1, 2, "SM2")?];
    events.push(report(id, 2, Delivered, "SM1")?);
    events.push(event(id, 3, Dead)?.about(person(2)?));
    log.record(&events).await?;
    let once = message(&log, id).await?;
    same("events", &once.events.len(), &5)?;
    for part in [&events[..], &events[..2], &events[3..]] {
        log.record(part).await?;
        log.record(&[part, part].concat()).await?;
    }
    same("the message", &message(&log, id).await?, &once)?;
    let other =
        [Event { attempt: Some(2), ..events[1].clone() }, sent(id, 1, 1, "SM1b")?, sent(id, 9, 1, "SM1")?];
    log.record(&other).await?;
    same("events", &message(&log, id).await?.events.len(), &8)?;
    log.close().await;
    Ok(())
}

type MessageLife = fn(MessageId) -> Result<Vec<Event>>;

/// The same events in another order make the same message. Every third of all orders is tried.
pub(super) async fn events_may_come_in_any_order(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let lives: [MessageLife; 4] = [
        |id| {
            let deferred = Event { attempt: Some(1), ..event(id, 1, Deferred)?.about(person(1)?) };
            let late = report(id, 4, Buffered, "SM1")?;
            Ok(vec![
                accepted(id, 0, &[1])?,
                deferred,
                sent(id, 2, 1, "SM1")?,
                report(id, 3, Delivered, "SM1")?,
                late,
            ])
        },
        |id| {
            let second = [sent(id, 2, 2, "SM2")?, report(id, 4, Delivered, "SM2")?];
            let first = [accepted(id, 0, &[1, 2])?, sent(id, 1, 1, "SM1")?, report(id, 3, Buffered, "SM1")?];
            Ok([&first[..], &second].concat())
        },
        |id| {
            let failed = event(id, 1, Failed)?.about(person(1)?);
            let dead = event(id, 2, Dead)?.about(person(1)?);
            let redriven = event(id, 3, Redriven)?.about(person(1)?);
            Ok(vec![accepted(id, 0, &[1])?, failed, dead, redriven, sent(id, 4, 1, "SM1")?])
        },
        |id| {
            let dead = event(id, 1, Dead)?.about(person(7)?);
            let redriven = event(id, 2, Redriven)?;
            Ok(vec![received(id, 0, 7)?, dead, redriven, event(id, 3, Forwarded)?.about(person(7)?)])
        },
    ];
    for (number, life) in lives.iter().enumerate() {
        let id = MessageId::new();
        log.record(&life(id)?).await?;
        let should = in_any_case(message(&log, id).await?);
        for order in orders(life(id)?.len()).into_iter().step_by(3) {
            let id = MessageId::new();
            let events = life(id)?;
            // Either in one batch, or each event by itself.
            let shuffled: Vec<Event> = order.iter().map(|place| events[*place].clone()).collect();
            match order[0] % 2 {
                0 => log.record(&shuffled).await?,
                _ => {
                    for event in &shuffled {
                        log.record(std::slice::from_ref(event)).await?;
                    }
                }
            }
            let is = in_any_case(message(&log, id).await?);
            same(&format!("life {number}, order {order:?}"), &is, &should)?;
        }
    }
    log.close().await;
    Ok(())
}

/// The message without its id and the order of its recipients, which may depend on the order of reports.
fn in_any_case(mut message: LoggedMessage) -> LoggedMessage {
    message.id = MessageId::from(uuid::Uuid::nil());
    message.events.iter_mut().for_each(|event| event.message_id = message.id);
    message.recipients.sort_by(|one, other| one.identity.cmp(&other.identity));
    message
}

/// All orders of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = orders(last);
    let with_last = |order: &Vec<usize>| {
        let order = order.clone();
        (0..=last).map(move |place| {
            let mut order = order.clone();
            order.insert(place, last);
            order
        })
    };
    shorter.iter().flat_map(with_last).collect()
}

pub(super) async fn batches_of_one_message_join_their_recipients(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let id = MessageId::new();
    log.record(&[accepted(id, 0, &[1, 2])?, sent(id, 1, 1, "SM1")?]).await?;
    log.record(&[accepted(id, 0, &[3])?, accepted(id, 2, &[4, 4, 1])?]).await?;
    let is = message(&log, id).await?;
    let numbers: Vec<&str> = is.recipients.iter().map(|recipient| recipient.identity.as_str()).collect();
    let should = [person(1)?, person(2)?, person(3)?, person(4)?];
    same("recipients", &numbers, &should.iter().map(Identity::as_str).collect())?;
    same("states", &words(&is)?.join(" "), &"sent queued queued queued".to_owned())?;
    same("messages", &ids(&log, &MessageQuery::default()).await?, &vec![id])?;
    log.close().await;
    Ok(())
}

pub(super) async fn a_report_without_recipient_finds_its_own(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let [only, both] = [MessageId::new(), MessageId::new()];
    log.record(&[accepted(only, 0, &[1])?, accepted(both, 0, &[1, 2])?]).await?;
    // If a text is sent in parts, each part has an id.
    log.record(&[sent(both, 1, 1, "A1")?, sent(both, 1, 1, "A2")?, sent(both, 1, 2, "B")?]).await?;
    log.record(&[event(only, 2, Delivered)?, report(both, 2, Delivered, "A1")?]).await?;
    log.record(&[event(both, 3, Failed)?, report(both, 3, Failed, "C")?]).await?;
    same("one recipient", &words(&message(&log, only).await?)?.join(" "), &"delivered".to_owned())?;
    same("two recipients", &words(&message(&log, both).await?)?.join(" "), &"delivered sent".to_owned())?;
    log.record(&[report(both, 4, EventKind::Undelivered, "B")?]).await?;
    same(
        "two recipients",
        &words(&message(&log, both).await?)?.join(" "),
        &"delivered undelivered".to_owned(),
    )?;
    log.close().await;
    Ok(())
}

pub(super) async fn a_redrive_sets_a_recipient_back(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let id = MessageId::new();
    let failed = event(id, 2, Failed)?.about(person(2)?);
    log.record(&[accepted(id, 0, &[1, 2, 3])?, sent(id, 1, 1, "SM1")?, failed]).await?;
    log.record(&[event(id, 3, Failed)?.about(person(3)?)]).await?;
    let by = Some("alice".to_owned());
    log.record(&[Event { by, ..event(id, 4, Redriven)?.about(person(2)?) }]).await?;
    let is = message(&log, id).await?;
    same("named", &words(&is)?.join(" "), &"sent queued failed".to_owned())?;
    same("by", &is.events.last().and_then(|event| event.by.as_deref()), &Some("alice"))?;
    log.close().await;
    Ok(())
}

pub(super) async fn what_only_reports_told_is_filled_in(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let id = MessageId::new();
    log.record(&[sent(id, 9, 1, "SM1")?, event(id, 5, Deferred)?.about(person(1)?)]).await?;
    let bare = message(&log, id).await?;
    same("text", &bare.text, &None)?;
    same("created_at", &bare.created_at, &at(5)?)?;
    same("states", &words(&bare)?.join(" "), &"sent".to_owned())?;
    let seen = log.messages(&oldest()).await?;
    same("seen", &seen.messages.len(), &1)?;

    log.record(&[accepted(id, 0, &[2, 1])?]).await?;
    let whole = message(&log, id).await?;
    same("text", &whole.text.as_deref(), &Some("see you at noon"))?;
    same("created_at", &whole.created_at, &at(0)?)?;
    same("recipients", &whole.recipients.len(), &2)?;
    same("events", &whole.events.len(), &3)?;
    // A reader that continues from there gets the message once more, with its text.
    let next = log.messages(&MessageQuery { cursor: seen.next, ..oldest() }).await?;
    same(
        "read on",
        &next.messages.first().and_then(|message| message.text.as_deref()),
        &Some("see you at noon"),
    )?;
    same("all", &ids(&log, &MessageQuery::default()).await?, &vec![id])?;
    log.close().await;
    Ok(())
}

pub(super) async fn a_received_message_is_forwarded(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let id = MessageId::new();
    log.record(&[received(id, 0, 1)?]).await?;
    let is = message(&log, id).await?;
    same("direction", &is.direction, &Direction::Inbound)?;
    same("recipient", &is.recipients[0].external_id.as_deref(), &Some("in-1"))?;
    same("event's identity", &is.events[0].identity, &Some(person(1)?))?;
    same("states", &words(&is)?.join(" "), &"received".to_owned())?;
    log.record(&[event(id, 1, Forwarded)?.about(person(1)?)]).await?;
    same("states", &words(&message(&log, id).await?)?.join(" "), &"forwarded".to_owned())?;
    log.close().await;
    Ok(())
}

pub(super) async fn large_and_strange_values_come_back(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let id = MessageId::new();
    let mut first = accepted(id, 0, &[1])?;
    let strange: Identity = "o'hara; \"x\" \\ 電話 %_".parse()?;
    // PostgreSQL does not accept a NUL in a text.
    let text = format!("{}\u{0}\u{1F600}'\"\\", "ab".repeat(100_000));
    if let Some(content) = &mut first.content {
        content.identities = vec![strange.clone()];
        content.text = Some(text.clone());
        content.fields =
            serde_json::from_str(r#"{"a":{"b":[1,2.5,null,"\u0000'"]},"big":18446744073709551615}"#)?;
    }
    let fields = first.content.as_ref().map(|content| content.fields.clone()).unwrap_or_default();
    let odd = Event {
        code: Some("a\u{0}b".to_owned()),
        external_id: Some("x\u{0}y".to_owned()),
        duration_ms: Some(u64::from(u32::MAX)),
        ..event(id, 1, Failed)?.about(strange.clone())
    };
    log.record(&[first, odd]).await?;
    let is = message(&log, id).await?;
    let clean = |text: &str| text.replace('\0', "\u{FFFD}");
    same("text", &is.text.as_deref().map(clean), &Some(clean(&text)))?;
    let json = |fields: &serde_json::Map<_, _>| clean(&serde_json::to_string(fields).unwrap_or_default());
    same("fields", &json(&is.fields), &json(&fields))?;
    same("identity", &is.recipients[0].identity.as_str(), &strange.as_str())?;
    same("code", &is.events[1].code.as_deref().map(clean), &Some(clean("a\0b")))?;
    let query = MessageQuery { identity: Some(strange), ..MessageQuery::default() };
    same("found", &ids(&log, &query).await?, &vec![id])?;
    log.close().await;
    Ok(())
}
