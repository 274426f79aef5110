//! RabbitMQ behind the broker trait, without the programs around it. This file contains what these tests share:
//! brokers on virtual hosts of their own, and letters.

mod alarm;
mod conformance;
mod crash;
mod faults;
mod supervisor;

use anyhow::{Context, Result};
use postern_broker::{
    Address, Broker, BrokerOptions, BrokerStatus, Consumer, Depth, Envelope, QueueName, Topology,
    conformance::MAX_DELIVERIES, testing,
};
use postern_rabbitmq::RabbitBroker;
use postern_shared::message::{BackendName, Priority};
use postern_tests::{Rabbit, Vhost, eventually};
use std::{sync::Arc, time::Duration};

/// How long a test waits for an event.
const PATIENCE: Duration = Duration::from_secs(60);

fn backend(name: &str) -> BackendName {
    name.parse().expect("a backend's name")
}

/// Two backends and a short delay.
fn topology() -> Topology {
    let delays = [Duration::from_millis(300)].into();
    Topology { delays, ..testing::topology([backend("alpha"), backend("beta")]) }
}

fn options(topology: Topology) -> BrokerOptions {
    BrokerOptions { max_deliveries: MAX_DELIVERIES, ..testing::options(topology) }
}

fn connect(url: &str) -> Result<Arc<dyn Broker>> {
    Ok(Arc::new(RabbitBroker::connect(url, options(topology()))?))
}

/// A ready broker on a new virtual host.
async fn fresh() -> Result<(Arc<dyn Broker>, Vhost)> {
    let vhost = Rabbit::shared().vhost();
    let broker = connect(&vhost.url())?;
    ready(&broker).await?;
    Ok((broker, vhost))
}

async fn within<T>(what: &str, doing: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, doing).await.with_context(|| format!("not within {PATIENCE:?}: {what}"))
}

/// Waits until the broker has a status that `expected` accepts.
async fn until(
    broker: &Arc<dyn Broker>,
    expected: impl FnMut(&BrokerStatus) -> bool,
) -> Result<BrokerStatus> {
    let mut status = broker.status();
    let found = within("the status changes", status.wait_for(expected)).await;
    let found = found.map(|status| status.map(|status| status.clone()));
    Ok(found.with_context(|| format!("the status is {:?}", *broker.status().borrow()))??)
}

async fn ready(broker: &Arc<dyn Broker>) -> Result<()> {
    until(broker, |status| *status == BrokerStatus::Ready).await.map(drop)
}

fn alpha() -> (Address, QueueName) {
    let address = Address::Outbound(backend("alpha"), Priority::Normal);
    let queue = address.queue();
    (address, queue)
}

fn letter(number: usize) -> Envelope {
    Envelope {
        message_id: Some(format!("letter-{number}")),
        body: vec![b'x'; 300].into(),
        ..Envelope::default()
    }
}

async fn post(broker: &Arc<dyn Broker>, address: &Address, number: usize) -> Result<()> {
    within("publish", broker.publish(vec![(address.clone(), letter(number))])).await??;
    Ok(())
}

/// Takes the next letter, acknowledges it, and returns its number.
async fn take(consumer: &mut Consumer) -> Result<usize> {
    let delivery = within("a message arrives", consumer.next()).await?.context("the consumer ended")?;
    let number = number(&delivery.envelope)?;
    delivery.ack();
    Ok(number)
}

fn number(envelope: &Envelope) -> Result<usize> {
    let id = envelope.message_id.as_deref().and_then(|id| id.strip_prefix("letter-"));
    Ok(id.context("a message without its id")?.parse()?)
}

/// Waits until `expected` accepts the queue's depth and number of consumers.
async fn depth_becomes(broker: &Arc<dyn Broker>, queue: &QueueName, expected: impl Fn(Depth) -> bool) {
    eventually(&format!("the depth of {queue}"), async || match broker.depth(queue).await {
        Ok(depth) if expected(depth) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}

/// A plain connection, for operations that the broker trait does not offer.
async fn bare(url: &str) -> Result<(lapin::Connection, lapin::Channel)> {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}
