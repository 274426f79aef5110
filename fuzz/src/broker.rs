//! A broker that confirms at once and keeps what it was given until it is asked.

use async_trait::async_trait;
use postern_broker::{Address, Broker, BrokerError, BrokerStatus, Consumer, Depth, Envelope, QueueName};
use std::sync::Mutex;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Kept {
    published: Mutex<Vec<(Address, Envelope)>>,
    status: watch::Sender<BrokerStatus>,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self { published: Mutex::default(), status: watch::Sender::new(BrokerStatus::Ready) }
    }

    /// What was published since the last time.
    pub(crate) fn take(&self) -> Vec<(Address, Envelope)> {
        std::mem::take(&mut self.published.lock().unwrap())
    }
}

#[async_trait]
impl Broker for Kept {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        self.published.lock().unwrap().extend(messages);
        Ok(())
    }

    async fn consume(&self, queue: &QueueName, _: u16) -> Result<Consumer, BrokerError> {
        Err(BrokerError::Refused(queue.to_string()))
    }

    async fn depth(&self, _: &QueueName) -> Result<Depth, BrokerError> {
        Ok(Depth { consumers: 1, ..Depth::default() })
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.subscribe()
    }

    async fn close(&self) {}
}
