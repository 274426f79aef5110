//! All queues of the store, and the state of the delayed messages.

use super::{queue::Queue, record::Position, store::Store};
use crate::sqlite::StoreError;
use postern_broker::{
    QueueName,
    topology::{QueueSpec, UNROUTED},
};
use std::collections::{BTreeSet, HashMap};

/// All queues, and the delayed messages.
#[derive(Debug, Default)]
pub(super) struct StoredQueues {
    /// The queues by index. No queue is ever removed.
    pub(super) all: Vec<Queue>,
    /// The index of each name.
    pub(super) by_name: HashMap<String, usize>,
    /// The delayed messages.
    pub(super) delayed: DelayedMessages,
}

/// The state of the delayed messages.
#[derive(Debug, Default)]
pub(super) struct DelayedMessages {
    /// How many of them will return to the queue of each name.
    pub(super) counts: HashMap<String, u64>,
    /// The id for the next delayed message.
    pub(super) next_id: i64,
    /// When the first of them is due, in milliseconds since 1970. `None` if that is not known.
    pub(super) next_due: Option<u64>,
    /// The ids of those that cannot be read from the disk.
    pub(super) unreadable: BTreeSet<i64>,
}

impl DelayedMessages {
    /// Reads the state from the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let (counts, next_id) = store.delayed()?;
        let mut unreadable = BTreeSet::new();
        let next_due = store.due(0, 0, &mut unreadable)?.next;
        Ok(Self { counts, next_id, next_due, unreadable })
    }
}

impl StoredQueues {
    /// Adds a queue of the store.
    pub(super) fn add(&mut self, queue: Queue) {
        self.by_name.insert(queue.name.clone(), self.all.len());
        self.all.push(queue);
    }

    /// Declares the queues of `specs`. Those that the store lacks are created. After an error nothing has changed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn declare(&mut self, store: &Store, specs: &[QueueSpec]) -> Result<(), StoreError> {
        let batch = store.batch()?;
        let last = self.all.iter().map(|queue| queue.position.id).max().unwrap_or_default();
        let missing = specs.iter().filter(|spec| !self.by_name.contains_key(spec.name.as_str()));
        let mut new = Vec::new();
        for (id, spec) in (last + 1..).zip(missing) {
            let position = Position { id, ..Position::default() };
            batch.set_position(spec.name.as_str(), &position)?;
            new.push(Queue::new(spec.name.to_string(), position));
        }
        batch.commit()?;
        new.into_iter().for_each(|queue| self.add(queue));
        for QueueSpec { name, limit } in specs {
            if let Some(index) = self.by_name.get(name.as_str()) {
                self.all[*index].declared = true;
                self.all[*index].limit = *limit;
            }
        }
        Ok(())
    }

    /// The indexes of the queues of `specs` that exist.
    pub(super) fn indexes(&self, specs: Vec<QueueSpec>) -> Vec<(QueueName, usize)> {
        let index = |spec: QueueSpec| Some((spec.name.clone(), *self.by_name.get(spec.name.as_str())?));
        specs.into_iter().filter_map(index).collect()
    }

    /// The index of the queue `name` if it is declared, or if it belongs to a backend and was declared once.
    /// Otherwise the index of `postern.unrouted`.
    pub(super) fn returns_to(&self, name: &str) -> usize {
        match self.by_name.get(name) {
            Some(index) if self.all[*index].declared || self.all[*index].is_outbound() => *index,
            _ => self.by_name[UNROUTED],
        }
    }
}
