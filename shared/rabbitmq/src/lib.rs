//! RabbitMQ, through lapin.
//!
//! Two connections, each kept open by a task of `supervisor`: one publishes (`publisher`), the
//! other declares (`declare`), consumes (`subscriber`, a channel for each consumer) and answers
//! questions. A requeued message is not counted as lost (`returns`). All queues are quorum queues, which survive
//! the loss of a node and are faster here than classic ones, except two streams (`postern.control` and
//! `postern.health`). Works with RabbitMQ 3.10 to 4.x.

mod connections;
mod declare;
mod endpoint;
mod properties;
mod publisher;
mod publishing;
mod returns;
mod subscriber;
mod supervisor;
mod unsettled;

use async_trait::async_trait;
use connections::Connections;
use endpoint::Endpoint;
use postern_broker::{
    Address, Broker, BrokerError, BrokerOptions, BrokerStatus, Consumer, Depth, Envelope, QueueName,
    Topology, subscription,
};
use publisher::CurrentChannel;
use publishing::Publishing;
use returns::Returns;
use std::{sync::Arc, time::Duration};
use subscriber::Subscriber;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

/// How long closing may take.
const PARTING: Duration = Duration::from_secs(5);

/// RabbitMQ as a [`Broker`]. Dropping it closes the connections in the background.
#[derive(Debug)]
pub struct RabbitBroker {
    shared: Arc<Connections>,
    publishing: Publishing,
}

impl RabbitBroker {
    /// Returns at once and connects in the background, retrying until that succeeds; [`Broker::status`] says
    /// whether it has. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BrokerError::Url`].
    pub fn connect(url: &str, options: BrokerOptions) -> Result<Self, BrokerError> {
        let shared = Arc::new(Connections::new(Endpoint::new(url)?, options));
        tokio::spawn(supervisor::keep_consuming(Arc::clone(&shared)));
        let publisher = Arc::new(CurrentChannel::none());
        tokio::spawn(supervisor::keep_publishing(Arc::clone(&shared), Arc::clone(&publisher)));
        let publishing = Publishing::new(Arc::clone(&shared), publisher);
        Ok(Self { shared, publishing })
    }

    fn is_declared(&self, queue: &QueueName) -> bool {
        self.shared.topology().queues().iter().any(|spec| spec.name == *queue)
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        self.publishing.publish(messages).await
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
        let returns = Returns::new(Arc::clone(&self.shared), self.publishing.clone(), queue.clone());
        tokio::spawn(Subscriber::new(returns, queue.clone(), prefetch, feed, ready).run());
        // If there is a connection, the broker counts the consumer by the time this returns.
        if self.shared.consumer_connection.borrow().is_some() {
            let _ = timeout(self.shared.options.publish_timeout, started).await;
        }
        Ok(consumer)
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.shared.declare_more(topology).await
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        self.shared.depth(queue).await
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.shared.status.subscribe()
    }

    fn remarks(&self) -> Vec<String> {
        self.shared.remarks()
    }

    async fn close(&self) {
        self.shared.closing.cancel();
        let _ = timeout(PARTING, async {
            tokio::join!(self.shared.consumer_tasks.wait(), self.shared.connection_tasks.wait())
        })
        .await;
        self.shared.set_closed();
    }
}

impl Drop for RabbitBroker {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}
