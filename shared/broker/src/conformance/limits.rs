//! Queues with a limit.

use super::*;

/// A queue at its limit refuses messages, stores none of those that it refused, and accepts messages
/// again when it has been emptied. A broker may notice the limit a few messages late.
pub(super) async fn a_full_queue_refuses_and_recovers(storage: Arc<dyn Storage>) -> Result<()> {
    const LIMIT: usize = 10;
    const LATE: usize = 20;
    let broker = open(&storage, Topology { max_messages: Some(LIMIT as u64), ..topology()? }).await?;
    let (address, queue) = alpha()?;
    let mut stored = Vec::new();
    for n in 0..LIMIT + LATE {
        match within("publish", broker.publish(vec![(address.clone(), letter(n))])).await? {
            Ok(()) => stored.push(n),
            Err(BrokerError::Full(_)) => break,
            Err(other) => bail!("publish at the limit: {other:?}"),
        }
    }
    ensure!(stored.len() >= LIMIT, "{} of {LIMIT} were taken", stored.len());
    ensure!(stored.len() < LIMIT + LATE, "{} were taken, the limit is {LIMIT}", stored.len());
    // Other queues are not affected.
    post(&broker, &Address::Dead(backend("alpha")?), 0..1).await?;
    let mut consumer = consume(&broker, &queue, 50).await?;
    ensure!(take(&mut consumer, stored.len()).await? == stored, "other messages than the confirmed ones");
    silence(&mut consumer).await.context("a refused message was stored")?;
    let end = Instant::now() + PATIENCE;
    while let Err(error) = broker.publish(vec![(address.clone(), letter(99))]).await {
        ensure!(matches!(error, BrokerError::Full(_)), "publish after the queue was emptied: {error:?}");
        ensure!(Instant::now() < end, "an emptied queue still refuses");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(take(&mut consumer, 1).await? == [99]);
    broker.close().await;
    Ok(())
}

/// If many tasks publish at the same time, each learns what became of its own messages: none that was
/// refused is reported as stored, and none that was stored as refused.
pub(super) async fn each_publish_learns_its_own_fate(storage: Arc<dyn Storage>) -> Result<()> {
    const LIMIT: usize = 10;
    const TASKS: usize = 32;
    const EACH: usize = 40;
    let broker = open(&storage, Topology { max_messages: Some(LIMIT as u64), ..topology()? }).await?;
    let (full, queue) = alpha()?;
    let mut stored = 0;
    while within("publish", broker.publish(vec![(full.clone(), letter(stored))])).await?.is_ok() {
        stored += 1;
    }
    let reports = Address::Reports(backend("alpha")?);
    let tasks = (0..TASKS).map(|_| {
        let (broker, full, reports) = (Arc::clone(&broker), full.clone(), reports.clone());
        tokio::spawn(async move {
            let mut late = 0;
            for n in 0..EACH {
                let taken = broker.publish(vec![(reports.clone(), letter(n))]).await;
                taken.map_err(|error| anyhow!("a report, of which any number are taken: {error:?}"))?;
                match broker.publish(vec![(full.clone(), letter(n))]).await {
                    // A broker may notice the limit a few messages late, on each of its channels.
                    Ok(()) => late += 1,
                    Err(BrokerError::Full(_)) => {}
                    Err(other) => bail!("publish to a full queue: {other:?}"),
                }
            }
            Ok(late)
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        stored += task.await??;
    }
    until_depth(&broker, &queue, |depth| depth.ready == stored as u64).await?;
    until_depth(&broker, &QueueName::reports(), |depth| depth.ready == (TASKS * EACH) as u64).await?;
    broker.close().await;
    Ok(())
}

/// Reports and callbacks beyond their limits are accepted, and the oldest are dropped.
pub(super) async fn the_oldest_reports_and_callbacks_go_first(storage: Arc<dyn Storage>) -> Result<()> {
    const LIMIT: u64 = 20;
    let topology = Topology { max_reports: LIMIT, max_callbacks: LIMIT, ..topology()? };
    let broker = open(&storage, topology).await?;
    let alpha = backend("alpha")?;
    for address in [
        Address::Reports(alpha.clone()),
        Address::Callbacks(alpha),
        Address::Queue(QueueName::bulk_callbacks()),
    ] {
        the_oldest_go_first(&broker, &address, LIMIT as usize).await?;
    }
    broker.close().await;
    Ok(())
}

async fn the_oldest_go_first(broker: &Arc<dyn Broker>, address: &Address, limit: usize) -> Result<()> {
    const COUNT: usize = 50;
    for n in 0..COUNT {
        post(broker, address, n..n + 1).await?;
    }
    let queue = address.queue();
    until_depth(broker, &queue, |depth| depth.ready <= limit as u64).await?;
    let mut consumer = consume(broker, &queue, 50).await?;
    let mut kept = Vec::new();
    while kept.last() != Some(&(COUNT - 1)) {
        kept.extend(take(&mut consumer, 1).await?);
    }
    silence(&mut consumer).await?;
    ensure!(kept.len() <= limit && kept.len() * 2 >= limit, "{} of {limit} were kept", kept.len());
    ensure!(kept == (COUNT - kept.len()..COUNT).collect::<Vec<_>>(), "kept were {kept:?}");
    Ok(())
}
