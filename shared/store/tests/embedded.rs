//! The embedded broker passes the suite that every broker must pass.

mod folders;

use async_trait::async_trait;
use folders::Folders;
use postern_broker::{
    Broker, BrokerOptions, Topology,
    conformance::{MAX_DELIVERIES, Storage},
    testing,
};
use postern_store::embedded::EmbeddedBroker;
use std::sync::Arc;

struct Folder(Folders);

#[async_trait]
impl Storage for Folder {
    async fn open(&self, topology: Topology) -> anyhow::Result<Arc<dyn Broker>> {
        let options = BrokerOptions { max_deliveries: MAX_DELIVERIES, ..testing::options(topology) };
        Ok(Arc::new(EmbeddedBroker::open(self.0.last(), options).await?))
    }

    async fn crash(&self, broker: Arc<dyn Broker>) -> anyhow::Result<()> {
        self.0.crash(broker)
    }
}

postern_broker::test_each_case!(Folder(Folders::new()));
