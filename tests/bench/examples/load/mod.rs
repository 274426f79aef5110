//! The parts that both measurements share: one backend's queue, filled by several tasks and emptied by one.

use anyhow::Context;
use postern_broker::{Address, Broker, BrokerOptions, Envelope, testing};
use postern_shared::message::{BackendName, Priority};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

fn backend() -> anyhow::Result<BackendName> {
    Ok("bench".parse()?)
}

/// The address of the messages.
pub(crate) fn address() -> anyhow::Result<Address> {
    Ok(Address::Outbound(backend()?, Priority::Normal))
}

/// The options of a broker with that backend.
pub(crate) fn options(min_free_disk: u64) -> anyhow::Result<BrokerOptions> {
    Ok(BrokerOptions { min_free_disk, ..testing::options(testing::topology([backend()?])) })
}

/// Publishes `messages` messages from `make` with `callers` tasks, each one message after the other.
pub(crate) async fn fill<B: Broker + 'static>(
    broker: &Arc<B>,
    messages: u64,
    callers: usize,
    make: fn(u64) -> Envelope,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (broker, next, address) = (Arc::clone(broker), Arc::clone(&next), address()?);
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= messages {
                    return anyhow::Ok(());
                }
                broker.publish(vec![(address.clone(), make(n))]).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Takes and acknowledges `messages` messages.
pub(crate) async fn empty<B: Broker>(broker: &B, messages: u64, prefetch: u16) -> anyhow::Result<()> {
    let mut consumer = broker.consume(&address()?.queue(), prefetch).await?;
    for _ in 0..messages {
        consumer.next().await.context("the broker closed")?.ack();
    }
    consumer.close().await;
    Ok(())
}
