//! Measures RabbitMQ behind the broker trait and a bare lapin loop on the same node: publishes and deliveries a
//! second, and their ratio, which says more than the figures.
//!
//! `cargo run --release -p postern-bench --example rabbitmq_bench amqp://guest:guest@127.0.0.1/bench
//! [MESSAGES]`. Use a virtual host made for this: Postern's queues stay in it.
#![allow(clippy::print_stdout)]

mod load;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    },
    types::FieldTable,
};
use load::address;
use postern_broker::{Broker, BrokerStatus, Envelope};
use postern_rabbitmq::RabbitBroker;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PREFETCH: u16 = 256;
const BODY: [u8; 300] = [b'x'; 300];
/// How long the first connection may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let url =
        std::env::args().nth(1).context("which RabbitMQ? Give it as amqp://user:password@host/vhost")?;
    let messages = std::env::args().nth(2).map_or(Ok(40_000), |count| count.parse())?;
    let broker = open(&url).await?;
    let waiting = broker.depth(&address()?.queue()).await?.ready;
    ensure!(waiting == 0, "{waiting} messages wait in {}: take another virtual host", address()?.queue());
    let outcome = measure(&broker, &url, messages).await;
    broker.close().await;
    outcome
}

async fn measure(broker: &Arc<RabbitBroker>, url: &str, messages: u64) -> Result<()> {
    println!("per second          bare  broker   ratio");
    // As many rounds consume as publish, so that no messages are left.
    for in_flight in [64, 256, 1024] {
        let bare = rate(messages, bare_publishes(url, messages, in_flight)).await?;
        let ours = rate(messages, load::fill(broker, messages, in_flight, letter)).await?;
        println!("{in_flight:>5} in flight   {bare:>7.0} {ours:>7.0}   {:.2}", ours / bare);
    }
    for _ in 0..3 {
        let bare = rate(messages, bare_consumption(url, messages)).await?;
        let ours = rate(messages, load::empty(&**broker, messages, PREFETCH)).await?;
        println!("consumed + acked  {bare:>7.0} {ours:>7.0}   {:.2}", ours / bare);
    }
    Ok(())
}

async fn open(url: &str) -> Result<Arc<RabbitBroker>> {
    let broker = Arc::new(RabbitBroker::connect(url, load::options(0)?)?);
    let mut status = broker.status();
    let ready =
        tokio::time::timeout(PATIENCE, status.wait_for(|status| *status == BrokerStatus::Ready)).await;
    let ready = ready.map(|found| found.map(drop));
    ready.with_context(|| format!("not within {PATIENCE:?}: {:?}", *broker.status().borrow()))??;
    Ok(broker)
}

/// How many of `messages` messages `work` handled a second.
async fn rate(messages: u64, work: impl Future<Output = Result<()>>) -> Result<f64> {
    let start = Instant::now();
    work.await?;
    Ok(messages as f64 / start.elapsed().as_secs_f64())
}

async fn bare(url: &str) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

/// Publishes with one task on one channel, waiting for `in_flight` confirms at a time.
async fn bare_publishes(url: &str, messages: u64, in_flight: usize) -> Result<()> {
    let (connection, channel) = bare(url).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let properties = BasicProperties::default().with_delivery_mode(2).with_message_id("bench-1".into());
    let mut confirms = FuturesUnordered::new();
    for _ in 0..messages {
        if confirms.len() >= in_flight {
            let confirm: Option<lapin::Result<lapin::Confirmation>> = confirms.next().await;
            ensure!(confirm.context("a confirm")??.is_ack());
        }
        let options = BasicPublishOptions::default();
        let (exchange, key) = ("postern.outbound".into(), "bench".into());
        confirms.push(channel.basic_publish(exchange, key, options, &BODY, properties.clone()).await?);
    }
    while let Some(confirm) = confirms.next().await {
        ensure!(confirm?.is_ack());
    }
    Ok(connection.close(200, "OK".into()).await?)
}

fn letter(_: u64) -> Envelope {
    Envelope { message_id: Some("bench-1".to_owned()), body: BODY.as_slice().into(), ..Envelope::default() }
}

async fn bare_consumption(url: &str, messages: u64) -> Result<()> {
    let (connection, channel) = bare(url).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (queue, options) = (address()?.queue(), BasicConsumeOptions::default());
    let consumer =
        channel.basic_consume(queue.as_str().into(), "bare".into(), options, FieldTable::default());
    let mut consumer = consumer.await?;
    for _ in 0..messages {
        consumer.next().await.context("the consumer ended")??.ack(BasicAckOptions::default()).await?;
    }
    channel.close(200, "OK".into()).await?;
    Ok(connection.close(200, "OK".into()).await?)
}
