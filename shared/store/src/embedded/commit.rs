//! Many changes in one write: the requests that have queued up are staged in memory and written as one batch. Only
//! then do the queues in memory change.

use super::{
    queue::WaitingRecord,
    queues::StoredQueues,
    record::{Position, Record, Spoiled},
    recording::Recording,
    store::Store,
    write::{Publish, QueueEntry, Replace, Write},
};
use crate::sqlite::StoreError;
use postern_broker::{
    BrokerError, header,
    topology::{DEAD, Overflow},
};
use postern_shared::{clock, event::Event};
use std::collections::{BTreeMap, VecDeque};

/// How many delayed messages are moved in one write.
const MOVED_AT_ONCE: usize = 256;

/// How long delayed messages that cannot be read from the disk are left alone, in milliseconds.
const UNREADABLE_MS: u64 = 60_000;

/// The staged change of one queue.
struct Change {
    position: Position,
    added: VecDeque<(u64, Record)>,
    /// Waiting messages that are evicted or replaced.
    taken: Vec<(u64, WaitingRecord)>,
}

/// Changes that are to be written.
pub(super) struct Staged {
    changes: BTreeMap<usize, Change>,
    /// New delayed messages by id: when each is due, its queue, and the message.
    delayed: BTreeMap<i64, (u64, String, Record)>,
    returned: Vec<i64>,
    /// For each queue's name: how many delayed messages are added, and how many have returned to it.
    counts: BTreeMap<String, (u64, u64)>,
    next_id: i64,
    next_due: Option<u64>,
    events: Vec<Event>,
}

/// The changes by a successful write.
#[derive(Debug, Default)]
pub(super) struct WriteChanges {
    /// The queues with something new to deliver.
    pub(super) grown: Vec<usize>,
    /// The bytes of the records that were removed.
    pub(super) removed: u64,
}

impl Staged {
    /// No changes yet.
    pub(super) fn new(queues: &StoredQueues) -> Self {
        Self {
            changes: BTreeMap::new(),
            delayed: BTreeMap::new(),
            returned: Vec::new(),
            counts: BTreeMap::new(),
            next_id: queues.delayed.next_id,
            next_due: queues.delayed.next_due,
            events: Vec::new(),
        }
    }

    fn change(&mut self, queues: &StoredQueues, index: usize) -> &mut Change {
        self.changes.entry(index).or_insert_with(|| Change {
            position: queues.all[index].position,
            added: VecDeque::new(),
            taken: Vec::new(),
        })
    }

    fn add(&mut self, queues: &StoredQueues, index: usize, record: Record) {
        let Change { position, added, .. } = self.change(queues, index);
        added.push_back((position.tail, record));
        position.tail += 1;
    }

    /// Stages one write: all of it, or nothing if a queue that refuses would overflow. Returns the numbers of the
    /// messages that were to be replaced but do not wait any more.
    pub(super) fn admit(
        &mut self,
        queues: &mut StoredQueues,
        store: &Store,
        write: Write,
    ) -> Result<Vec<u64>, BrokerError> {
        match write {
            Write::Publish(publish) => {
                self.has_room(queues, &publish.entries)?;
                self.publish(queues, publish);
                Ok(Vec::new())
            }
            Write::Replace(replace) => self.replace(queues, store, replace),
        }
    }

    fn replace(
        &mut self,
        queues: &mut StoredQueues,
        store: &Store,
        Replace { queue: index, messages }: Replace,
    ) -> Result<Vec<u64>, BrokerError> {
        let (mut gone, mut there) = (Vec::new(), Vec::new());
        for (number, publish) in messages {
            match queues.all[index].waiting(store, number) {
                Some(known) => there.push((number, known, publish)),
                None => gone.push(number),
            }
        }
        self.has_room(queues, there.iter().flat_map(|(.., publish)| &publish.entries))?;
        for (number, known, publish) in there {
            queues.all[index].take_out(number);
            self.change(queues, index).taken.push((number, known));
            self.publish(queues, publish);
        }
        Ok(gone)
    }

    /// Checks that no queue that refuses would overflow by `entries`.
    ///
    /// # Errors
    /// [`BrokerError::Full`]
    fn has_room<'e>(
        &self,
        queues: &StoredQueues,
        entries: impl IntoIterator<Item = &'e QueueEntry>,
    ) -> Result<(), BrokerError> {
        let mut more: BTreeMap<usize, u64> = BTreeMap::new();
        for entry in entries {
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
                    "{} has reached its limit of {} messages",
                    queue.name, limit.messages
                )));
            }
        }
        Ok(())
    }

    fn publish(&mut self, queues: &StoredQueues, Publish { entries, events }: Publish) {
        self.events.extend(events);
        for entry in entries {
            match entry {
                QueueEntry::Now(index, record) => self.add(queues, index, record),
                QueueEntry::Later(due, queue, record) => self.delay(due, queue, record),
            }
        }
    }

    fn delay(&mut self, due: u64, queue: String, record: Record) {
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        self.counts.entry(queue.clone()).or_default().0 += 1;
        self.delayed.insert(self.next_id, (due, queue, record));
        self.next_id = self.next_id.saturating_add(1);
    }

    /// Moves delayed messages that are due into their queues, regardless of the queues' limits. Must be called
    /// before [`admit`](Self::admit), which may add messages that are due earlier.
    pub(super) fn move_due(&mut self, queues: &mut StoredQueues, store: &Store, now: u64) {
        if queues.delayed.next_due.is_none_or(|due| due > now) {
            return;
        }
        let due = match store.due(now, MOVED_AT_ONCE, &mut queues.delayed.unreadable) {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(
                    %error,
                    "delayed messages cannot be read from the disk, retrying: check the disk"
                );
                self.next_due = Some(now + UNREADABLE_MS);
                return;
            }
        };
        self.next_due = due.next;
        for message in due.messages {
            let (index, record) = match message.envelope {
                Ok(envelope) => (queues.returns_to(&message.queue), Record::of(envelope)),
                Err(found) => {
                    let error = found.why;
                    tracing::error!(%error, "a delayed message cannot be decoded: dead-lettered");
                    (queues.by_name[DEAD], dead_letter("the delayed messages", found))
                }
            };
            self.add(queues, index, record);
            self.returned.push(message.id);
            self.counts.entry(message.queue).or_default().1 += 1;
        }
    }

    /// Turns undecodable records into dead letters, and stages the removal of acknowledged messages.
    pub(super) fn settle(&mut self, queues: &StoredQueues) {
        for (index, queue) in queues.all.iter().enumerate().filter(|(_, queue)| queue.dirty()) {
            self.change(queues, index);
            for found in queue.spoiled.values() {
                self.add(queues, queues.by_name[DEAD], dead_letter(&queue.name, found.clone()));
            }
        }
    }

    /// Drops the oldest messages of queues that would hold too many. Must be called before
    /// [`settle`](Self::settle), since it may find undecodable records.
    pub(super) fn evict(&mut self, queues: &mut StoredQueues, store: &Store) {
        for (index, change) in &mut self.changes {
            let queue = &mut queues.all[*index];
            let Some(limit) = queue.limit.filter(|limit| limit.overflow == Overflow::DropOldest) else {
                continue;
            };
            while queue.kept() + change.added.len() as u64 > limit.messages + change.taken.len() as u64 {
                match queue.evict(store) {
                    Some(oldest) => change.taken.push(oldest),
                    None if change.added.pop_front().is_some() => {}
                    None => break,
                }
            }
        }
    }

    /// When the first delayed message will be due after this write.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.next_due
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.delayed.is_empty()
            && self.returned.is_empty()
            && self.events.is_empty()
    }

    /// Writes everything durably, and then changes `queues`. After an error, `queues` are as before the
    /// publishes, and settlements still have to be written.
    pub(super) fn write(
        mut self,
        queues: &mut StoredQueues,
        store: &Store,
        recording: Option<&Recording>,
    ) -> Result<WriteChanges, StoreError> {
        let outcome = self.commit(queues, store, recording);
        let mut written = WriteChanges::default();
        match &outcome {
            Ok(()) => self.take_over(queues, &mut written),
            Err(_) => self.take_back(queues),
        }
        outcome.map(|()| written)
    }

    fn commit(
        &mut self,
        queues: &StoredQueues,
        store: &Store,
        recording: Option<&Recording>,
    ) -> Result<(), StoreError> {
        let mut batch = store.batch()?;
        let events = std::mem::take(&mut self.events);
        // The events come first, while the transaction holds nothing else: if the log's tables refuse them, the
        // transaction is rolled back. A savepoint would add a tenth to the cost of a message's events.
        let recorded = match recording.filter(|_| !events.is_empty()) {
            Some(recording) if batch.record(recording, &events)? => Some(recording),
            Some(_) => {
                drop(batch);
                batch = store.batch()?;
                None
            }
            None => None,
        };
        for (index, change) in &mut self.changes {
            let (queue, position) = (&queues.all[*index], &mut change.position);
            (position.count, position.bytes) = (queue.position.count, queue.position.bytes);
            for (sequence, record) in std::mem::take(&mut change.added) {
                position.count += 1;
                position.bytes += record.size();
                batch.put(position.id, sequence, &record)?;
            }
            let settled = queue.settled.iter().map(|(sequence, known)| (*sequence, known.size));
            let spoiled = queue.spoiled.iter().map(|(sequence, found)| (*sequence, found.size));
            let taken = change.taken.iter().map(|(sequence, known)| (*sequence, known.size));
            for (sequence, size) in settled.chain(spoiled).chain(taken) {
                if queue.is_noted(sequence) {
                    batch.note_lease((position.id, sequence, 0))?;
                }
                position.count = position.count.saturating_sub(1);
                position.bytes = position.bytes.saturating_sub(size);
                batch.remove(position.id, sequence)?;
            }
            position.handed = queue.handed();
            batch.set_position(&queue.name, position)?;
        }
        self.returned.iter().try_for_each(|id| batch.remove_delayed(*id))?;
        for (id, (due, queue, record)) in std::mem::take(&mut self.delayed) {
            batch.put_delayed(id, due, &queue, &record)?;
        }
        for queue in self.counts.keys() {
            batch.set_delayed_count(queue, self.delayed_count(queues, queue))?;
        }
        batch.commit()?;
        if let Some(recording) = recorded {
            recording.wrote(events.len() as u64);
        }
        Ok(())
    }

    /// How many delayed messages will return to `queue` after this write.
    fn delayed_count(&self, queues: &StoredQueues, queue: &str) -> u64 {
        let before = queues.delayed.counts.get(queue).copied().unwrap_or_default();
        let (more, returned) = self.counts.get(queue).copied().unwrap_or_default();
        (before + more).saturating_sub(returned)
    }

    fn take_over(self, queues: &mut StoredQueues, written: &mut WriteChanges) {
        for queue in self.counts.keys() {
            let count = self.delayed_count(queues, queue);
            queues.delayed.counts.insert(queue.clone(), count);
        }
        queues.delayed.next_id = self.next_id;
        queues.delayed.next_due = self.next_due;
        for (index, change) in self.changes {
            let queue = &mut queues.all[index];
            let before = queue.position;
            queue.position = change.position;
            if change.position.tail > before.tail {
                written.grown.push(index);
            }
            let sizes = queue.settled.values().chain(change.taken.iter().map(|(_, known)| known));
            written.removed += sizes.map(|known| known.size).sum::<u64>();
            written.removed += queue.spoiled.values().map(|found| found.size).sum::<u64>();
            let gone = change.taken.iter().map(|(sequence, _)| *sequence);
            let gone = gone.chain(std::mem::take(&mut queue.settled).into_keys());
            gone.chain(std::mem::take(&mut queue.spoiled).into_keys())
                .for_each(|sequence| queue.forget(sequence));
        }
    }

    fn take_back(self, queues: &mut StoredQueues) {
        for (index, change) in self.changes {
            for (sequence, known) in change.taken {
                queues.all[index].put_back(sequence, known);
            }
        }
    }
}

/// The dead letter for a message of `queue` that cannot be decoded.
fn dead_letter(queue: &str, found: Spoiled) -> Record {
    let now = clock::Written(clock::now()).to_string();
    Record::of(found.dead_letter(queue).with(header::DEAD_AT, &*now))
}
