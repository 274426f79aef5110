//! Who holds a message, and what happens to it when it is settled or its holder is lost.

use super::*;

/// At most `prefetch` messages are unsettled; each settlement makes room for one.
pub(super) async fn prefetch_bounds_what_is_unsettled(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..10).await?;
    let mut consumer = consume(&broker, &queue, 3).await?;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut consumer).await?);
    }
    silence(&mut consumer).await.context("with 3 of 3 unsettled")?;
    held.remove(0).ack();
    let fourth = next(&mut consumer).await?;
    ensure!(number(&fourth)? == 3);
    silence(&mut consumer).await.context("with 3 of 3 unsettled again")?;
    fourth.ack();
    held.into_iter().for_each(Delivery::ack);
    ensure!(take(&mut consumer, 6).await? == [4, 5, 6, 7, 8, 9]);
    broker.close().await;
    Ok(())
}

/// An acknowledged message does not come again, neither to another consumer nor from another broker.
pub(super) async fn an_acked_message_is_gone_for_good(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..10).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    let mut held = Vec::new();
    for n in 0..10 {
        let delivery = next(&mut consumer).await?;
        // Out of order: the even ones first.
        if n % 2 == 0 { delivery.ack() } else { held.push(delivery) }
    }
    held.drain(..3).for_each(Delivery::ack);
    drop(held);
    drop(consumer);
    until_depth(&broker, &queue, |depth| depth.ready == 2).await?;
    broker.close().await;

    let broker = open_default(&storage).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    ensure!(take(&mut consumer, 2).await? == [7, 9]);
    silence(&mut consumer).await?;
    // An acknowledgement just before the broker closes counts as well.
    broker.close().await;
    let broker = open_default(&storage).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    silence(&mut consumer).await.context("acked before the broker closed")?;
    broker.close().await;
    Ok(())
}

/// A released message comes again at its old place, each time that it is released.
pub(super) async fn a_released_message_comes_again_and_says_so(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..3).await?;
    let mut consumer = consume(&broker, &queue, 1).await?;
    for round in 0..3 {
        let delivery = next(&mut consumer).await?;
        ensure!(number(&delivery)? == 0, "letter {} came in round {round}", number(&delivery)?);
        ensure!(
            delivery.redelivered == (round > 0),
            "redelivered is {} in round {round}",
            delivery.redelivered
        );
        delivery.release();
    }
    let delivery = next(&mut consumer).await?;
    ensure!(number(&delivery)? == 0 && delivery.redelivered);
    delivery.ack();
    for n in [1, 2] {
        let delivery = next(&mut consumer).await?;
        ensure!(number(&delivery)? == n && !delivery.redelivered, "letter {n}");
        delivery.ack();
    }
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// Dropping a delivery does the same as releasing it.
pub(super) async fn a_dropped_delivery_comes_again(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..2).await?;
    let mut consumer = consume(&broker, &queue, 1).await?;
    drop(next(&mut consumer).await?);
    let again = next(&mut consumer).await?;
    ensure!(number(&again)? == 0 && again.redelivered);
    again.ack();
    ensure!(take(&mut consumer, 1).await? == [1]);
    broker.close().await;
    Ok(())
}

/// A dropped consumer requeues what it held unread. The deliveries taken from it follow when they are
/// dropped.
pub(super) async fn a_dropped_consumer_hands_back(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..10).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    next(&mut consumer).await?.ack();
    let held = next(&mut consumer).await?;
    drop(consumer);
    drop(held);
    until_depth(&broker, &queue, |depth| (depth.ready, depth.consumers) == (9, 0)).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    let mut again = take(&mut consumer, 9).await?;
    again.sort_unstable();
    ensure!(again == (1..10).collect::<Vec<_>>(), "{again:?} came again");
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// A broker that closes while messages are leased loses none of them.
pub(super) async fn an_unsettled_message_outlives_the_broker(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..6).await?;
    let mut consumer = consume(&broker, &queue, 4).await?;
    let held = [next(&mut consumer).await?, next(&mut consumer).await?];
    next(&mut consumer).await?.ack();
    within("close with deliveries out", broker.close()).await?;

    let broker = open_default(&storage).await?;
    // Settlements of the old broker's deliveries come too late, and do no harm.
    held.into_iter().for_each(Delivery::ack);
    let mut consumer = consume(&broker, &queue, 10).await?;
    let mut again = take(&mut consumer, 5).await?;
    again.sort_unstable();
    ensure!(again == [0, 1, 3, 4, 5], "{again:?} came again");
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// Closing a consumer requeues what was not taken, waits for what was, and ends when the broker knows.
pub(super) async fn closing_a_consumer_waits_for_settlement(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..10).await?;
    let mut consumer = consume(&broker, &queue, 8).await?;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next(&mut consumer).await?);
    }
    held.remove(0).ack();
    let closing = tokio::spawn(consumer.close());
    // What it had not taken is free for others while it still waits.
    let mut other = consume(&broker, &queue, 10).await?;
    let mut others = take(&mut other, 6).await?;
    others.sort_unstable();
    ensure!(others == [4, 5, 6, 7, 8, 9], "{others:?} were handed back");
    ensure!(!closing.is_finished(), "closed with 3 deliveries unsettled");
    held.remove(0).ack();
    held.remove(0).release();
    tokio::time::sleep(QUIET).await;
    ensure!(!closing.is_finished(), "closed with a delivery unsettled");
    held.remove(0).ack();
    within("the consumer closes", closing).await??;
    ensure!(take(&mut other, 1).await? == [2]);
    silence(&mut other).await?;
    until_depth(&broker, &queue, |depth| depth.consumers == 1).await?;
    broker.close().await;
    Ok(())
}

/// What is released after a stop goes to the next consumer, in order, and not to the one that stopped.
/// So does what was delivered and never taken.
pub(super) async fn what_is_released_after_a_stop_goes_back_in_order(
    storage: Arc<dyn Storage>,
) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    post(&broker, &address, 0..50).await?;
    for round in 0..10 {
        let mut first = consume(&broker, &queue, 30).await?;
        let mut held = Vec::new();
        for _ in 0..30 {
            held.push(next(&mut first).await?);
        }
        let mut second = consume(&broker, &queue, 20).await?;
        let mut later = Vec::new();
        for _ in 0..10 {
            later.push(next(&mut second).await?);
        }
        within("the first stops", first.stop()).await?;
        within("the second stops", second.stop()).await?;
        for (consumer, held) in [(first, held), (second, later)] {
            held.into_iter().for_each(Delivery::release);
            within("a consumer closes", consumer.close()).await?;
        }
        let mut other = consume(&broker, &queue, 50).await?;
        let mut again = Vec::new();
        for _ in 0..50 {
            again.push(next(&mut other).await?);
        }
        let numbers = again.iter().map(number).collect::<Result<Vec<_>>>()?;
        ensure!(numbers == (0..50).collect::<Vec<_>>(), "in round {round}: {numbers:?}");
        within("it stops", other.stop()).await?;
        drop(again);
        within("it closes", other.close()).await?;
    }
    broker.close().await;
    Ok(())
}

/// If processes crash with a message, one after the other, each crash but the first must be counted, so
/// that the next process can tell that something is wrong with the message.
pub(super) async fn processes_lost_with_a_message_are_counted(storage: Arc<dyn Storage>) -> Result<()> {
    let (address, queue) = alpha()?;
    let broker = open_default(&storage).await?;
    post(&broker, &address, 0..3).await?;
    broker.close().await;
    for crashes in 0..4 {
        let broker = open_default(&storage).await?;
        let mut consumer = consume(&broker, &queue, 1).await?;
        let delivery = next(&mut consumer).await?;
        ensure!(number(&delivery)? == 0, "letter {} came first", number(&delivery)?);
        let lost = delivery.lost;
        ensure!(lost + 1 >= crashes, "lost is {lost} after {crashes} crashes");
        ensure!(crashes > 0 || lost == 0, "lost is {lost} before any crash");
        ensure!(lost == 0 || delivery.redelivered);
        within("crash", storage.crash(broker)).await??;
        drop(delivery);
    }
    let broker = open_default(&storage).await?;
    let mut consumer = consume(&broker, &queue, 10).await?;
    let guilty = next(&mut consumer).await?;
    ensure!(number(&guilty)? == 0 && guilty.lost >= 3, "lost is {} in the end", guilty.lost);
    guilty.ack();
    for n in [1, 2] {
        let behind = next(&mut consumer).await?;
        ensure!(number(&behind)? == n && behind.lost == 0, "letter {n} was never out");
        behind.ack();
    }
    broker.close().await;
    Ok(())
}

/// A message can be released, in any way, many more times than it may be lost, and never counts as lost
/// too often. Crashes count on from there.
pub(super) async fn what_is_released_never_counts_as_lost_too_often(storage: Arc<dyn Storage>) -> Result<()> {
    let (address, queue) = alpha()?;
    let broker = open_default(&storage).await?;
    post(&broker, &address, [0]).await?;
    broker.close().await;
    let broker = open_default(&storage).await?;
    let mut most = 0;
    let mut taken = async |consumer: &mut Consumer| -> Result<Delivery> {
        let delivery = next(consumer).await?;
        ensure!(number(&delivery)? == 0);
        ensure!(delivery.lost <= MAX_DELIVERIES / 2, "lost is {}", delivery.lost);
        ensure!(delivery.lost >= most, "lost was {most} and is {}", delivery.lost);
        most = delivery.lost;
        Ok(delivery)
    };
    for _ in 0..MAX_DELIVERIES {
        let mut consumer = consume(&broker, &queue, 1).await?;
        taken(&mut consumer).await?.release();
        drop(taken(&mut consumer).await?);
        // First the consumer stops while it holds the message, then it closes with the message unread.
        let held = taken(&mut consumer).await?;
        within("stop", consumer.stop()).await?;
        drop(held);
        within("close", consumer.close()).await?;
        let unread = consume(&broker, &queue, 1).await?;
        until_depth(&broker, &queue, |depth| depth.ready == 0).await?;
        within("close", unread.close()).await?;
    }
    broker.close().await;
    // What is released at the end of a process does not count either, but the crashes do.
    for crashes in 0..4 {
        let broker = open_default(&storage).await?;
        let mut consumer = consume(&broker, &queue, 1).await?;
        let delivery = next(&mut consumer).await?;
        ensure!(delivery.lost == most + crashes, "{} after {crashes} crashes", delivery.lost);
        within("crash", storage.crash(broker)).await??;
        drop(delivery);
    }
    let broker = open_default(&storage).await?;
    let mut consumer = consume(&broker, &queue, 1).await?;
    let delivery = next(&mut consumer).await?;
    ensure!(number(&delivery)? == 0 && delivery.lost == most + 4);
    delivery.ack();
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// Losses are counted for a message, not for a place in the queue: the message after an acknowledged one
/// begins at 0, even if it has the same content.
pub(super) async fn what_was_acked_or_never_out_is_not_counted(storage: Arc<dyn Storage>) -> Result<()> {
    let (address, queue) = alpha()?;
    for crashes in 0..3 {
        let broker = open_default(&storage).await?;
        post(&broker, &address, [crashes]).await?;
        let mut consumer = consume(&broker, &queue, 1).await?;
        let delivery = next(&mut consumer).await?;
        ensure!(number(&delivery)? == crashes && delivery.lost == 0, "after {crashes} crashes");
        delivery.ack();
        silence(&mut consumer).await?;
        within("crash", storage.crash(broker)).await??;
    }
    Ok(())
}
