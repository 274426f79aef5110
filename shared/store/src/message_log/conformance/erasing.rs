//! What the log does not keep, and what it erases.

use super::*;
use crate::message_log::{LoggedCallback, Retention};
use EventKind::{Delivered, Failed};

pub(super) async fn states_only_keeps_no_number_and_no_word(storage: Arc<dyn LogStorage>) -> Result<()> {
    let before = open(&storage).await?;
    let [clear, id, inbound] = [(); 3].map(|()| MessageId::new());
    before.record(&[accepted(clear, 0, &[1])?]).await?;
    before.close().await;

    let log = storage.open(states("a key of the test")).await?;
    let failure = Event { detail: Some(format!("no {}", person(1)?.as_str())), ..event(id, 2, Failed)? };
    let asked = with_callback(accepted(id, 1, &[1, 2])?, "a.callback");
    let events = [asked, answered(id, 1, "ab", 2)?, sent(id, 2, 1, "SM1")?, failure.about(person(2)?)];
    log.record(&events).await?;
    log.record(&[received(inbound, 3, 1)?]).await?;
    log.record(&events).await?;
    let is = message(&log, id).await?;
    same("states", &words(&is)?.join(" "), &"sent failed".to_owned())?;
    same("events", &is.events.len(), &3)?;
    let written = serde_json::to_string(&[&is, &message(&log, inbound).await?])?;
    for hidden in ["+1555", "noon", "ping", "visit", "no +"] {
        ensure!(!written.contains(hidden), "it keeps {hidden:?}: {written}");
    }
    let about_one = MessageQuery { identity: Some(person(1)?), ..MessageQuery::default() };
    same("found", &ids(&log, &about_one).await?, &vec![inbound, id, clear])?;
    let found = log.sent_as(&"clinic".parse()?, "SM1").await?.context("not found")?;
    same("sent as", &(found.id, found.identity, found.callback), &(id, None, None))?;
    same("callback", &log.callback(id).await?, &LoggedCallback::NotWanted)?;
    same("the same", &known_answer(&log, id, "ab").await?, &Some((true, 2)))?;
    same("another", &known_answer(&log, id, "abc").await?, &Some((false, 2)))?;
    ensure!(storage.open(states("another key")).await.is_err(), "another key is taken");
    same("forgotten", &log.forget(&person(1)?).await?, &3)?;
    same("what is left", &ids(&log, &MessageQuery::default()).await?, &vec![id])?;
    log.close().await;
    Ok(())
}

pub(super) async fn forgetting_erases_one_person(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let [alone, both, others, inbound] = [(); 4].map(|()| MessageId::new());
    log.record(&[accepted(alone, 0, &[1])?, sent(alone, 1, 1, "A")?, accepted(others, 0, &[2])?]).await?;
    let asked = with_callback(accepted(both, 0, &[1, 2])?, "a.callback");
    log.record(&[asked, answered(both, 0, "ab", 2)?, sent(both, 1, 1, "B1")?, sent(both, 1, 2, "B2")?])
        .await?;
    log.record(&[report(both, 2, Delivered, "B1")?, report(both, 2, Delivered, "B2")?]).await?;
    log.record(&[received(inbound, 3, 1)?]).await?;
    same("forgotten", &log.forget(&person(1)?).await?, &3)?;
    for gone in [alone, inbound] {
        ensure!(log.message(gone).await?.is_none(), "a message of that person alone is there");
    }
    let left = message(&log, both).await?;
    same("recipients", &left.recipients.len(), &1)?;
    same("states", &words(&left)?.join(" "), &"delivered".to_owned())?;
    same("text", &left.text.as_deref(), &Some("see you at noon"))?;
    same("events", &left.events.len(), &3)?;
    let written = serde_json::to_string(&left)?;
    ensure!(!written.contains(person(1)?.as_str()) && !written.contains("B1"), "left behind: {written}");
    same("callback", &log.callback(both).await?, &LoggedCallback::NotWanted)?;
    same("answer", &known_answer(&log, both, "ab").await?, &None)?;
    same("nothing by that id", &log.sent_as(&"clinic".parse()?, "A").await?, &None)?;
    same("again", &log.forget(&person(1)?).await?, &0)?;
    // More messages than one step erases.
    let many = (0..450).map(|_| accepted(MessageId::new(), 5, &[7])).collect::<Result<Vec<_>>>()?;
    log.record(&many).await?;
    same("many", &log.forget(&person(7)?).await?, &450)?;
    same("what is left", &ids(&log, &oldest()).await?, &vec![others, both])?;
    log.close().await;
    Ok(())
}

/// A change of `log.keep` between two events of a message leaves its recipients in both forms.
pub(super) async fn forgetting_erases_every_form_of_a_person(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let [alone, both] = [(); 2].map(|()| MessageId::new());
    log.record(&[accepted(alone, 0, &[1])?, accepted(both, 0, &[1, 2])?]).await?;
    log.close().await;

    let log = storage.open(states("a key of the test")).await?;
    log.record(&[sent(alone, 1, 1, "A")?, sent(both, 1, 1, "B1")?, sent(both, 1, 2, "B2")?]).await?;
    same("in both forms", &message(&log, alone).await?.recipients.len(), &2)?;
    same("forgotten", &log.forget(&person(1)?).await?, &2)?;
    ensure!(log.message(alone).await?.is_none(), "a message of that person alone is there");
    let left = message(&log, both).await?;
    same("recipients", &left.recipients.len(), &2)?;
    same("text", &left.text.as_deref(), &Some("see you at noon"))?;
    let written = serde_json::to_string(&left)?;
    ensure!(!written.contains(person(1)?.as_str()) && !written.contains("B1"), "left behind: {written}");
    same("again", &log.forget(&person(1)?).await?, &0)?;
    log.close().await;
    Ok(())
}

pub(super) async fn what_is_too_old_goes_in_steps(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let now = Timestamp::now();
    let age = Duration::from_secs(3600);
    let aged = |hours: i64| -> Result<Event> {
        let mut event = accepted(MessageId::new(), 0, &[1])?;
        event.at = now.checked_sub(Duration::from_secs(3600 * hours.unsigned_abs()))?;
        if let Some(content) = &mut event.content {
            content.created_at = event.at;
        }
        Ok(event)
    };
    let young = aged(0)?;
    log.record(std::slice::from_ref(&young)).await?;
    let old = (0..500).map(|_| aged(2)).collect::<Result<Vec<_>>>()?;
    log.record(&old).await?;
    let retention = Retention { age: Some(age), max_bytes: None };
    let mut removed = 0;
    loop {
        let step = log.expire(&retention).await?;
        ensure!(step <= 300, "one step removed {step}");
        removed += step;
        if step == 0 {
            break;
        }
    }
    same("removed", &removed, &500)?;
    same("what is left", &ids(&log, &oldest()).await?, &vec![young.message_id])?;
    same("no bound", &log.expire(&Retention { age: None, max_bytes: None }).await?, &0)?;
    log.close().await;
    Ok(())
}

pub(super) async fn what_is_too_much_goes_oldest_first(storage: Arc<dyn LogStorage>) -> Result<()> {
    let log = open(&storage).await?;
    let mut all = Vec::new();
    for _ in 0..15 {
        let events = (0..100).map(|_| accepted(MessageId::new(), 0, &[1])).collect::<Result<Vec<_>>>()?;
        all.extend(events.iter().map(|event| event.message_id));
        log.record(&events).await?;
    }
    let retention = |max_bytes| Retention { age: None, max_bytes: Some(max_bytes) };
    same("room", &log.expire(&retention(1 << 30)).await?, &0)?;
    // A few messages to many people say nothing about the size of the others.
    let people: Vec<usize> = (0..100).collect();
    let large = (0..100).map(|_| accepted(MessageId::new(), 1, &people)).collect::<Result<Vec<_>>>()?;
    log.record(&large).await?;
    same("room for large ones", &log.expire(&retention(5 << 20)).await?, &0)?;
    let removed = log.expire(&retention(1)).await?;
    ensure!((1..=300).contains(&removed), "one step removed {removed}");
    let left = ids(&log, &MessageQuery { limit: 500, ..oldest() }).await?;
    same("the oldest", &left.first(), &all.get(usize::try_from(removed)?))?;
    log.close().await;
    Ok(())
}
