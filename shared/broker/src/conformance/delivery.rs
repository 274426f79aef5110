//! What is published arrives: whole, in order, once.

use super::*;
use crate::{HeaderValue, header};
use bytes::Bytes;
use std::collections::BTreeSet;

/// A message with everything an envelope can hold.
fn laden(n: usize) -> Envelope {
    let mut body = vec![0, 0xff, b'\n', 0x80];
    body.extend(n.to_be_bytes());
    Envelope { body: body.into(), ..letter(n) }
        .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .with("x-reason", "grün — 失敗")
        .with("empty", "")
        .with("largest", i64::MAX)
        .with("smallest", i64::MIN)
        .with("x-number", n as i64)
}

/// Ensures that `got` is `sent`; a broker may have added headers of its own.
pub(super) fn ensure_same(sent: &Envelope, got: &Envelope) -> Result<()> {
    ensure!(
        sent.message_id == got.message_id,
        "message_id {:?} became {:?}",
        sent.message_id,
        got.message_id
    );
    ensure!(sent.kind == got.kind, "type {:?} became {:?}", sent.kind, got.kind);
    ensure!(
        sent.content_type == got.content_type,
        "content_type {:?} became {:?}",
        sent.content_type,
        got.content_type
    );
    for (name, value) in &sent.headers {
        ensure!(
            got.headers.get(name) == Some(value),
            "header {name} {value:?} became {:?}",
            got.headers.get(name)
        );
    }
    ensure!(sent.body == got.body, "a body of {} bytes changed (now {})", sent.body.len(), got.body.len());
    Ok(())
}

/// Messages that are published one by one come in that order, with all properties, headers and bytes.
pub(super) async fn messages_come_in_order_with_all_they_carry(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    for n in 0..20 {
        within("publish", broker.publish(vec![(address.clone(), laden(n))])).await??;
    }
    let mut consumer = consume(&broker, &queue, 7).await?;
    for n in 0..20 {
        let delivery = next(&mut consumer).await?;
        ensure_same(&laden(n), &delivery.envelope).with_context(|| format!("letter {n}"))?;
        ensure!(!delivery.redelivered, "letter {n} came for the first time, marked as redelivered");
        delivery.ack();
    }
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// Postern's headers stay on messages to addresses that only Postern publishes to: the dead letters, and
/// a queue by its name. (Delayed messages have a case of their own.) On others, an application may have
/// written the headers, and a broker may drop them.
pub(super) async fn what_postern_notes_on_a_message_stays_with_it(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (_, queue) = alpha()?;
    for address in [Address::Queue(queue), Address::Dead(backend("alpha")?)] {
        let sent = laden(1).with(header::REASON, "grün — 失敗").with(header::ATTEMPTS, 3);
        within("publish", broker.publish(vec![(address.clone(), sent.clone())])).await??;
        let mut consumer = consume(&broker, &address.queue(), 1).await?;
        let delivery = next(&mut consumer).await?;
        ensure_same(&sent, &delivery.envelope).with_context(|| format!("{address:?}"))?;
        delivery.ack();
    }
    broker.close().await;
    Ok(())
}

/// A property that was absent stays absent, and an empty one stays empty.
pub(super) async fn a_message_without_properties_stays_without(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    let empty = Envelope::default();
    within("publish", broker.publish(vec![(address, empty.clone())])).await??;
    let mut consumer = consume(&broker, &queue, 1).await?;
    let delivery = next(&mut consumer).await?;
    ensure_same(&empty, &delivery.envelope)?;
    let texts: Vec<_> =
        delivery.envelope.headers.iter().filter(|(_, value)| matches!(value, HeaderValue::Text(_))).collect();
    ensure!(texts.is_empty(), "headers came from nowhere: {texts:?}");
    delivery.ack();
    broker.close().await;
    Ok(())
}

/// A message of 1 MiB arrives, and a small one after it.
pub(super) async fn a_body_of_one_mebibyte_arrives_whole(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    let body: Bytes = (0..1_048_576_usize).map(|i| (i * 31 / 7) as u8).collect();
    let large = Envelope { body, ..letter(0) };
    within("publish", broker.publish(vec![(address.clone(), large.clone())])).await??;
    post(&broker, &address, 1..2).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    let delivery = next(&mut consumer).await?;
    ensure_same(&large, &delivery.envelope)?;
    delivery.ack();
    ensure!(take(&mut consumer, 1).await? == [1]);
    broker.close().await;
    Ok(())
}

/// 64 tasks publish 100 messages each, one at a time, and each message arrives once.
pub(super) async fn concurrent_publishers_lose_and_double_nothing(storage: Arc<dyn Storage>) -> Result<()> {
    const TASKS: usize = 64;
    const EACH: usize = 100;
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (broker, address) = (Arc::clone(&broker), address.clone());
        tasks.spawn(async move {
            for n in task * EACH..(task + 1) * EACH {
                post(&broker, &address, [n]).await?;
            }
            anyhow::Ok(())
        });
    }
    let mut consumer = consume(&broker, &queue, 256).await?;
    let arrived = take(&mut consumer, TASKS * EACH).await?;
    while let Some(task) = tasks.join_next().await {
        task.context("a publisher")??;
    }
    silence(&mut consumer).await?;
    let distinct: BTreeSet<_> = arrived.iter().copied().collect();
    ensure!(distinct == (0..TASKS * EACH).collect(), "{} of {} came", distinct.len(), TASKS * EACH);
    let mut last = [None; TASKS];
    for n in arrived {
        let before = last[n / EACH].replace(n);
        ensure!(before < Some(n), "letter {n} came after {before:?} of the same publisher");
    }
    broker.close().await;
    Ok(())
}

/// One publish of 500 messages keeps their order.
pub(super) async fn many_messages_in_one_publish(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..500).await?;
    post(&broker, &address, 500..501).await?;
    let mut consumer = consume(&broker, &queue, 50).await?;
    ensure!(take(&mut consumer, 501).await? == (0..501).collect::<Vec<_>>(), "the order changed");
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// An empty publish succeeds and does nothing.
pub(super) async fn nothing_to_publish_is_no_error(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    within("publish", broker.publish(Vec::new())).await??;
    broker.close().await;
    Ok(())
}

/// A consumer that waits at an empty queue gets a message when it arrives, and again after the queue was
/// empty.
pub(super) async fn a_waiting_consumer_gets_what_arrives(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    let mut consumer = consume(&broker, &queue, 5).await?;
    silence(&mut consumer).await?;
    for n in 0..10 {
        post(&broker, &address, n..n + 1).await?;
        ensure!(take(&mut consumer, 1).await? == [n]);
    }
    broker.close().await;
    Ok(())
}

/// Both consumers get messages, and together they get each message once.
pub(super) async fn two_consumers_share_a_queue(storage: Arc<dyn Storage>) -> Result<()> {
    const COUNT: usize = 200;
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    #[expect(clippy::disallowed_methods, reason = "holds no more than COUNT")]
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for who in 0..2 {
        let mut consumer = consume(&broker, &queue, 5).await?;
        let arrived = arrived.clone();
        tasks.spawn(async move {
            while let Some(delivery) = consumer.next().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let _ = arrived.send((who, number(&delivery)));
                delivery.ack();
            }
        });
    }
    post(&broker, &address, 0..COUNT).await?;
    let (mut shares, mut seen) = ([0; 2], BTreeSet::new());
    for _ in 0..COUNT {
        let (who, n) = within("a message arrives", arrivals.recv()).await?.context("the consumers ended")?;
        let n: usize = n?;
        ensure!(seen.insert(n), "letter {n} came twice");
        shares[who] += 1;
    }
    ensure!(shares.iter().all(|share| *share >= COUNT / 10), "they shared {shares:?}");
    broker.close().await;
    within("consumers end with the broker", async { while tasks.join_next().await.is_some() {} }).await
}
