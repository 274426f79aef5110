//! The stream `postern.control`: a queue of the store from which nothing is removed. All of it is in memory.

use super::{
    queue::Queue,
    queues::StoredQueues,
    record::StoredMessage,
    store::{Chunk, Range, Store},
};
use crate::sqlite::StoreError;
use postern_broker::{BrokerStatus, Envelope, Feed, topology::CONTROL};
use std::{collections::HashSet, future::Future, sync::Arc};
use tokio::sync::watch;

/// No limit for the messages and bytes that are read together.
const ALL: (usize, u64) = (usize::MAX, u64::MAX);

/// The records of the stream `postern.control`. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    records: watch::Sender<Records>,
}

/// The records that were read from the store.
#[derive(Debug, Default)]
struct Records {
    /// The records, oldest first.
    envelopes: Arc<Vec<Envelope>>,
    /// The number of the first record that was not read.
    next: u64,
}

impl Log {
    /// Reads the stream's records from `queue`. A record that cannot be decoded is skipped.
    ///
    /// # Errors
    /// The records cannot be read from the disk.
    pub(super) fn read(store: &Store, queue: &Queue) -> Result<Self, StoreError> {
        let position = queue.position;
        let all = Range { id: position.id, from: 0, to: position.tail };
        let chunk = store.read(all, ALL).map_err(|error| StoreError::sqlite("cannot be read", &error))?;
        let log = Self::default();
        log.add(queue, chunk.messages);
        Ok(log)
    }

    /// Delivers the records that were stored since the last call to the stream's consumers. The writer calls this
    /// after each write, so that a record takes effect even if its publisher has given up.
    pub(super) fn catch_up(&self, store: &Store, queues: &StoredQueues) {
        let Some(queue) = queues.by_name.get(CONTROL).map(|index| &queues.all[*index]) else { return };
        let (next, position) = (self.records.borrow().next, queue.position);
        if next == position.tail {
            return;
        }
        let new = Range { id: position.id, from: next, to: position.tail };
        let Chunk { messages, unreadable, .. } = store.read_past_damage(new, ALL);
        if let Some((numbers, error)) = unreadable {
            tracing::error!(
                queue = queue.name,
                records = numbers.len(),
                %error,
                "records cannot be read from the disk, ignored until the next start: check the disk"
            );
        }
        self.add(queue, messages);
    }

    /// Adds `messages`, all records of `queue` that were not read yet. A record that cannot be decoded is
    /// skipped.
    fn add(&self, queue: &Queue, messages: Vec<StoredMessage>) {
        let decoded = messages.into_iter().filter_map(|StoredMessage { number, envelope, .. }| {
            envelope
                .inspect_err(|found| tracing::error!(queue = queue.name, number, error = %found.why, "record cannot be decoded, ignored"))
                .ok()
        });
        let decoded: Vec<_> = decoded.collect();
        self.records.send_modify(|records| {
            Arc::make_mut(&mut records.envelopes).extend(decoded);
            records.next = queue.position.tail;
        });
    }

    /// Delivers every record to one consumer, with at most `prefetch` of them unsettled, until the consumer
    /// wants no more or the broker is closed.
    pub(super) fn feed(
        &self,
        mut feed: Feed,
        prefetch: usize,
        mut status: watch::Receiver<BrokerStatus>,
    ) -> impl Future<Output = ()> + use<> {
        let mut records = self.records.subscribe();
        async move {
            let (mut next, mut held, mut stopped) = (0, HashSet::new(), false);
            loop {
                let known = Arc::clone(&records.borrow_and_update().envelopes);
                while !stopped
                    && held.len() < prefetch
                    && feed.has_room()
                    && let Some(record) = known.get(next)
                {
                    held.insert(next as u64);
                    // A record that cannot be delivered is settled through `settlements`.
                    let _ = feed.deliver(next as u64, record.clone(), false, 0);
                    next += 1;
                }
                if stopped && held.is_empty() {
                    return;
                }
                tokio::select! {
                    _told = &mut feed.stopped, if !stopped => stopped = true,
                    Some(settled) = feed.settlements.recv() => drop(held.remove(&settled.tag)),
                    changed = records.changed(), if !stopped => if changed.is_err() { return },
                    _ = status.wait_for(|status| *status == BrokerStatus::Closed) => return,
                }
            }
        }
    }
}
