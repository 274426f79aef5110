//! A node that crashes.

use super::*;
use anyhow::ensure;
use postern_broker::BrokerError;
use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The numbers of letters, which several tasks add to.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<HashSet<usize>>>);

impl Numbers {
    fn get(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are `count` of them.
    async fn reach(&self, count: usize) {
        eventually(&format!("{count} letters"), async || {
            let number = self.get().len();
            if number >= count { Ok(()) } else { Err(number) }
        })
        .await;
    }
}

/// Publishes letters from `first` on, eight at a time, until `stop`. Adds those that were confirmed to
/// `confirmed`.
async fn publish_through(
    broker: Arc<dyn Broker>,
    first: usize,
    confirmed: Numbers,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let (address, _) = alpha();
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        let numbers = next..next + 8;
        next += 8;
        let letters = numbers.clone().map(|number| (address.clone(), letter(number))).collect();
        match within("publish", broker.publish(letters)).await? {
            Ok(()) => confirmed.get().extend(numbers),
            Err(BrokerError::Unavailable(_) | BrokerError::TimedOut(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
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
    let (confirmed, stop) = (Numbers::default(), Arc::new(AtomicBool::new(false)));
    let publishers: Vec<_> = (0..4)
        .map(|n| {
            let (confirmed, stop) = (confirmed.clone(), Arc::clone(&stop));
            tokio::spawn(publish_through(Arc::clone(&broker), n * 1_000_000, confirmed, stop))
        })
        .collect();
    let taken = Numbers::default();
    let noted = taken.clone();
    let taking = tokio::spawn(async move {
        while let Some(delivery) = consumer.next().await {
            noted.get().insert(number(&delivery.envelope)?);
            delivery.ack();
        }
        anyhow::Ok(())
    });
    confirmed.reach(100).await;
    tokio::task::block_in_place(|| rabbit.kill());
    until(&broker, |status| matches!(status, BrokerStatus::Connecting(_))).await?;
    rabbit.start().await;
    ready(&broker).await?;
    let before = confirmed.get().len();
    confirmed.reach(before + 50).await;
    stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await??;
    }
    eventually("every confirmed message arrives", async || {
        match confirmed.get().difference(&taken.get()).count() {
            0 => Ok(()),
            missing => Err(format!("{missing} confirmed messages are missing")),
        }
    })
    .await;
    broker.close().await;
    within("the consumer ends", taking).await??
}
