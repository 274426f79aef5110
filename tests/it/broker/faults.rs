//! Faults while the node keeps running.

use super::*;
use anyhow::ensure;
use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use postern_broker::BrokerError;
use postern_tests::Proxy;
use std::time::Instant;
use tokio::net::TcpListener;

/// The same consumer continues with the queue that is declared in place of the deleted one.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_comes_back_and_is_consumed_again() -> Result<()> {
    let (broker, vhost) = fresh().await?;
    let (address, queue) = alpha();
    let mut consumer = broker.consume(&queue, 10).await?;
    post(&broker, &address, 1).await?;
    ensure!(take(&mut consumer).await? == 1);
    let (bare, channel) = bare(&vhost.url()).await?;
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    depth_becomes(&broker, &queue, |depth| depth.consumers == 1).await;
    post(&broker, &address, 2).await?;
    ensure!(take(&mut consumer).await? == 2);
    bare.close(200, "OK".into()).await?;
    broker.close().await;
    Ok(())
}

/// A consumer is dropped after the broker began to deliver to it and before its subscription is confirmed: what it
/// was sent goes back to the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_dropped_while_it_begins_keeps_no_message() -> Result<()> {
    let (broker, vhost) = fresh().await?;
    let (address, queue) = alpha();
    post(&broker, &address, 1).await?;
    let proxy = Proxy::to(vhost.port()).await;
    let slow = connect(&vhost.url_at(proxy.port()))?;
    ready(&slow).await?;
    proxy.delay(Duration::from_millis(700));
    let (dropped, beginning) = (Arc::clone(&slow), queue.clone());
    let beginning = tokio::spawn(async move { dropped.consume(&beginning, 10).await.map(drop) });
    depth_becomes(&broker, &queue, |depth| depth.ready == 0).await;
    beginning.abort();
    proxy.delay(Duration::ZERO);
    depth_becomes(&broker, &queue, |depth| depth.ready == 1 && depth.consumers == 0).await;
    slow.close().await;
    broker.close().await;
    Ok(())
}

/// A publish to an exchange that is gone fails at once, and later publishes succeed.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_error_fails_what_was_in_flight_and_nothing_after() -> Result<()> {
    let (broker, vhost) = fresh().await?;
    let (address, queue) = alpha();
    let (bare, channel) = bare(&vhost.url()).await?;
    channel.exchange_delete("postern.outbound".into(), ExchangeDeleteOptions::default()).await?;
    let failed = within("publish", broker.publish(vec![(address.clone(), letter(0))])).await?;
    ensure!(matches!(failed, Err(BrokerError::Unavailable(_))), "{failed:?}");
    eventually("the exchange is declared again", async || {
        broker.publish(vec![(address.clone(), letter(1))]).await
    })
    .await;
    let mut consumer = broker.consume(&queue, 10).await?;
    ensure!(take(&mut consumer).await? == 1);
    bare.close(200, "OK".into()).await?;
    broker.close().await;
    Ok(())
}

/// A queue rejects publishes because of a limit that Postern does not know. Other queues are not affected, the
/// channel that was used is replaced, and the queue is published to again as soon as it accepts something.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_refused_is_replaced_and_harms_no_other_queue() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    let (address, queue) = alpha();
    let (bare, channel) = bare(&vhost.url()).await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare(queue.as_str().into(), durable, arguments).await?;
    let broker = connect(&vhost.url())?;
    ready(&broker).await?;
    let rejected = async || {
        eventually("a refusal", async || match broker.publish(vec![(address.clone(), letter(0))]).await {
            Err(BrokerError::Rejected(name)) if name == queue.as_str() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    rejected().await;
    let before = vhost.channels();
    eventually("another channel", async || {
        rejected().await;
        broker
            .publish(vec![(Address::Dead(backend("alpha")), letter(1))])
            .await
            .map_err(|e| e.to_string())?;
        let now = vhost.channels();
        if now == before { Err(now) } else { Ok(()) }
    })
    .await;
    let mut consumer = broker.consume(&queue, 100).await?;
    ensure!(take(&mut consumer).await? == 0);
    eventually("the queue to take messages again", async || {
        broker.publish(vec![(address.clone(), letter(2))]).await
    })
    .await;
    while take(&mut consumer).await? != 2 {}
    bare.close(200, "OK".into()).await?;
    broker.close().await;
    Ok(())
}

/// An operator closes both connections while deliveries are out. Unacknowledged messages come again,
/// acknowledged ones do not, and an acknowledgement for a delivery of the lost channel does no harm.
#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_opened_again() -> Result<()> {
    let (broker, vhost) = fresh().await?;
    let (address, queue) = alpha();
    let mut consumer = broker.consume(&queue, 3).await?;
    for number in 0..6 {
        post(&broker, &address, number).await?;
    }
    ensure!(take(&mut consumer).await? == 0);
    let held = within("a message", consumer.next()).await?.context("the consumer ended")?;
    ensure!(number(&held.envelope)? == 1);
    depth_becomes(&broker, &queue, |depth| depth.ready == 2).await;
    vhost.close_connections();
    until(&broker, |status| matches!(status, BrokerStatus::Connecting(_))).await?;
    ready(&broker).await?;
    held.ack();
    let mut arrived = Vec::new();
    while !(1..6).all(|number| arrived.contains(&number)) {
        arrived.push(take(&mut consumer).await?);
    }
    ensure!(!arrived.contains(&0), "an acked message came again");
    depth_becomes(&broker, &queue, |depth| depth.ready == 0).await;
    within("the consumer closes", consumer.close()).await?;
    broker.close().await;
    Ok(())
}

/// The status names the user and never the password, and the attempts continue.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named_and_tried_on() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    let url = vhost.url_for("late", "hush-hush");
    let broker = connect(&url)?;
    let refused = |status: &BrokerStatus| matches!(status, BrokerStatus::Connecting(why) if why.contains("ACCESS_REFUSED"));
    let status = until(&broker, refused).await?;
    let BrokerStatus::Connecting(why) = &status else { anyhow::bail!("{status:?}") };
    ensure!(why.contains("broker.url") && why.contains(&vhost.port().to_string()), "{why}");
    ensure!(!format!("{status:?} {broker:?}").contains("hush"), "{status:?} {broker:?}");
    let publish = broker.publish(vec![(alpha().0, letter(0))]).await;
    ensure!(matches!(publish, Err(BrokerError::Unavailable(_))), "{publish:?}");
    vhost.add_user("late", "hush-hush");
    ready(&broker).await?;
    post(&broker, &alpha().0, 1).await?;
    broker.close().await;
    Ok(())
}

/// An unknown virtual host is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_virtual_host_is_named() -> Result<()> {
    let url = Rabbit::shared().vhost().url();
    let (node, _) = url.rsplit_once('/').context("a virtual host")?;
    let broker = connect(&format!("{node}/nowhere"))?;
    until(
        &broker,
        |status| matches!(status, BrokerStatus::Connecting(why) if why.contains("virtual host nowhere")),
    )
    .await?;
    broker.close().await;
    Ok(())
}

/// Several processes start at once on an empty virtual host.
#[tokio::test(flavor = "multi_thread")]
async fn many_may_declare_at_once() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    let brokers: Vec<_> = (0..4).map(|_| connect(&vhost.url())).collect::<Result<_>>()?;
    for broker in &brokers {
        ready(broker).await?;
    }
    let (address, queue) = alpha();
    for (number, broker) in brokers.iter().enumerate() {
        post(broker, &address, number).await?;
    }
    ensure!(brokers[0].depth(&queue).await?.ready == 4);
    for broker in &brokers {
        broker.close().await;
    }
    Ok(())
}

/// Durable queues and exchanges that somebody declared with other properties are used unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn what_exists_with_other_properties_is_used() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    let (bare, channel) = bare(&vhost.url()).await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("postern.inbound".into(), durable, FieldTable::default()).await?;
    let kept = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare("postern.inbound".into(), ExchangeKind::Topic, kept, FieldTable::default())
        .await?;
    for _ in 0..2 {
        let broker = connect(&vhost.url())?;
        ready(&broker).await?;
        let remarks = broker.remarks();
        for (what, difference) in
            [("queue postern.inbound ", "x-queue-type"), ("exchange postern.inbound ", "alternate-exchange")]
        {
            let named = |remark: &String| remark.starts_with(what) && remark.contains(difference);
            ensure!(remarks.iter().any(named), "{remarks:?}");
        }
        let inbound = Address::Inbound(backend("alpha"));
        post(&broker, &inbound, 5).await?;
        let mut consumer = broker.consume(&QueueName::inbound(), 2).await?;
        ensure!(take(&mut consumer).await? == 5);
        broker.close().await;
    }
    bare.close(200, "OK".into()).await?;
    Ok(())
}

/// A queue that would not survive a restart is not used, and the status names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_transient_queue_is_not_used() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    let (bare, channel) = bare(&vhost.url()).await?;
    channel
        .queue_declare("postern.dead".into(), QueueDeclareOptions::default(), FieldTable::default())
        .await?;
    let broker = connect(&vhost.url())?;
    let named = |status: &BrokerStatus| matches!(status, BrokerStatus::Connecting(why) if why.contains("'postern.dead'") && why.contains("durable"));
    until(&broker, named).await?;
    channel.queue_delete("postern.dead".into(), QueueDeleteOptions::default()).await?;
    ready(&broker).await?;
    bare.close(200, "OK".into()).await?;
    broker.close().await;
    Ok(())
}

/// A retry whose queue no longer exists when it is due is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_to_a_missing_queue_is_unrouted() -> Result<()> {
    let (broker, _vhost) = fresh().await?;
    let queue = QueueName::outbound(&backend("gone"), Priority::Normal);
    post(&broker, &Address::Later { queue, delay: Duration::from_millis(300) }, 3).await?;
    let mut consumer = broker.consume(&QueueName::unrouted(), 2).await?;
    ensure!(take(&mut consumer).await? == 3);
    broker.close().await;
    Ok(())
}

/// A message is delivered again any number of times: no limit of the broker drops it.
#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_deliveries_loses_a_message() -> Result<()> {
    let (broker, _vhost) = fresh().await?;
    let (address, queue) = alpha();
    post(&broker, &address, 4).await?;
    let mut consumer = broker.consume(&queue, 1).await?;
    for _ in 0..50 {
        within("it comes again", consumer.next()).await?.context("the consumer ended")?.release();
    }
    ensure!(take(&mut consumer).await? == 4);
    broker.close().await;
    Ok(())
}

/// Connecting to a server that accepts connections and sends nothing is given up, and closing does not wait for
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_given_up() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("amqp://127.0.0.1:{}/?connection_timeout=300", listener.local_addr()?.port());
    let broker = connect(&url)?;
    let (mut first, _) = within("a connection", listener.accept()).await??;
    until(
        &broker,
        |status| matches!(status, BrokerStatus::Connecting(why) if why.contains("does not answer")),
    )
    .await?;
    // The abandoned connection is closed, too.
    let mut header = Vec::new();
    within("the connection ends", tokio::io::AsyncReadExt::read_to_end(&mut first, &mut header)).await??;
    let start = Instant::now();
    broker.close().await;
    ensure!(start.elapsed() < Duration::from_secs(15), "closing took {:?}", start.elapsed());
    ensure!(*broker.status().borrow() == BrokerStatus::Closed);
    Ok(())
}

/// A URL that cannot be valid is refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_url_is_refused_and_not_quoted() -> Result<()> {
    for url in ["amqp://user:hush@host:port/", "amqp://", "amqp:hush"] {
        let error = RabbitBroker::connect(url, options(topology())).err().context("it was taken")?;
        ensure!(matches!(error, BrokerError::Url(_)) && !error.to_string().contains("hush"), "{error}");
    }
    Ok(())
}
