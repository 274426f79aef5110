//! A node that accepts no publishes.

use super::*;
use anyhow::ensure;
use postern_broker::BrokerError;
use postern_tests::Alarm;
use std::time::Instant;

/// While an alarm is raised, publishes fail at their deadline, later ones at once; acknowledgements, depth
/// questions and a new consumer still work, and nothing hangs. When the alarm is cleared, publishes succeed
/// again. Closing under an alarm is quick.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_stops_publishes_only() -> Result<()> {
    stops_publishes_only(Alarm::Memory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_alarm_stops_publishes_only() -> Result<()> {
    stops_publishes_only(Alarm::Disk).await
}

async fn stops_publishes_only(alarm: Alarm) -> Result<()> {
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    let (broker, second) = (connect(&vhost.url())?, connect(&vhost.url())?);
    ready(&broker).await?;
    ready(&second).await?;
    let (address, queue) = alpha();
    for number in 0..4 {
        post(&broker, &address, number).await?;
    }
    let mut consumer = broker.consume(&queue, 2).await?;
    ensure!(take(&mut consumer).await? == 0);

    rabbit.alarm(alarm, true);
    for broker in [&broker, &second] {
        // The broker tells a connection of the alarm only when the connection publishes.
        let start = Instant::now();
        let stopped = within("publish", broker.publish(vec![(address.clone(), letter(10))])).await?;
        ensure!(matches!(stopped, Err(BrokerError::TimedOut(_) | BrokerError::Blocked(_))), "{stopped:?}");
        ensure!(start.elapsed() < PUBLISH_TIMEOUT * 2, "it took {:?}", start.elapsed());
        until(broker, |status| matches!(status, BrokerStatus::Blocked(_))).await?;
        let start = Instant::now();
        let stopped = broker.publish(vec![(address.clone(), letter(11))]).await;
        ensure!(matches!(stopped, Err(BrokerError::Blocked(_))), "{stopped:?}");
        ensure!(start.elapsed() < PUBLISH_TIMEOUT, "it took {:?}", start.elapsed());
    }
    for number in 1..4 {
        ensure!(take(&mut consumer).await? == number);
    }
    within("the consumer closes", consumer.close()).await?;
    depth_becomes(&broker, &queue, |depth| depth.ready == 0 && depth.consumers == 0).await;
    let mut consumer = broker.consume(&queue, 2).await?;
    let start = Instant::now();
    second.close().await;
    ensure!(start.elapsed() < Duration::from_secs(15), "closing took {:?}", start.elapsed());

    rabbit.alarm(alarm, false);
    ready(&broker).await?;
    post(&broker, &address, 20).await?;
    // A publish that timed out may have been stored.
    while take(&mut consumer).await.context("after the alarm")? != 20 {}
    broker.close().await;
    Ok(())
}
