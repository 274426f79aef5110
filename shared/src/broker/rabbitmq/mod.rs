//! RabbitMQ, through lapin.
//!
//! Two connections, each kept open by a task of `supervisor`: one publishes (`publisher`), the
//! other declares (`declare`), consumes (`subscriber`, a channel for each consumer) and answers
//! questions. What is given back is not counted as lost (`returns`). All queues are quorum queues: they survive the loss of a node, and are faster here
//! than classic ones. Works with RabbitMQ 3.10 to 4.x.

mod declare;
mod endpoint;
mod properties;
mod publisher;
mod publishing;
mod returns;
mod shared;
mod subscriber;
mod supervisor;
mod window;

use super::{
    Address, Broker, BrokerError, Consumer, Depth, Envelope, Options, QueueName, Status, subscription,
};
use async_trait::async_trait;
use endpoint::Endpoint;
use shared::Shared;
use std::{sync::Arc, time::Duration};
use subscriber::Subscriber;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

/// How long closing may take.
const PARTING: Duration = Duration::from_secs(5);

/// RabbitMQ. Dropping it closes it in the background.
#[derive(Debug)]
pub struct RabbitBroker {
    shared: Arc<Shared>,
}

impl RabbitBroker {
    /// Returns at once and connects behind the scenes, for ever: [`Broker::status`] tells. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`BrokerError::Url`].
    pub fn connect(url: &str, options: Options) -> Result<Self, BrokerError> {
        let shared = Arc::new(Shared::new(Endpoint::new(url)?, options));
        tokio::spawn(supervisor::keep_consuming(Arc::clone(&shared)));
        tokio::spawn(supervisor::keep_publishing(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    fn is_declared(&self, queue: &QueueName) -> bool {
        let topology = &self.shared.options.topology;
        topology.queues().iter().any(|spec| spec.name == *queue)
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        publishing::publish(&self.shared, messages).await
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
        if self.shared.is_closing() {
            return Err(BrokerError::Closed);
        }
        if !self.is_declared(queue) {
            // Another process may have declared it.
            self.shared.depth(queue).await?;
        }
        let (consumer, feed) = subscription(queue.clone(), prefetch);
        let (ready, started) = oneshot::channel();
        tokio::spawn(Subscriber::new(Arc::clone(&self.shared), queue.clone(), prefetch, feed, ready).run());
        // Where there is a connection, the broker counts the consumer by the time this returns.
        if self.shared.hub.borrow().is_some() {
            let _ = timeout(self.shared.options.publish_timeout, started).await;
        }
        Ok(consumer)
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        self.shared.depth(queue).await
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    fn remarks(&self) -> Vec<String> {
        self.shared.remarks()
    }

    async fn close(&self) {
        self.shared.closing.send_replace(true);
        let _ = timeout(PARTING, async { tokio::join!(self.shared.feeds.none(), self.shared.lines.none()) })
            .await;
        self.shared.set_closed();
    }
}

impl Drop for RabbitBroker {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
    }
}

/// What is wrong with `url`; it is not quoted.
pub(super) fn problem(url: &str) -> Option<String> {
    Endpoint::new(url).err().map(|error| match error {
        super::BrokerError::Url(why) => why,
        other => other.to_string(),
    })
}
