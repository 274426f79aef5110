//! A broker in memory: it keeps what is published, and fails or holds on when told.

use async_trait::async_trait;
use postern_broker::{Address, Broker, BrokerError, BrokerStatus, Consumer, Depth, Envelope, QueueName};
use std::sync::Mutex;
use tokio::sync::{Semaphore, watch};

/// See the module.
#[derive(Debug)]
pub(crate) struct Recording {
    calls: Mutex<Vec<Vec<(Address, Envelope)>>>,
    failure: Mutex<Option<fn() -> BrokerError>>,
    /// A publish goes on while there is a permit.
    gate: Semaphore,
    /// Publishes that have begun.
    pub(crate) begun: watch::Sender<usize>,
    pub(crate) status: watch::Sender<BrokerStatus>,
    pub(crate) depth: Mutex<Depth>,
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self {
            calls: Mutex::default(),
            failure: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            begun: watch::Sender::new(0),
            status: watch::Sender::new(BrokerStatus::Ready),
            depth: Mutex::new(Depth { consumers: 1, ..Depth::default() }),
        }
    }

    /// From now on each publish fails, or works again.
    pub(crate) fn fail(&self, with: Option<fn() -> BrokerError>) {
        *self.failure.lock().unwrap() = with;
    }

    /// From now on a publish does not end before [`open`](Self::open).
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// What was published, call by call, since the last time this was asked.
    pub(crate) fn take_calls(&self) -> Vec<Vec<(Address, Envelope)>> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// What was published, since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<(Address, Envelope)> {
        self.take_calls().into_iter().flatten().collect()
    }
}

#[async_trait]
impl Broker for Recording {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        self.begun.send_modify(|begun| *begun += 1);
        let _permit = self.gate.acquire().await.map_err(|_| BrokerError::Closed)?;
        if let Some(failure) = *self.failure.lock().unwrap() {
            return Err(failure());
        }
        self.calls.lock().unwrap().push(messages);
        Ok(())
    }

    async fn consume(&self, queue: &QueueName, _: u16) -> Result<Consumer, BrokerError> {
        Err(BrokerError::Refused(queue.to_string()))
    }

    async fn depth(&self, _: &QueueName) -> Result<Depth, BrokerError> {
        Ok(*self.depth.lock().unwrap())
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.subscribe()
    }

    async fn close(&self) {}
}
