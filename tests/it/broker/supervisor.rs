//! Lost connections and rights are recovered without a restart, or the status says why not.

use super::*;
use anyhow::ensure;
use postern_broker::BrokerError;
use postern_tests::{Direction, Proxy};

fn connecting(status: &BrokerStatus, needle: &str) -> bool {
    matches!(status, BrokerStatus::Connecting(why) if why.contains(needle))
}

/// The peer goes silent without closing anything. The heartbeat notices, nothing hangs, and the same consumer
/// continues when the network is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_noticed_and_replaced() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let url = format!("{}?heartbeat=1&connection_timeout=1000", vhost.url_at(proxy.port()));
    let broker = connect(&url)?;
    ready(&broker).await?;
    let (address, queue) = alpha();
    let mut consumer = broker.consume(&queue, 10).await?;
    // With heartbeats each second, a machine that stands still may lose a connection at any time.
    let publishes = async |number| {
        eventually("a publish", async || broker.publish(vec![(address.clone(), letter(number))]).await).await
    };
    publishes(1).await;
    ensure!(take(&mut consumer).await? == 1);

    proxy.freeze();
    let stopped = within("publish", broker.publish(vec![(address.clone(), letter(2))])).await?;
    ensure!(matches!(stopped, Err(BrokerError::TimedOut(_) | BrokerError::Unavailable(_))), "{stopped:?}");
    until(&broker, |status| matches!(status, BrokerStatus::Connecting(_))).await?;
    // New connections get no answer either: the status says so, and the attempts continue.
    until(&broker, |status| connecting(status, "does not answer")).await?;
    let depth = within("depth", broker.depth(&queue)).await?;
    ensure!(depth.is_err(), "{depth:?}");

    proxy.thaw();
    ready(&broker).await?;
    publishes(3).await;
    // A publish that timed out may have been stored.
    while take(&mut consumer).await? != 3 {}
    broker.close().await;
    Ok(())
}

/// Connections are cut, closed in one direction, and refused for a while.
#[tokio::test(flavor = "multi_thread")]
async fn cut_half_closed_and_refused_connections_are_replaced() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let broker = connect(&vhost.url_at(proxy.port()))?;
    ready(&broker).await?;
    let (address, queue) = alpha();
    let mut consumer = broker.consume(&queue, 10).await?;
    let faults: [fn(&Proxy); 4] = [
        |proxy| proxy.cut(),
        |proxy| proxy.half_close(Direction::Down),
        |proxy| proxy.half_close(Direction::Up),
        |proxy| {
            proxy.refuse(true);
            proxy.cut();
        },
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        fault(&proxy);
        until(&broker, |status| matches!(status, BrokerStatus::Connecting(_))).await?;
        proxy.refuse(false);
        ready(&broker).await?;
        post(&broker, &address, number).await?;
        while take(&mut consumer).await? != number {}
    }
    broker.close().await;
    Ok(())
}

/// The password is changed while the process runs. Until it is right again, the status says that access is
/// refused, and contains no secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_is_named_and_the_right_one_recovers() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    vhost.add_user("turncoat", "hush-one");
    let broker = connect(&vhost.url_for("turncoat", "hush-one"))?;
    ready(&broker).await?;
    let (address, queue) = alpha();
    let mut consumer = broker.consume(&queue, 10).await?;
    vhost.change_password("turncoat", "hush-two");
    vhost.close_connections();
    let status = until(&broker, |status| connecting(status, "ACCESS_REFUSED")).await?;
    ensure!(!format!("{status:?} {broker:?}").contains("hush"), "{status:?}");
    let publish = broker.publish(vec![(address.clone(), letter(0))]).await;
    ensure!(matches!(publish, Err(BrokerError::Unavailable(_))), "{publish:?}");
    vhost.change_password("turncoat", "hush-one");
    ready(&broker).await?;
    post(&broker, &address, 1).await?;
    ensure!(take(&mut consumer).await? == 1);
    broker.close().await;
    Ok(())
}

/// The permission to publish is revoked. Publishes and the status say so, and no restart is needed when the
/// permission is granted again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_right_to_publish_is_named() -> Result<()> {
    let vhost = Rabbit::shared().vhost();
    vhost.add_user("reader", "hush-reader");
    let broker = connect(&vhost.url_for("reader", "hush-reader"))?;
    ready(&broker).await?;
    // It may still bind; only the exchange that it publishes to is denied.
    vhost.permit("reader", "^postern[.](?!outbound$).*");
    let denied = eventually("a publish is denied", async || {
        // A channel's permissions are cached for a while.
        vhost.close_connections();
        ready(&broker).await.map_err(|error| error.to_string())?;
        match broker.publish(vec![(alpha().0, letter(0))]).await {
            Err(BrokerError::Unavailable(why)) if why.contains("ACCESS_REFUSED") => Ok(why),
            other => Err(format!("{other:?}")),
        }
    });
    ensure!(!denied.await.contains("hush"));
    until(&broker, |status| connecting(status, "permissions")).await?;
    vhost.permit("reader", ".*");
    eventually("a publish is taken again", async || broker.publish(vec![(alpha().0, letter(1))]).await).await;
    ready(&broker).await?;
    broker.close().await;
    Ok(())
}

/// The virtual host is deleted with everything in it. When it exists again, everything in it is declared again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_virtual_host_is_named_and_filled_again() -> Result<()> {
    let (broker, vhost) = fresh().await?;
    let (address, queue) = alpha();
    let mut consumer = broker.consume(&queue, 10).await?;
    post(&broker, &address, 1).await?;
    ensure!(take(&mut consumer).await? == 1);
    vhost.delete();
    until(&broker, |status| connecting(status, "virtual host")).await?;
    vhost.make();
    ready(&broker).await?;
    post(&broker, &address, 2).await?;
    ensure!(take(&mut consumer).await? == 2);
    broker.close().await;
    Ok(())
}

/// The broker closes a consumer's channel over a delivery that was not acknowledged in time. The message comes
/// again on another channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_the_broker_closes_is_replaced() -> Result<()> {
    let rabbit = Rabbit::to_harm().await;
    rabbit.set("consumer_timeout", 500);
    rabbit.set("channel_tick_interval", 200);
    let vhost = rabbit.vhost();
    let broker = connect(&vhost.url())?;
    ready(&broker).await?;
    let (address, queue) = alpha();
    let mut consumer = broker.consume(&queue, 1).await?;
    post(&broker, &address, 1).await?;
    let held = within("a message", consumer.next()).await?.context("the consumer ended")?;
    let channel = vhost.consuming_channels();
    eventually("another channel to consume", async || {
        // By itself, the broker checks its channels only once a minute.
        rabbit.eval("[Channel ! tick || Channel <- rabbit_channel:list_local()], ok");
        let now = vhost.consuming_channels();
        if now == channel { Err(now) } else { Ok(()) }
    })
    .await;
    rabbit.set("consumer_timeout", 1_800_000);
    held.ack();
    let again = within("it comes again", consumer.next()).await?.context("the consumer ended")?;
    ensure!(number(&again.envelope)? == 1 && again.redelivered);
    again.ack();
    post(&broker, &address, 2).await?;
    while take(&mut consumer).await? != 2 {}
    ensure!(*broker.status().borrow() == BrokerStatus::Ready, "the connection was never lost");
    broker.close().await;
    Ok(())
}

/// A body above the broker's `max_message_size`, which the broker does not announce. That message will never be
/// accepted, and those around it are.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_the_broker_finds_too_large_is_refused_alone() -> Result<()> {
    let rabbit = Rabbit::to_harm().await;
    rabbit.set("max_message_size", 2_000);
    let vhost = rabbit.vhost();
    let broker = connect(&vhost.url())?;
    ready(&broker).await?;
    let (address, _) = alpha();
    let large = Envelope { body: vec![b'x'; 2_001].into(), ..letter(0) };
    let (refused, around) = tokio::join!(
        broker.publish(vec![(address.clone(), large)]),
        broker.publish(vec![(address.clone(), letter(1))])
    );
    ensure!(matches!(&refused, Err(BrokerError::Refused(why)) if why.contains("2001")), "{refused:?}");
    ensure!(!matches!(around, Err(BrokerError::Refused(_))), "{around:?}");
    eventually("a publish after it", async || broker.publish(vec![(address.clone(), letter(2))]).await).await;
    // Its limit is known now: a message that is too large no longer closes the channel that others use.
    let channels = vhost.channels();
    for n in 3..20 {
        let large = Envelope { body: vec![b'x'; 2_000 + n].into(), ..letter(0) };
        let (refused, around) = tokio::join!(
            broker.publish(vec![(address.clone(), large)]),
            broker.publish(vec![(address.clone(), letter(n))])
        );
        ensure!(matches!(&refused, Err(BrokerError::Refused(why)) if why.contains("2000")), "{refused:?}");
        around?;
    }
    ensure!(vhost.channels() == channels, "{channels} became {}", vhost.channels());
    broker.close().await;
    Ok(())
}
