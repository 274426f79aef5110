//! The spool passes the suite that every broker must pass: in front of a working broker it changes nothing.

mod folders;

use async_trait::async_trait;
use folders::Folders;
use postern_broker::{
    Address, Broker, BrokerError, BrokerOptions, BrokerStatus, Consumer, Depth, Envelope, QueueName,
    Topology,
    conformance::{MAX_DELIVERIES, Storage},
    testing,
};
use postern_store::{
    embedded::EmbeddedBroker,
    spool::{self, Spool, SpoolLimits},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// A folder for the broker and one for the spool, inside another.
struct Folder(Folders);

/// A spool that also closes the broker behind it.
#[derive(Debug)]
struct Both(Spool, Arc<dyn Broker>);

#[async_trait]
impl Storage for Folder {
    async fn open(&self, topology: Topology) -> anyhow::Result<Arc<dyn Broker>> {
        let inside = |name: &str| self.0.last().join(name);
        let backends = topology.backends.clone();
        let publish_timeout = Duration::from_secs(30);
        let options = BrokerOptions { max_deliveries: MAX_DELIVERIES, ..testing::options(topology) };
        let broker: Arc<dyn Broker> = Arc::new(EmbeddedBroker::open(inside("broker"), options).await?);
        let limits = SpoolLimits { messages: 1_000_000, bytes: 1 << 30 };
        let options =
            spool::SpoolOptions { dir: inside("spool"), limits, backends, publish_timeout, min_free_disk: 0 };
        Ok(Arc::new(Both(Spool::open(options, Arc::clone(&broker)).await?, broker)))
    }

    async fn crash(&self, broker: Arc<dyn Broker>) -> anyhow::Result<()> {
        self.0.crash(broker)
    }
}

#[async_trait]
impl Broker for Both {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        self.0.publish(messages).await
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
        self.0.consume(queue, prefetch).await
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.0.declare(topology).await
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        self.0.depth(queue).await
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.0.status()
    }

    async fn close(&self) {
        self.0.close().await;
        self.1.close().await;
    }
}

postern_broker::test_each_case!(Folder(Folders::new()));
