//! A broker in memory: queues, leases, delays that pass when the test says so, failures on demand.

use async_trait::async_trait;
use postern_broker::{
    Address, Broker, BrokerError, BrokerStatus, Consumer, Depth, Envelope, HeaderValue, QueueName, Settle,
    subscription,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::{Notify, watch};

/// A message in a queue.
#[derive(Debug, Clone)]
struct Held {
    envelope: Envelope,
    redelivered: bool,
    /// How often it was lost; what is released is not.
    lost: u32,
}

impl Held {
    fn new(envelope: Envelope) -> Self {
        Self { envelope, redelivered: false, lost: 0 }
    }
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<String, VecDeque<Held>>,
    delayed: Vec<(Address, Envelope)>,
    leased: usize,
    failures: usize,
    attempts: usize,
    closed: bool,
    largest: Option<Largest>,
}

/// What the broker takes at most of a message, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Largest {
    pub(crate) body: usize,
    /// All texts of its headers.
    pub(crate) headers: usize,
}

impl Largest {
    fn holds(self, envelope: &Envelope) -> bool {
        let texts = envelope.headers.values().map(|value| match value {
            HeaderValue::Text(text) => text.len(),
            HeaderValue::Integer(_) => 0,
        });
        envelope.body.len() <= self.body && texts.sum::<usize>() <= self.headers
    }
}

#[derive(Debug, Clone)]
pub(crate) struct MemoryBroker {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    status: watch::Sender<BrokerStatus>,
}

impl MemoryBroker {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), changed: Arc::default(), status: watch::channel(BrokerStatus::Ready).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next so many publishes fail.
    pub(crate) fn fail_publishes(&self, number: usize) {
        self.state().failures = number;
    }

    /// Larger messages are refused for good, with all that is published beside them.
    pub(crate) fn take_no_more_than(&self, largest: Largest) {
        self.state().largest = Some(largest);
    }

    /// How often anything was to be published.
    pub(crate) fn publish_attempts(&self) -> usize {
        self.state().attempts
    }

    /// What waits in `queue`, without what is leased.
    pub(crate) fn waiting(&self, queue: &str) -> Vec<Envelope> {
        let state = self.state();
        state
            .queues
            .get(queue)
            .map(|queue| queue.iter().map(|held| held.envelope.clone()).collect())
            .unwrap_or_default()
    }

    /// Throws away what waits in `queue`.
    pub(crate) fn clear(&self, queue: &str) {
        self.state().queues.remove(queue);
    }

    /// What waits for a delay to pass.
    pub(crate) fn delayed(&self) -> Vec<(Address, Envelope)> {
        self.state().delayed.clone()
    }

    /// Lets every delay pass.
    pub(crate) fn pass_delays(&self) {
        let mut state = self.state();
        for (address, envelope) in std::mem::take(&mut state.delayed) {
            state.queues.entry(address.queue().to_string()).or_default().push_back(Held::new(envelope));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Puts a message into `queue` that was lost with its process `lost` times.
    pub(crate) fn put_returned(&self, queue: &str, envelope: Envelope, lost: u32) {
        let held = Held { envelope, redelivered: lost > 0, lost };
        self.state().queues.entry(queue.to_owned()).or_default().push_back(held);
        self.changed.notify_waiters();
    }

    /// How many deliveries are neither acknowledged nor handed back.
    pub(crate) fn leased(&self) -> usize {
        self.state().leased
    }

    async fn feed(self, queue: String, prefetch: u16, mut feed: postern_broker::Feed) {
        let mut leases: HashMap<u64, Held> = HashMap::new();
        let (mut tag, mut stopped) = (0, false);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            while !stopped && leases.len() < usize::from(prefetch) && feed.has_room() {
                let Some(held) = self.lease(&queue) else { break };
                tag += 1;
                leases.insert(tag, held.clone());
                // One that cannot be handed over is released through `settlements`.
                let _ = feed.deliver(tag, held.envelope, held.redelivered, held.lost);
            }
            if stopped && leases.is_empty() {
                let _ = feed.finished.send(());
                return;
            }
            tokio::select! {
                _ = &mut feed.stopped, if !stopped => stopped = true,
                () = changed => {}
                Some(settlement) = feed.settlements.recv() => {
                    let held = leases.remove(&settlement.tag).unwrap();
                    let mut state = self.state();
                    state.leased -= 1;
                    if settlement.settle == Settle::Requeue {
                        state.queues.entry(queue.clone()).or_default().push_front(Held { redelivered: true, ..held });
                    }
                }
            }
        }
    }

    fn lease(&self, queue: &str) -> Option<Held> {
        let mut state = self.state();
        let next = state.queues.get_mut(queue)?.pop_front()?;
        state.leased += 1;
        Some(next)
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let mut state = self.state();
        state.attempts += 1;
        if state.closed {
            return Err(BrokerError::Closed);
        }
        if state.failures > 0 {
            state.failures -= 1;
            return Err(BrokerError::Blocked("the test says so".to_owned()));
        }
        if let Some(largest) = state.largest
            && !messages.iter().all(|(_, envelope)| largest.holds(envelope))
        {
            return Err(BrokerError::Refused("the test says so".to_owned()));
        }
        for (address, envelope) in messages {
            if let Address::Later { .. } = address {
                state.delayed.push((address, envelope));
            } else {
                state.queues.entry(address.queue().to_string()).or_default().push_back(Held::new(envelope));
            }
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
        if self.state().closed {
            return Err(BrokerError::Closed);
        }
        let (consumer, feed) = subscription(queue.clone(), prefetch);
        tokio::spawn(self.clone().feed(queue.to_string(), prefetch, feed));
        Ok(consumer)
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        Ok(Depth { ready: self.waiting(queue.as_str()).len() as u64, ..Depth::default() })
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.subscribe()
    }

    async fn close(&self) {
        self.state().closed = true;
    }
}
