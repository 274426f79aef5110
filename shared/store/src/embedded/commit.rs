//! Many changes, one write: what has queued up is laid out in memory, written as one batch, and
//! only then taken over.

use super::{
    queue::{Known, Queue},
    record::{self, Position, Waiting},
    store::Store,
    store_error::StoreError,
};
use bytes::Bytes;
use postern_broker::{
    BrokerError, Envelope, HeaderValue, header,
    topology::{DEAD, Overflow, UNROUTED},
};
use postern_shared::clock;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many delayed messages are moved in one write.
const MOVED_AT_ONCE: usize = 256;

/// How long delayed messages that the disk does not give are left alone.
const UNREADABLE_MS: u64 = 60_000;

/// A message with its way, ready to be stored.
#[derive(Debug)]
pub(super) enum QueueEntry {
    /// Into the queue of this index.
    Now(usize, Vec<u8>),
    /// Into the delayed messages, due at this time (ms since 1970).
    Later(u64, Vec<u8>),
}

impl QueueEntry {
    /// The bytes of its record.
    pub(super) fn size(&self) -> usize {
        let (Self::Now(_, record) | Self::Later(_, record)) = self;
        record.len()
    }
}

/// All queues, and the delayed messages.
#[derive(Debug, Default)]
pub(super) struct StoredQueues {
    /// By index; none is ever removed.
    pub(super) all: Vec<Queue>,
    /// The index of each name.
    pub(super) by_name: HashMap<String, usize>,
    /// The delayed messages.
    pub(super) waiting: Waiting,
    /// How many of them return to the queue of each name.
    pub(super) delayed: HashMap<String, u64>,
    /// The key of the first delayed message, as far as known.
    pub(super) next_due: Option<(u64, u64)>,
}

/// What becomes of one queue.
struct Change {
    position: Position,
    added: VecDeque<(u64, Vec<u8>)>,
    evicted: Vec<(u64, Known)>,
}

/// Changes on their way into the store.
pub(super) struct Staged {
    changes: BTreeMap<usize, Change>,
    waiting: Waiting,
    delayed: Vec<((u64, u64), Vec<u8>)>,
    returned: Vec<(u64, u64)>,
    /// How many more delayed messages return to the queue of each name, and how many have.
    counts: BTreeMap<String, (u64, u64)>,
    next_due: Option<(u64, u64)>,
}

/// What a successful write changed.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// StoredQueues with something new to deliver.
    pub(super) grown: Vec<usize>,
    /// Bytes of the records that were removed.
    pub(super) removed: u64,
}

impl Staged {
    /// Nothing yet.
    pub(super) fn new(queues: &StoredQueues) -> Self {
        Self {
            changes: BTreeMap::new(),
            waiting: queues.waiting,
            delayed: Vec::new(),
            returned: Vec::new(),
            counts: BTreeMap::new(),
            next_due: queues.next_due,
        }
    }

    fn change(&mut self, queues: &StoredQueues, index: usize) -> &mut Change {
        self.changes.entry(index).or_insert_with(|| Change {
            position: queues.all[index].position,
            added: VecDeque::new(),
            evicted: Vec::new(),
        })
    }

    fn add(&mut self, queues: &StoredQueues, index: usize, record: Vec<u8>) {
        let Change { position, added, .. } = self.change(queues, index);
        added.push_back((position.tail, record));
        position.tail += 1;
    }

    /// Takes one publish: all of it, or nothing where a queue that refuses would overflow.
    pub(super) fn admit(
        &mut self,
        queues: &StoredQueues,
        entries: Vec<QueueEntry>,
    ) -> Result<(), BrokerError> {
        let mut more: BTreeMap<usize, u64> = BTreeMap::new();
        for entry in &entries {
            if let QueueEntry::Now(index, _) = entry {
                *more.entry(*index).or_default() += 1;
            }
        }
        for (index, more) in more {
            let queue = &queues.all[index];
            let staged = self.changes.get(&index).map_or(0, |change| change.added.len() as u64);
            if let Some(limit) = queue.limit
                && limit.overflow == Overflow::Refuse
                && queue.kept() + staged + more > limit.messages
            {
                return Err(BrokerError::Full(format!(
                    "{} holds its limit of {} messages",
                    queue.name, limit.messages
                )));
            }
        }
        for entry in entries {
            match entry {
                QueueEntry::Now(index, record) => self.add(queues, index, record),
                QueueEntry::Later(due, record) => self.delay(due, record),
            }
        }
        Ok(())
    }

    fn delay(&mut self, due: u64, record: Vec<u8>) {
        let key = (due, self.waiting.tail);
        self.waiting.tail += 1;
        self.waiting.count += 1;
        self.waiting.from = self.waiting.from.min(key);
        self.next_due = Some(self.next_due.map_or(key, |next| next.min(key)));
        if let Some(queue) = record::delayed_queue(&record) {
            self.counts.entry(queue).or_default().0 += 1;
        }
        self.delayed.push((key, record));
    }

    /// Moves delayed messages that are due into their queues, whatever limit those have. To be called
    /// before [`admit`](Self::admit), which may add earlier ones.
    pub(super) fn move_due(&mut self, queues: &StoredQueues, store: &Store, now: u64) {
        if queues.next_due.is_none_or(|(due, _)| due > now) {
            return;
        }
        let due = match store.due(queues.waiting.from, now, MOVED_AT_ONCE) {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(
                    ?error,
                    "the delayed messages cannot be read from the disk; they stay, and it is tried again: check the disk"
                );
                self.next_due = Some((now + UNREADABLE_MS, 0));
                return;
            }
        };
        self.next_due = due.next;
        for (key, record) in due.records {
            let (index, record) = match record::decode_delayed(record.clone()) {
                Ok((name, message)) => {
                    let index = queues.returns_to(&name);
                    self.counts.entry(name).or_default().1 += 1;
                    (index, message.into())
                }
                Err(error) => {
                    tracing::error!(%error, "a delayed message cannot be decoded; it becomes a dead letter");
                    (queues.by_name[DEAD], spoiled("the delayed messages", record))
                }
            };
            self.add(queues, index, record);
            self.returned.push(key);
            self.waiting.count = self.waiting.count.saturating_sub(1);
        }
        // Below the next one nothing is left; without one, below the next to be added in this time.
        self.waiting.from = self.next_due.unwrap_or((now, 0));
    }

    /// Turns undecodable records into dead letters, and takes note of what was acked.
    pub(super) fn settle(&mut self, queues: &StoredQueues) {
        for (index, queue) in queues.all.iter().enumerate().filter(|(_, queue)| queue.dirty()) {
            self.change(queues, index);
            for record in queue.spoiled.values() {
                self.add(queues, queues.by_name[DEAD], spoiled(&queue.name, record.clone()));
            }
        }
    }

    /// Lets the oldest go where a queue would hold too many. To be called before
    /// [`settle`](Self::settle), since it may come upon undecodable records.
    pub(super) fn evict(&mut self, queues: &mut StoredQueues, store: &Store) {
        for (index, change) in &mut self.changes {
            let queue = &mut queues.all[*index];
            let Some(limit) = queue.limit.filter(|limit| limit.overflow == Overflow::DropOldest) else {
                continue;
            };
            while queue.kept() + change.added.len() as u64 > limit.messages + change.evicted.len() as u64 {
                match queue.evict(store) {
                    Some(oldest) => change.evicted.push(oldest),
                    None if change.added.pop_front().is_some() => {}
                    None => break,
                }
            }
        }
    }

    /// The key of the first delayed message when this is written.
    pub(super) fn next_due(&self) -> Option<(u64, u64)> {
        self.next_due
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.delayed.is_empty() && self.returned.is_empty()
    }

    /// Writes everything, durably, and takes it over into `queues`; after an error `queues` are as
    /// they were before the publishes, and what was settled still is to be written.
    pub(super) fn write(mut self, queues: &mut StoredQueues, store: &Store) -> Result<Written, StoreError> {
        let outcome = self.commit(queues, store);
        let mut written = Written::default();
        match &outcome {
            Ok(()) => self.take_over(queues, &mut written),
            Err(_) => self.take_back(queues),
        }
        outcome.map(|()| written)
    }

    fn commit(&mut self, queues: &StoredQueues, store: &Store) -> Result<(), StoreError> {
        let mut batch = store.batch();
        for (index, change) in &mut self.changes {
            let (queue, position) = (&queues.all[*index], &mut change.position);
            (position.count, position.bytes) = (queue.position.count, queue.position.bytes);
            for (sequence, record) in std::mem::take(&mut change.added) {
                position.count += 1;
                position.bytes += record.len() as u64;
                store.put(&mut batch, position.id, sequence, record);
            }
            let settled = queue.settled.iter().map(|(sequence, known)| (*sequence, known.size));
            let spoiled = queue.spoiled.iter().map(|(sequence, record)| (*sequence, record.len() as u64));
            let evicted = change.evicted.iter().map(|(sequence, known)| (*sequence, known.size));
            for (sequence, size) in settled.chain(spoiled).chain(evicted) {
                if queue.is_noted(sequence) {
                    store.note_lease(&mut batch, (position.id, sequence, 0));
                }
                position.count = position.count.saturating_sub(1);
                position.bytes = position.bytes.saturating_sub(size);
                store.remove(&mut batch, position.id, sequence);
            }
            position.head = queue.lowest();
            position.handed = queue.handed();
            store.set_position(&mut batch, &queue.name, position);
        }
        if !self.delayed.is_empty() || !self.returned.is_empty() {
            self.returned.iter().for_each(|key| store.remove_delayed(&mut batch, *key));
            std::mem::take(&mut self.delayed)
                .into_iter()
                .for_each(|(key, record)| store.put_delayed(&mut batch, key, record));
            store.set_waiting(&mut batch, &self.waiting);
        }
        store.commit(batch)
    }

    fn take_over(self, queues: &mut StoredQueues, written: &mut Written) {
        for (index, change) in self.changes {
            let queue = &mut queues.all[index];
            let before = queue.position;
            queue.position = change.position;
            if change.position.tail > before.tail {
                written.grown.push(index);
            }
            let sizes = queue.settled.values().chain(change.evicted.iter().map(|(_, known)| known));
            written.removed += sizes.map(|known| known.size).sum::<u64>();
            written.removed += queue.spoiled.values().map(|record| record.len() as u64).sum::<u64>();
            let gone = change.evicted.iter().map(|(sequence, _)| *sequence);
            let gone = gone.chain(std::mem::take(&mut queue.settled).into_keys());
            gone.chain(std::mem::take(&mut queue.spoiled).into_keys())
                .for_each(|sequence| queue.forget(sequence));
        }
        queues.waiting = self.waiting;
        queues.next_due = self.next_due;
        for (queue, (more, returned)) in self.counts {
            let count = queues.delayed.entry(queue).or_default();
            *count = (*count + more).saturating_sub(returned);
        }
    }

    fn take_back(self, queues: &mut StoredQueues) {
        for (index, change) in self.changes {
            for (sequence, known) in change.evicted {
                queues.all[index].put_back(sequence, known);
            }
        }
    }
}

/// How many delayed messages, from the key `from` on, return to the queue of each name.
///
/// # Errors
/// The disk does not give them.
pub(super) fn count_delayed(store: &Store, from: (u64, u64)) -> Result<HashMap<String, u64>, StoreError> {
    let (mut counts, mut next) = (HashMap::new(), Some(from));
    while let Some(from) = next {
        let due = store.due(from, u64::MAX, MOVED_AT_ONCE)?;
        for queue in due.records.iter().filter_map(|(_, record)| record::delayed_queue(record)) {
            *counts.entry(queue).or_default() += 1;
        }
        next = due.next;
    }
    Ok(counts)
}

impl StoredQueues {
    /// The index of the queue `name`, if it is declared or a backend's that was declared once, else that of
    /// `postern.unrouted`.
    fn returns_to(&self, name: &str) -> usize {
        match self.by_name.get(name) {
            Some(index) if self.all[*index].declared || self.all[*index].is_outbound() => *index,
            _ => self.by_name[UNROUTED],
        }
    }
}

/// A dead letter around a record that cannot be decoded.
fn spoiled(queue: &str, record: Bytes) -> Vec<u8> {
    let now = clock::Written(clock::now()).to_string();
    let reason = "its stored record cannot be decoded; the body is the record as it was found";
    let mut envelope = Envelope { body: record, ..Envelope::default() };
    for (name, value) in [
        (header::REASON, reason),
        (header::CLASS, "permanent"),
        (header::CODE, "undecodable"),
        (header::QUEUE, queue),
        (header::DEAD_AT, &*now),
    ] {
        envelope.headers.insert(name.to_owned(), HeaderValue::from(value));
    }
    record::encode(&envelope)
}
