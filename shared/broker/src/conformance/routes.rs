//! Every address leads to its queue, and every queue outlives the broker.

use super::delivery::ensure_same;
use super::*;

/// Takes the only message of `queue`, which must be letter `n`.
async fn only(broker: &Arc<dyn Broker>, queue: &QueueName, n: usize) -> Result<()> {
    let mut consumer = consume(broker, queue, 10).await?;
    let delivery = next(&mut consumer).await.with_context(|| format!("in {queue}"))?;
    ensure_same(&letter(n), &delivery.envelope).with_context(|| format!("in {queue}"))?;
    delivery.ack();
    silence(&mut consumer).await.with_context(|| format!("in {queue}"))?;
    within("close the consumer", consumer.close()).await
}

fn everywhere() -> Result<[(Address, QueueName); 7]> {
    let (alpha, beta) = (backend("alpha")?, backend("beta")?);
    Ok([
        (Address::Inbound(alpha.clone()), QueueName::inbound()),
        (Address::Outbound(alpha.clone(), Priority::Normal), QueueName::outbound(&alpha, Priority::Normal)),
        (Address::Outbound(alpha.clone(), Priority::Bulk), QueueName::outbound(&alpha, Priority::Bulk)),
        (Address::Outbound(beta.clone(), Priority::Normal), QueueName::outbound(&beta, Priority::Normal)),
        (Address::Reports(beta.clone()), QueueName::reports()),
        (Address::Callbacks(beta.clone()), QueueName::callbacks()),
        (Address::Dead(beta), QueueName::dead()),
    ])
}

/// A message to inbound, to each lane of each backend, to the reports and to the dead letters reaches
/// its queue.
pub(super) async fn each_address_reaches_its_queue(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    for (n, (address, _)) in everywhere()?.iter().enumerate() {
        post(&broker, address, n..n + 1).await?;
    }
    for (n, (_, queue)) in everywhere()?.iter().enumerate() {
        only(&broker, queue, n).await?;
    }
    broker.close().await;
    Ok(())
}

/// One publish to all these addresses reaches all their queues.
pub(super) async fn one_publish_may_go_to_many_queues(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let messages =
        everywhere()?.into_iter().enumerate().map(|(n, (address, _))| (address, letter(n))).collect();
    within("publish", broker.publish(messages)).await??;
    for (n, (_, queue)) in everywhere()?.iter().enumerate() {
        only(&broker, queue, n).await?;
    }
    broker.close().await;
    Ok(())
}

/// A message to a queue by its name reaches no other queue. If there is no queue of this name, it is
/// unrouted.
pub(super) async fn a_queue_can_be_addressed_by_its_name(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let outbound = QueueName::outbound(&backend("alpha")?, Priority::Bulk);
    let callbacks = [QueueName::callbacks(), QueueName::bulk_callbacks()];
    for queue in [QueueName::inbound(), QueueName::reports(), outbound].into_iter().chain(callbacks) {
        post(&broker, &Address::Queue(queue.clone()), [3]).await?;
        only(&broker, &queue, 3).await?;
    }
    let stranger = QueueName::outbound(&backend("stranger")?, Priority::Normal);
    post(&broker, &Address::Queue(stranger), [4]).await?;
    only(&broker, &QueueName::unrouted(), 4).await?;
    broker.close().await;
    Ok(())
}

/// A backend and a delay that are declared later exist from then on, and what was declared first stays.
pub(super) async fn what_is_declared_later_is_there_from_then_on(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (alpha, late) = (backend("alpha")?, backend("late")?);
    let (kept, queue) =
        (Address::Outbound(alpha, Priority::Normal), QueueName::outbound(&late, Priority::Bulk));
    post(&broker, &kept, 1..2).await?;
    let delay = Duration::from_millis(700);
    let more = Topology { backends: [late.clone()].into(), delays: [delay].into(), ..topology()? };
    for _ in 0..2 {
        within("declare", broker.declare(&more)).await??;
    }
    post(&broker, &Address::Outbound(late, Priority::Bulk), 2..3).await?;
    only(&broker, &queue, 2).await?;
    post(&broker, &Address::Later { queue: queue.clone(), delay }, 3..4).await?;
    let mut consumer = consume(&broker, &queue, 1).await?;
    let delivery = next(&mut consumer).await?;
    ensure_same(&letter(3), &delivery.envelope)?;
    delivery.ack();
    within("close the consumer", consumer.close()).await?;
    only(&broker, &kept.queue(), 1).await?;
    let mut unrouted = consume(&broker, &QueueName::unrouted(), 1).await?;
    silence(&mut unrouted).await.context("unrouted")?;
    within("close the consumer", unrouted.close()).await?;
    broker.close().await;
    Ok(())
}

/// A message to an undeclared backend is confirmed, and found in `postern.unrouted`.
pub(super) async fn an_undeclared_backend_is_unrouted(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let stranger = Address::Outbound(backend("stranger")?, Priority::Normal);
    post(&broker, &stranger, 7..8).await?;
    only(&broker, &QueueName::unrouted(), 7).await?;
    let bulk = Address::Outbound(backend("stranger")?, Priority::Bulk);
    post(&broker, &bulk, 8..9).await?;
    only(&broker, &QueueName::unrouted(), 8).await?;
    broker.close().await;
    Ok(())
}

/// Consuming from an unknown queue is refused, and so is asking for its depth.
pub(super) async fn an_unknown_queue_is_refused(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let unknown = QueueName::outbound(&backend("stranger")?, Priority::Normal);
    let consumer = within("consume", broker.consume(&unknown, 1)).await?;
    ensure!(matches!(consumer, Err(BrokerError::Refused(_))), "consume: {consumer:?}");
    let depth = within("depth", broker.depth(&unknown)).await?;
    ensure!(matches!(depth, Err(BrokerError::Refused(_))), "depth: {depth:?}");
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..1).await.context("after a refusal")?;
    only(&broker, &queue, 0).await.context("after a refusal")?;
    broker.close().await;
    Ok(())
}

/// After a moment, the depth counts ready messages and consumers.
pub(super) async fn depth_counts_what_waits_and_who_takes(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    until_depth(&broker, &queue, |depth| (depth.ready, depth.consumers) == (0, 0)).await?;
    post(&broker, &address, 0..30).await?;
    until_depth(&broker, &queue, |depth| (depth.ready, depth.consumers) == (30, 0)).await?;
    let mut first = consume(&broker, &queue, 10).await?;
    let held = next(&mut first).await?;
    until_depth(&broker, &queue, |depth| (depth.ready, depth.consumers) == (20, 1)).await?;
    let second = consume(&broker, &queue, 5).await?;
    until_depth(&broker, &queue, |depth| (depth.ready, depth.consumers) == (15, 2)).await?;
    drop(held);
    drop((first, second));
    until_depth(&broker, &queue, |depth| (depth.ready, depth.consumers) == (30, 0)).await?;
    broker.close().await;
    Ok(())
}

/// What is confirmed is stored: another broker on the same storage finds it.
pub(super) async fn messages_outlive_the_broker(storage: Arc<dyn Storage>) -> Result<()> {
    let (address, queue) = alpha()?;
    for round in 0..3 {
        let broker = open_default(&storage).await?;
        post(&broker, &address, round * 10..(round + 1) * 10).await?;
        broker.close().await;
    }
    let broker = open_default(&storage).await?;
    let mut consumer = consume(&broker, &queue, 4).await?;
    ensure!(take(&mut consumer, 30).await? == (0..30).collect::<Vec<_>>(), "the order changed");
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// A backend that left the configuration and came back finds its messages.
pub(super) async fn a_queue_declared_again_keeps_its_messages(storage: Arc<dyn Storage>) -> Result<()> {
    let (address, queue) = alpha()?;
    let broker = open_default(&storage).await?;
    post(&broker, &address, 0..5).await?;
    broker.close().await;

    let mut without = topology()?;
    without.backends.remove(&backend("alpha")?);
    open(&storage, without).await?.close().await;

    let broker = open_default(&storage).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    ensure!(take(&mut consumer, 5).await? == [0, 1, 2, 3, 4]);
    broker.close().await;
    Ok(())
}

/// After a close, every call fails with `Closed`, consumers end and the status says it. A second close
/// does nothing.
pub(super) async fn a_closed_broker_says_so(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    let mut consumer = consume(&broker, &queue, 1).await?;
    let status = broker.status();
    within("close", broker.close()).await?;
    ensure!(within("the consumer ends", consumer.next()).await?.is_none(), "a closed broker delivered");
    let publish = within("publish", broker.publish(vec![(address, letter(0))])).await?;
    ensure!(matches!(publish, Err(BrokerError::Closed)), "publish: {publish:?}");
    let consume = within("consume", broker.consume(&queue, 1)).await?;
    ensure!(matches!(consume, Err(BrokerError::Closed)), "consume: {consume:?}");
    let depth = within("depth", broker.depth(&queue)).await?;
    ensure!(matches!(depth, Err(BrokerError::Closed)), "depth: {depth:?}");
    ensure!(*status.borrow() == BrokerStatus::Closed, "status: {:?}", *status.borrow());
    ensure!(
        *broker.status().borrow() == BrokerStatus::Closed,
        "a new status: {:?}",
        *broker.status().borrow()
    );
    within("the second close", broker.close()).await?;
    within("close a consumer of a closed broker", consumer.close()).await
}
