//! RabbitMQ, through lapin.
//!
//! Two connections, each kept open by a task of `supervisor`: one publishes (`publisher`), the
//! other declares (`declare`), consumes (`subscriber`, a channel for each consumer) and answers
//! questions. All queues are quorum queues: they survive the loss of a node, and are faster here
//! than classic ones. Works with RabbitMQ 3.10 to 4.x.

mod connections;
mod declare;
mod endpoint;
mod properties;
mod publisher;
mod subscriber;
mod supervisor;
mod unsettled;

use async_trait::async_trait;
use connections::Connections;
use endpoint::Endpoint;
use postern_broker::{
    Address, Broker, BrokerError, BrokerOptions, Consumer, Depth, Envelope, QueueName, Status, subscription,
};
use properties::Outgoing;
use publisher::CurrentPublisher;
use std::{sync::Arc, time::Duration};
use subscriber::Subscriber;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

/// How long closing may take.
const PARTING: Duration = Duration::from_secs(5);

/// RabbitMQ. Dropping it closes it in the background.
#[derive(Debug)]
pub struct RabbitBroker {
    shared: Arc<Connections>,
    publisher: Arc<CurrentPublisher>,
}

impl RabbitBroker {
    /// Returns at once and connects in the background, retrying until it succeeds: [`Broker::status`] tells. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`BrokerError::Url`].
    pub fn connect(url: &str, options: BrokerOptions) -> Result<Self, BrokerError> {
        let shared = Arc::new(Connections::new(Endpoint::new(url)?, options));
        tokio::spawn(supervisor::keep_consuming(Arc::clone(&shared)));
        let publisher = Arc::new(CurrentPublisher::none());
        tokio::spawn(supervisor::keep_publishing(Arc::clone(&shared), Arc::clone(&publisher)));
        Ok(Self { shared, publisher })
    }

    fn is_declared(&self, queue: &QueueName) -> bool {
        let topology = &self.shared.options.topology;
        topology.queues().iter().any(|spec| spec.name == *queue)
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let limit = self.shared.options.publish_timeout;
        let deadline = Instant::now() + limit;
        let mut messages: Vec<_> = messages
            .into_iter()
            .map(|(address, envelope)| Outgoing::new(address, envelope))
            .collect::<Result<_, _>>()?;
        if messages.is_empty() {
            return Ok(());
        }
        let published = async {
            loop {
                let publisher = self.publisher.get(&self.shared, deadline).await?;
                if let Some(outcome) = publisher.publish(&self.shared, &mut messages).await {
                    return outcome;
                }
            }
        };
        match timeout_at(deadline, published).await {
            Ok(Err(BrokerError::Unavailable(_))) if self.shared.is_closing() => Err(BrokerError::Closed),
            Ok(outcome) => outcome,
            Err(_) => Err(BrokerError::TimedOut(limit)),
        }
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
        if self.shared.consumer_connection.borrow().is_some() {
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
