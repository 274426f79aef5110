//! The stream of commands, which each consumer reads on its own, and queues of backends that were removed.

use super::*;

/// Each consumer of the stream gets every record in order, from the first one on, independently of what
/// other consumers take or acknowledge. So does a consumer of a later process.
pub(super) async fn each_consumer_of_the_log_gets_every_record(storage: Arc<dyn Storage>) -> Result<()> {
    let log = QueueName::control();
    let address = Address::Queue(log.clone());
    let broker = open_default(&storage).await?;
    post(&broker, &address, 0..3).await?;
    // A prefetch below the number of records: acknowledging makes room for the next ones.
    let mut first = consume(&broker, &log, 2).await?;
    ensure!(take(&mut first, 3).await? == [0, 1, 2], "the first consumer");
    post(&broker, &address, 3..5).await?;
    ensure!(take(&mut first, 2).await? == [3, 4], "the first consumer, live");
    let mut second = consume(&broker, &log, 10).await?;
    ensure!(take(&mut second, 5).await? == [0, 1, 2, 3, 4], "the second consumer");
    silence(&mut first).await?;
    silence(&mut second).await?;
    until_depth(&broker, &log, |depth| depth.ready == 5).await?;
    within("the first consumer ends", first.close()).await?;
    within("the second consumer ends", second.close()).await?;
    broker.close().await;

    let broker = open_default(&storage).await?;
    until_depth(&broker, &log, |depth| depth.ready == 5).await?;
    let mut later = consume(&broker, &log, 10).await?;
    ensure!(take(&mut later, 5).await? == [0, 1, 2, 3, 4], "a later process");
    post(&broker, &address, [5]).await?;
    ensure!(take(&mut later, 1).await? == [5], "a later process, live");
    drop(later);
    broker.close().await;
    Ok(())
}

/// The messages of a backend that was removed can still be counted and taken, also those that were delayed.
pub(super) async fn a_queue_that_is_no_longer_declared_gives_what_it_holds(
    storage: Arc<dyn Storage>,
) -> Result<()> {
    let (address, queue) = alpha()?;
    let broker = open_default(&storage).await?;
    post(&broker, &address, 0..3).await?;
    post(&broker, &Address::Later { queue: queue.clone(), delay: SHORT }, [3]).await?;
    broker.close().await;

    let without = Topology { backends: [backend("beta")?].into(), ..topology()? };
    let broker = open(&storage, without).await?;
    until_depth(&broker, &queue, |depth| depth.ready == 4).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    ensure!(take(&mut consumer, 4).await? == [0, 1, 2, 3], "what waited, and what came back");
    within("the consumer ends", consumer.close()).await?;
    until_depth(&broker, &queue, |depth| (depth.ready, depth.consumers) == (0, 0)).await?;
    broker.close().await;
    Ok(())
}
