//! The broker in memory passes the suite that every broker must pass.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use postern_broker::{Broker, Topology, conformance::Storage, memory::MemoryBroker};
use std::sync::{Arc, Mutex};

/// The broker that was opened last.
struct Memory(Mutex<MemoryBroker>);

impl Memory {
    fn last(&self) -> MemoryBroker {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Storage for Memory {
    async fn open(&self, topology: Topology) -> anyhow::Result<Arc<dyn Broker>> {
        let broker = self.last().reopened();
        broker.declare(&topology).await?;
        *self.0.lock().unwrap() = broker.clone();
        Ok(Arc::new(broker))
    }

    async fn crash(&self, _: Arc<dyn Broker>) -> anyhow::Result<()> {
        self.last().crash().await;
        Ok(())
    }
}

postern_broker::test_each_case!(Memory(Mutex::new(MemoryBroker::strict())));
