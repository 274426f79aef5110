//! What a broker in memory holds: queues with their waiting and leased messages, and delays.

use crate::{
    Address, BrokerError, Envelope, QueueName,
    topology::{Overflow, QueueLimit},
};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Decides whether a publish fails.
type PublishAnswer = dyn FnMut(&[(Address, Envelope)]) -> Result<(), BrokerError> + Send;

/// A stored message.
#[derive(Clone)]
pub(super) struct Message {
    /// The number of the publish that it came with.
    pub(super) publish: u64,
    pub(super) address: Address,
    pub(super) envelope: Envelope,
    pub(super) redelivered: bool,
    /// How often it was lost with a process.
    pub(super) lost: u32,
}

#[derive(Default)]
pub(super) struct MemoryQueue {
    pub(super) limit: Option<QueueLimit>,
    /// By number, so that a message that is requeued has its old place.
    pub(super) waiting: BTreeMap<u64, Message>,
    pub(super) leased: usize,
    pub(super) consumers: u32,
}

impl MemoryQueue {
    /// Whether the queue is at its limit, at which it does what `with` says.
    fn overflows(&self, with: Overflow) -> bool {
        self.limit.is_some_and(|limit| limit.overflow == with && self.waiting.len() as u64 >= limit.messages)
    }
}

#[derive(Default)]
pub(super) struct MemoryState {
    /// Whether a queue must be declared, and delays pass by themselves.
    pub(super) strict: bool,
    pub(super) answer: Option<Box<PublishAnswer>>,
    pub(super) queues: BTreeMap<QueueName, MemoryQueue>,
    /// By number, with the end of the delay.
    pub(super) delayed: BTreeMap<u64, (Instant, Message)>,
    /// The number of the message that was stored last.
    pub(super) last: u64,
}

impl MemoryState {
    pub(super) fn queue(&mut self, name: &QueueName) -> Result<&mut MemoryQueue, BrokerError> {
        if !self.strict || name.is_stream() {
            self.queues.entry(name.clone()).or_default();
        }
        self.queues.get_mut(name).ok_or_else(|| BrokerError::Refused(format!("nobody declared {name}")))
    }

    /// The queue that messages to `name` come to.
    fn reached(&mut self, name: &QueueName) -> &mut MemoryQueue {
        let name = if self.queue(name).is_ok() { name.clone() } else { QueueName::unrouted() };
        self.queues.entry(name).or_default()
    }

    pub(super) fn put(&mut self, name: &QueueName, message: Message) {
        self.last += 1;
        let number = self.last;
        let queue = self.reached(name);
        if queue.overflows(Overflow::DropOldest) {
            queue.waiting.pop_first();
        }
        queue.waiting.insert(number, message);
    }

    /// Stores all of `messages` or none. Returns the ends of the delays.
    pub(super) fn publish(
        &mut self,
        messages: Vec<(Address, Envelope)>,
    ) -> Result<Vec<Instant>, BrokerError> {
        if let Some(answer) = &mut self.answer {
            answer(&messages)?;
        }
        for (address, _) in &messages {
            let (name, is_delayed) = (address.queue(), matches!(address, Address::Later { .. }));
            if !is_delayed && self.reached(&name).overflows(Overflow::Refuse) {
                return Err(BrokerError::Full(name.to_string()));
            }
        }
        let (publish, mut ends) = (self.last, Vec::new());
        for (address, envelope) in messages {
            let to = address.clone();
            let message = Message { publish, address, envelope, redelivered: false, lost: 0 };
            if let Address::Later { delay, .. } = to {
                self.last += 1;
                let end = Instant::now() + delay;
                self.delayed.insert(self.last, (end, message));
                ends.push(end);
            } else {
                self.put(&to.queue(), message);
            }
        }
        Ok(ends)
    }

    /// Lets the delays pass that end at `until` or before, or all if that is `None`.
    pub(super) fn pass(&mut self, until: Option<Instant>) {
        let is_over = |end: Instant| until.is_none_or(|until| end <= until);
        let over = self.delayed.extract_if(.., |_, (end, _)| is_over(*end));
        let mut over: Vec<_> = over.map(|(_, delayed)| delayed).collect();
        over.sort_by_key(|(end, _)| *end);
        for (_, message) in over {
            self.put(&message.address.queue(), message);
        }
    }

    /// Leases the first message that waits from the number `from` on. A record of a stream stays where it is.
    pub(super) fn lease(&mut self, name: &QueueName, from: u64) -> Option<(u64, Message)> {
        let queue = self.queues.get_mut(name)?;
        let (number, message) = queue.waiting.range(from..).next()?;
        let lease = (*number, message.clone());
        if !name.is_stream() {
            queue.waiting.remove(&lease.0);
            queue.leased += 1;
        }
        Some(lease)
    }

    /// Ends the lease of the message `number`. If `back` is given, the message gets its old place again.
    pub(super) fn settle(&mut self, name: &QueueName, number: u64, back: Option<Message>) {
        if let Some(queue) = self.queues.get_mut(name).filter(|_| !name.is_stream()) {
            queue.leased -= 1;
            queue.waiting.extend(back.map(|message| (number, Message { redelivered: true, ..message })));
        }
    }
}
