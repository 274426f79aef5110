//! A broker in memory, for tests of code that publishes and consumes. It passes the suite, and a test
//! can make it fail publishes, hold them and let delays pass.
//!
//! - `state`: what it holds

mod state;

use crate::{
    Address, Broker, BrokerError, BrokerStatus, Consumer, Depth, Envelope, Feed, QueueName, Settle,
    SettleRequest, Topology, subscription,
};
use async_trait::async_trait;
use state::{MemoryState, Message};
use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::{Notify, watch},
    time::sleep_until,
};

/// The messages, which outlive a broker.
#[derive(Default)]
struct Server {
    state: Mutex<MemoryState>,
    changed: Notify,
}

/// A broker in memory. By default a queue exists once it is named, and delays pass when the test says so:
/// [`pass_delays`](Self::pass_delays). Clones are the same broker.
#[derive(Clone)]
pub struct MemoryBroker {
    /// The status that it reports. Setting it changes nothing else.
    pub status: watch::Sender<BrokerStatus>,
    /// How many publishes have begun.
    pub begun: watch::Sender<usize>,
    /// While this is true, no publish is stored or confirmed.
    pub held: watch::Sender<bool>,
    server: Arc<Server>,
    /// How many losses the end of the broker counts as, for each message that was leased then. `None`
    /// before. Each consumer's task holds a receiver.
    ended: watch::Sender<Option<u32>>,
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self {
            status: watch::Sender::new(BrokerStatus::Ready),
            begun: watch::Sender::default(),
            held: watch::Sender::default(),
            server: Arc::default(),
            ended: watch::Sender::default(),
        }
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").finish_non_exhaustive()
    }
}

impl MemoryBroker {
    /// A broker with only the queues that are declared, whose delays pass by themselves.
    pub fn strict() -> Self {
        let broker = Self::default();
        broker.state().strict = true;
        broker
    }

    /// Another broker on the same messages.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self { server: Arc::clone(&self.server), ..Self::default() }
    }

    /// Ends as if its process crashed: each leased message is lost once more.
    pub async fn crash(&self) {
        self.end(1).await;
    }

    /// From now on, calls `answer` before each publish. If `answer` returns an error, the publish fails
    /// with it.
    pub fn answer(
        &self,
        answer: impl FnMut(&[(Address, Envelope)]) -> Result<(), BrokerError> + Send + 'static,
    ) {
        self.state().answer = Some(Box::new(answer));
    }

    /// Makes the next `number` publishes fail with [`BrokerError::Blocked`].
    pub fn fail_publishes(&self, number: usize) {
        let mut failures = 0..number;
        self.answer(move |_| match failures.next() {
            Some(_) => Err(BrokerError::Blocked("the test says so".to_owned())),
            None => Ok(()),
        });
    }

    /// Removes all messages that wait for a consumer or for a delay to pass. Returns them publish by
    /// publish, in the order in which they were published.
    pub fn take_calls(&self) -> Vec<Vec<(Address, Envelope)>> {
        let mut state = self.state();
        let delayed = mem::take(&mut state.delayed).into_iter();
        let mut waiting: BTreeMap<_, _> = delayed.map(|(number, (_, message))| (number, message)).collect();
        for queue in state.queues.values_mut() {
            waiting.append(&mut queue.waiting);
        }
        let mut calls = BTreeMap::<_, Vec<_>>::new();
        for message in waiting.into_values() {
            calls.entry(message.publish).or_default().push((message.address, message.envelope));
        }
        calls.into_values().collect()
    }

    /// Does the same as [`take_calls`](Self::take_calls), but returns message by message.
    pub fn take(&self) -> Vec<(Address, Envelope)> {
        self.take_calls().into_iter().flatten().collect()
    }

    /// The messages that wait in `queue`, without the leased ones.
    pub fn waiting(&self, queue: &str) -> Vec<Envelope> {
        let state = self.state();
        let queue = state.queues.get(&QueueName::stored(queue));
        queue.into_iter().flat_map(|queue| queue.waiting.values()).map(|it| it.envelope.clone()).collect()
    }

    /// Drops the messages that wait in `queue`.
    pub fn clear(&self, queue: &str) {
        if let Some(queue) = self.state().queues.get_mut(&QueueName::stored(queue)) {
            queue.waiting.clear();
        }
    }

    /// Puts a message into `queue` that was lost with its process `lost` times.
    pub fn put_redelivered(&self, queue: &str, envelope: Envelope, lost: u32) {
        let name = QueueName::stored(queue);
        self.change(|state| {
            let (publish, address) = (state.last, Address::Queue(name.clone()));
            state.put(&name, Message { publish, address, envelope, redelivered: lost > 0, lost });
        });
    }

    /// The messages that wait for a delay to pass, in the order in which they were published.
    pub fn delayed(&self) -> Vec<(Address, Envelope)> {
        let state = self.state();
        state.delayed.values().map(|(_, it)| (it.address.clone(), it.envelope.clone())).collect()
    }

    /// Lets every delay pass.
    pub fn pass_delays(&self) {
        self.change(|state| state.pass(None));
    }

    /// How many deliveries are neither acknowledged nor requeued.
    pub fn leased(&self) -> usize {
        self.state().queues.values().map(|queue| queue.leased).sum()
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.server.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut MemoryState) -> T) -> T {
        let outcome = change(&mut self.state());
        self.server.changed.notify_waiters();
        outcome
    }

    fn usable(&self) -> Result<(), BrokerError> {
        if self.ended.borrow().is_some() { Err(BrokerError::Closed) } else { Ok(()) }
    }

    async fn end(&self, lost: u32) {
        self.ended.send_replace(Some(lost));
        self.status.send_replace(BrokerStatus::Closed);
        self.ended.closed().await;
    }

    async fn feed(
        self,
        queue: QueueName,
        prefetch: u16,
        mut feed: Feed,
        mut ended: watch::Receiver<Option<u32>>,
    ) {
        let mut leases = BTreeMap::new();
        let (mut from, mut stopped) = (0, false);
        loop {
            let changed = self.server.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            while !stopped && leases.len() < usize::from(prefetch) && feed.has_room() {
                let Some((number, message)) = self.state().lease(&queue, from) else { break };
                if queue.is_stream() {
                    from = number + 1;
                }
                // A message that cannot be delivered is released through `settlements`.
                let _ = feed.deliver(number, message.envelope.clone(), message.redelivered, message.lost);
                leases.insert(number, message);
            }
            if stopped && leases.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                _ = ended.changed() => break,
                _ = &mut feed.stopped, if !stopped => stopped = true,
                Some(request) = feed.settlements.recv() => self.settle(&queue, request, &mut leases),
                () = changed => {}
            }
        }
        while let Ok(request) = feed.settlements.try_recv() {
            self.settle(&queue, request, &mut leases);
        }
        let lost = ended.borrow().unwrap_or_default();
        self.change(|state| {
            for (number, message) in leases {
                state.settle(&queue, number, Some(Message { lost: message.lost + lost, ..message }));
            }
            if let Ok(queue) = state.queue(&queue) {
                queue.consumers -= 1;
            }
        });
    }

    fn settle(&self, queue: &QueueName, request: SettleRequest, leases: &mut BTreeMap<u64, Message>) {
        let message = leases.remove(&request.tag);
        let back = message.filter(|_| request.settle == Settle::Requeue);
        self.change(|state| state.settle(queue, request.tag, back));
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        self.begun.send_modify(|begun| *begun += 1);
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        self.usable()?;
        let ends = self.change(|state| state.publish(messages))?;
        if self.state().strict {
            for end in ends {
                let broker = self.clone();
                tokio::spawn(async move {
                    sleep_until(end).await;
                    broker.change(|state| state.pass(Some(end)));
                });
            }
        }
        Ok(())
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
        let ended = self.ended.subscribe();
        self.usable()?;
        self.state().queue(queue)?.consumers += 1;
        let (consumer, feed) = subscription(queue.clone(), prefetch);
        tokio::spawn(self.clone().feed(queue.clone(), prefetch, feed, ended));
        Ok(consumer)
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        let mut state = self.state();
        for spec in topology.queues() {
            state.queues.entry(spec.name).or_default().limit = spec.limit;
        }
        Ok(())
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        self.usable()?;
        let mut state = self.state();
        let delayed = state.delayed.values().filter(|(_, it)| it.address.queue() == *queue).count() as u64;
        let queue = state.queue(queue)?;
        Ok(Depth { ready: queue.waiting.len() as u64, consumers: queue.consumers, delayed: Some(delayed) })
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.subscribe()
    }

    async fn close(&self) {
        self.end(0).await;
    }
}
