//! Keeps the two connections open until the broker is closed.
//!
//! If the broker, a connection, a channel or a queue is lost, it is restored, and attempts never end.
//! Publishing has a connection of its own, since an alarm stops everything on it; acks and questions about
//! queues go on.
//!
//! The topology is declared again every minute, so a queue that somebody deletes comes back by itself.

use super::{
    connections::{ConnectionState, Connections, ConsumerConnection, Pauses, soon},
    endpoint::{Link, close_channel},
    properties::{CONSUMED_FRAME, MAX_BODY, PUBLISHED_FRAME},
    publisher::{CurrentChannel, PublishingChannel},
};
use lapin::{Channel, options::ConfirmSelectOptions};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tracing::{info, warn};

/// How often the topology is declared again, in case somebody deleted a part that no consumer
/// misses: publishes to a deleted queue end in `postern.unrouted` meanwhile.
const REDECLARE: Duration = Duration::from_secs(60);
/// How long consumers may take to end when the broker is closed.
const PARTING: Duration = Duration::from_secs(2);

/// Keeps the connection for consumers, questions and declarations open.
pub(super) async fn keep_consuming(shared: Arc<Connections>) {
    let _running = shared.connection_tasks.token();
    let mut pauses = Pauses::new();
    while !shared.is_closing() {
        let attempt = tokio::select! {
            attempt = open_consuming(&shared) => attempt,
            () = shared.closed() => return,
        };
        match attempt {
            Ok(connection) => {
                info!(broker = %shared.endpoint, "connected to the broker");
                pauses.succeeded();
                let connection = Arc::new(connection);
                shared.consumer_connection.send_replace(Some(Arc::clone(&connection)));
                shared.set(&shared.consuming, ConnectionState::Up);
                let why = watch_over(&shared, &connection).await;
                pauses.lost();
                shared.consumer_connection.send_replace(None);
                let Some(why) = why else {
                    let _ = timeout(PARTING, shared.consumer_tasks.wait()).await;
                    return connection.link.close().await;
                };
                shared.set(&shared.consuming, ConnectionState::Down(why));
            }
            Err(why) => shared.set(&shared.consuming, ConnectionState::Down(why)),
        }
        tokio::select! {
            () = pauses.pause() => {}
            () = shared.closed() => return,
        }
    }
}

async fn open_consuming(shared: &Connections) -> Result<ConsumerConnection, String> {
    let link = shared.endpoint.open(shared.name("consuming").as_str(), CONSUMED_FRAME).await?;
    match shared.declare(&link).await {
        Ok(()) => Ok(ConsumerConnection::new(link)),
        Err(error) => {
            link.close().await;
            Err(format!("exchanges and queues cannot be declared: {}", shared.endpoint.explain(&error)))
        }
    }
}

/// Watches a connection. Returns why it was lost, or `None` if the broker is to be closed.
async fn watch_over(shared: &Connections, connection: &ConsumerConnection) -> Option<String> {
    // The broker does not block a connection that publishes nothing.
    let mut lost = std::pin::pin!(connection.link.lost(&shared.endpoint, |_| {}));
    loop {
        tokio::select! {
            why = &mut lost => return Some(why),
            () = shared.closed() => return None,
            () = tokio::time::sleep(REDECLARE) => {}
        }
        tokio::select! {
            why = &mut lost => return Some(why),
            () = shared.closed() => return None,
            declared = shared.restore(&connection.link) => if let Err(error) = declared {
                let error = shared.endpoint.explain(&error);
                warn!(error, "exchanges and queues not declared, retrying");
            },
        }
    }
}

/// Keeps the connection for publishing and its channel open.
pub(super) async fn keep_publishing(shared: Arc<Connections>, current: Arc<CurrentChannel>) {
    let _running = shared.connection_tasks.token();
    let mut pauses = Pauses::new();
    while !shared.is_closing() {
        let attempt = tokio::select! {
            attempt = open_publishing(&shared) => attempt,
            () = shared.closed() => break,
        };
        match attempt {
            Ok((link, channel)) => {
                pauses.succeeded();
                let why = publish(&shared, &current, &link, channel).await;
                pauses.lost();
                let Some(why) = why else {
                    link.close().await;
                    break;
                };
                shared.set(&shared.publishing, ConnectionState::Down(why));
            }
            Err(why) => shared.set(&shared.publishing, ConnectionState::Down(why)),
        }
        tokio::select! {
            () = pauses.pause() => {}
            () = shared.closed() => break,
        }
    }
}

/// Opens a connection and a channel with confirms, after the other connection has declared the topology.
async fn open_publishing(shared: &Connections) -> Result<(Link, Channel), String> {
    let mut consuming = shared.consuming.subscribe();
    loop {
        let state = consuming.borrow_and_update().clone();
        match state {
            ConnectionState::Up | ConnectionState::Blocked(_) => break,
            ConnectionState::Down(why) => shared.set(&shared.publishing, ConnectionState::Down(why)),
            ConnectionState::Starting => {}
        }
        // It cannot fail: the sender lives in `shared`.
        let _ = consuming.changed().await;
    }
    let link = shared.endpoint.open(shared.name("publishing").as_str(), PUBLISHED_FRAME).await?;
    // The broker may be another one, or have another limit now.
    shared.limit_body(MAX_BODY);
    match confirming(shared, &link).await {
        Ok(channel) => Ok((link, channel)),
        Err(error) => Err(shared.endpoint.explain(&error)),
    }
}

async fn confirming(shared: &Connections, link: &Link) -> lapin::Result<Channel> {
    let channel = link.channel().await?;
    soon(shared.endpoint.patience(), channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Publishes over `link`. Returns why it was lost, or `None` if the broker is to be closed.
async fn publish(
    shared: &Connections,
    current: &CurrentChannel,
    link: &Link,
    channel: Channel,
) -> Option<String> {
    let lost = link.lost(&shared.endpoint, |blocked| {
        shared.set(&shared.publishing, blocked.map_or(ConnectionState::Up, ConnectionState::Blocked));
    });
    let kept = keep_channel(shared, current, link, channel);
    shared.set(&shared.publishing, ConnectionState::Up);
    tokio::select! {
        why = lost => Some(why),
        kept = kept => kept.err(),
    }
}

/// Has messages published on a channel. When dropped, it also ends every publish that is under way there.
struct InUse<'a>(&'a CurrentChannel, Arc<PublishingChannel>);

impl<'a> InUse<'a> {
    fn begin(current: &'a CurrentChannel, publisher: Arc<PublishingChannel>) -> Self {
        current.set(Some(Arc::clone(&publisher)));
        Self(current, publisher)
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.set(None);
        self.1.end();
    }
}

/// Publishes on `channel`, and on a new one if a channel fails, until the broker is to be closed.
///
/// # Errors
/// Why no new channel can be opened.
async fn keep_channel(
    shared: &Connections,
    current: &CurrentChannel,
    link: &Link,
    mut channel: Channel,
) -> Result<(), String> {
    let mut pauses = Pauses::new();
    loop {
        pauses.succeeded();
        let publisher = Arc::new(PublishingChannel::new(channel));
        let service = InUse::begin(current, Arc::clone(&publisher));
        let closing = publisher.until_replaced(shared).await;
        current.set(None);
        publisher.settle(closing).await;
        drop(service);
        if closing {
            return Ok(());
        }
        if let Some(why) = shared.take_denied() {
            return Err(why);
        }
        // The channel has failed, most likely because an exchange is missing.
        pauses.lost();
        let again = async {
            pauses.pause().await;
            close_channel(publisher.channel()).await;
            let connection = shared.consumer_connection.borrow().clone();
            if let Some(connection) = connection {
                shared.restore(&connection.link).await?;
            }
            confirming(shared, link).await
        };
        channel = tokio::select! {
            () = shared.closed() => return Ok(()),
            again = again => again.map_err(|error| shared.endpoint.explain(&error))?,
        };
    }
}
