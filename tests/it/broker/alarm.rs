//! A node that accepts no publishes.

use super::*;
use anyhow::ensure;
use postern_broker::BrokerError;
use postern_tests::Alarm;
use std::time::Instant;

/// A broker that waits only a second for a confirm.
fn impatient(url: &str) -> Result<Arc<dyn Broker>> {
    let options = BrokerOptions { publish_timeout: Duration::from_secs(1), ..options(topology()) };
    Ok(Arc::new(RabbitBroker::connect(url, options)?))
}

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
    let (patient, broker, second) =
        (connect(&vhost.url())?, impatient(&vhost.url())?, impatient(&vhost.url())?);
    for broker in [&patient, &broker, &second] {
        ready(broker).await?;
    }
    let (address, queue) = alpha();
    for number in 0..4 {
        post(&patient, &address, number).await?;
    }
    patient.close().await;
    // One of the two has published before the alarm.
    let other = Address::Dead(backend("alpha"));
    eventually("a publish", async || broker.publish(vec![(other.clone(), letter(9))]).await).await;
    let mut consumer = broker.consume(&queue, 2).await?;
    ensure!(take(&mut consumer).await? == 0);

    rabbit.alarm(alarm, true);
    for broker in [&broker, &second] {
        // The broker tells a connection of the alarm only when the connection publishes.
        let stopped = within("publish", broker.publish(vec![(address.clone(), letter(10))])).await?;
        ensure!(matches!(stopped, Err(BrokerError::TimedOut(_) | BrokerError::Blocked(_))), "{stopped:?}");
        until(broker, |status| matches!(status, BrokerStatus::Blocked(_))).await?;
        let stopped = within("publish", broker.publish(vec![(address.clone(), letter(11))])).await?;
        ensure!(matches!(stopped, Err(BrokerError::Blocked(_))), "{stopped:?}");
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
    eventually("a publish after the alarm", async || {
        broker.publish(vec![(address.clone(), letter(20))]).await
    })
    .await;
    // A publish that timed out may have been stored.
    while take(&mut consumer).await.context("after the alarm")? != 20 {}
    broker.close().await;
    Ok(())
}
