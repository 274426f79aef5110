//! The suite that every broker passes.

use super::options;
use anyhow::Result;
use async_trait::async_trait;
use postern_broker::{Broker, BrokerStatus, Topology, conformance::Storage};
use postern_rabbitmq::RabbitBroker;
use postern_tests::{Rabbit, Vhost};
use std::sync::Arc;

struct VirtualHost(Vhost);

#[async_trait]
impl Storage for VirtualHost {
    async fn open(&self, topology: Topology) -> Result<Arc<dyn Broker>> {
        Ok(Arc::new(RabbitBroker::connect(&self.0.url(), options(topology))?))
    }

    async fn crash(&self, broker: Arc<dyn Broker>) -> Result<()> {
        let mut status = broker.status();
        tokio::task::block_in_place(|| self.0.close_connections());
        status.wait_for(|now| *now != BrokerStatus::Ready).await?;
        broker.close().await;
        Ok(())
    }
}

postern_broker::test_each_case!(VirtualHost(Rabbit::shared().vhost()));
