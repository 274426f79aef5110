//! Messages that wait for a delay to pass.

use super::delivery::ensure_same;
use super::*;

/// How much too early a message may come: a clock may run a little fast or slow.
const TOLERANCE: Duration = Duration::from_millis(20);

/// How many attempts a case has. One during which this process stood still tells nothing.
const ATTEMPTS: usize = 10;

fn later(queue: &QueueName, delay: Duration) -> Address {
    Address::Later { queue: queue.clone(), delay }
}

/// A delayed message comes after its delay, to the right queue, unchanged. Until then no queue counts it
/// as ready.
pub(super) async fn a_delayed_message_waits_its_time(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (_, queue) = alpha()?;
    let mut consumer = consume(&broker, &queue, 5).await?;
    let sent = letter(1).with("x-postern-attempts", 2).with("traceparent", "00-aa-bb-01");
    let delayed = |depth: Depth, number| depth.delayed.is_none_or(|delayed| delayed == number);
    for _ in 0..ATTEMPTS {
        let start = Instant::now();
        within("publish", broker.publish(vec![(later(&queue, SHORT), sent.clone())])).await??;
        let is_late = || start.elapsed() >= SHORT;
        until_depth(&broker, &queue, |depth| is_late() || depth.ready == 0 && delayed(depth, 1)).await?;
        let in_time = !is_late();
        let delivery = next(&mut consumer).await?;
        until_depth(&broker, &queue, |depth| delayed(depth, 0)).await?;
        let waited = start.elapsed();
        ensure!(waited + TOLERANCE >= SHORT, "it came after {waited:?} of {SHORT:?}");
        ensure_same(&sent, &delivery.envelope)?;
        delivery.ack();
        silence(&mut consumer).await?;
        if in_time {
            broker.close().await;
            return Ok(());
        }
    }
    bail!("in {ATTEMPTS} attempts, the message was never counted as delayed before it was due")
}

/// A longer delay published first does not hold up a shorter one; other messages pass both.
pub(super) async fn delays_do_not_block_one_another(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (address, queue) = alpha()?;
    let other = QueueName::outbound(&backend("beta")?, Priority::Bulk);
    let mut consumer = consume(&broker, &queue, 5).await?;
    let mut others = consume(&broker, &other, 5).await?;
    for _ in 0..ATTEMPTS {
        let start = Instant::now();
        post(&broker, &later(&queue, LONG), 0..1).await?;
        let short = Instant::now();
        post(&broker, &later(&queue, SHORT), 1..2).await?;
        post(&broker, &later(&other, SHORT), 2..3).await?;
        post(&broker, &address, 3..4).await?;
        let posted = short.elapsed() + TOLERANCE < SHORT;
        let mut order = take(&mut consumer, 2).await?;
        let in_time = posted && start.elapsed() + TOLERANCE < LONG;
        order.extend(take(&mut consumer, 1).await?);
        ensure!(start.elapsed() + TOLERANCE >= LONG, "the longer delay was cut short");
        ensure!(take(&mut others, 1).await? == [2], "the delay returned to a wrong queue");
        if in_time {
            ensure!(order == [3, 1, 0], "the order was {order:?}");
            silence(&mut consumer).await?;
            broker.close().await;
            return Ok(());
        }
        order.sort_unstable();
        ensure!(order == [0, 1, 3], "{order:?} came");
    }
    bail!("in {ATTEMPTS} attempts, the shorter delay never ended before the longer one was due")
}

/// Of two delayed messages, one is due while no broker is open and the other later: both come.
pub(super) async fn a_delay_outlives_the_broker(storage: Arc<dyn Storage>) -> Result<()> {
    let broker = open_default(&storage).await?;
    let (_, queue) = alpha()?;
    let start = Instant::now();
    post(&broker, &later(&queue, LONG), 1..2).await?;
    post(&broker, &later(&queue, SHORT), 0..1).await?;
    broker.close().await;
    tokio::time::sleep_until((start + SHORT + QUIET).into()).await;

    let broker = open_default(&storage).await?;
    let mut consumer = consume(&broker, &queue, 5).await?;
    let mut numbers = take(&mut consumer, 1).await?;
    ensure!(numbers == [0] || start.elapsed() + TOLERANCE >= LONG, "the longer delay was cut short");
    numbers.extend(take(&mut consumer, 1).await?);
    ensure!(start.elapsed() + TOLERANCE >= LONG, "the longer delay was cut short");
    // If both were due by now, either may have come first.
    numbers.sort_unstable();
    ensure!(numbers == [0, 1], "{numbers:?} came");
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}

/// 1,000 messages that are due together all come, each once.
pub(super) async fn many_delayed_messages_all_return(storage: Arc<dyn Storage>) -> Result<()> {
    const COUNT: usize = 1000;
    let broker = open_default(&storage).await?;
    let (_, queue) = alpha()?;
    post(&broker, &later(&queue, SHORT), 0..COUNT).await?;
    let mut consumer = consume(&broker, &queue, 100).await?;
    let mut arrived = take(&mut consumer, COUNT).await?;
    arrived.sort_unstable();
    ensure!(arrived == (0..COUNT).collect::<Vec<_>>(), "some were lost or doubled");
    silence(&mut consumer).await?;
    broker.close().await;
    Ok(())
}
