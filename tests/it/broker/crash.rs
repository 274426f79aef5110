//! A node that crashes.

use super::*;
use anyhow::ensure;
use postern_broker::BrokerError;
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Publishes letters from `first` on, eight at a time, until `until`. Returns those that were confirmed.
async fn publish_through(broker: Arc<dyn Broker>, first: usize, until: Instant) -> Result<Vec<usize>> {
    let (address, _) = alpha();
    let mut confirmed = Vec::new();
    let mut next = first;
    while Instant::now() < until {
        let numbers = next..next + 8;
        next += 8;
        let letters = numbers.clone().map(|number| (address.clone(), letter(number))).collect();
        match within("publish", broker.publish(letters)).await? {
            Ok(()) => confirmed.extend(numbers),
            Err(BrokerError::Unavailable(_) | BrokerError::TimedOut(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(confirmed)
}

/// The node crashes while messages flow, and again before the broker has connected for the first time. Every
/// confirmed message arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_nothing_that_was_confirmed() -> Result<()> {
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    rabbit.kill();
    let broker = connect(&vhost.url())?;
    let refused =
        |status: &BrokerStatus| matches!(status, BrokerStatus::Connecting(why) if why.contains("broker.url"));
    until(&broker, refused).await?;
    let early = broker.publish(vec![(alpha().0, letter(0))]).await;
    ensure!(matches!(early, Err(BrokerError::Unavailable(_))), "{early:?}");
    rabbit.start().await;
    ready(&broker).await?;

    let mut consumer = broker.consume(&alpha().1, 50).await?;
    let stop = Instant::now() + Duration::from_secs(10);
    let publishers: Vec<_> =
        (0..4).map(|n| tokio::spawn(publish_through(Arc::clone(&broker), n * 1_000_000, stop))).collect();
    let taken = Arc::new(Mutex::new(HashSet::new()));
    let noted = Arc::clone(&taken);
    let taking = tokio::spawn(async move {
        while let Some(delivery) = consumer.next().await {
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(number(&delivery.envelope)?);
            delivery.ack();
        }
        anyhow::Ok(())
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    tokio::task::block_in_place(|| rabbit.kill());
    until(&broker, |status| matches!(status, BrokerStatus::Connecting(_))).await?;
    rabbit.start().await;
    ready(&broker).await?;

    let mut confirmed = Vec::new();
    for publisher in publishers {
        confirmed.extend(publisher.await??);
    }
    ensure!(confirmed.len() > 100, "only {} were confirmed", confirmed.len());
    eventually("every confirmed message arrives", async || {
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        match confirmed.iter().filter(|number| !taken.contains(number)).count() {
            0 => Ok(()),
            missing => Err(format!("{missing} of {} are missing", confirmed.len())),
        }
    })
    .await;
    broker.close().await;
    within("the consumer ends", taking).await??
}
