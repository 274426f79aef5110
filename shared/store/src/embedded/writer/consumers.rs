//! The consumers of the queues: which consumer gets which messages and holds them until they are settled.

use super::super::{op::NewConsumer, queue::Leased, store::Note};
use super::{QueueConsumer, Writer};
use postern_broker::{Settle, SettleRequest};
use std::collections::HashMap;

impl Writer {
    pub(super) fn add_consumer(&mut self, NewConsumer { id, queue, prefetch, out }: NewConsumer) {
        // Dropping `out` ends the consumer's task.
        if self.closing.is_none() {
            self.consumers.insert(id, QueueConsumer { queue, prefetch, leases: 0, stopping: false, out });
            self.queues.all[queue].consumers.push_back(id);
            self.ready.insert(queue);
        }
    }

    pub(super) fn settle(&mut self, id: u64, settlements: &[SettleRequest]) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let queue = &mut self.queues.all[consumer.queue];
        for settlement in settlements {
            if queue.settle(id, settlement.tag, settlement.settle == Settle::Ack) {
                consumer.leases = consumer.leases.saturating_sub(1);
            }
        }
        self.ready.insert(consumer.queue);
    }

    pub(super) fn stop(&mut self, id: u64) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.stopping = true;
        self.queues.all[consumer.queue].consumers.retain(|other| *other != id);
    }

    pub(super) fn end(&mut self, id: u64) {
        self.stop(id);
        if let Some(consumer) = self.consumers.remove(&id) {
            self.queues.all[consumer.queue].release_all(id);
            self.ready.insert(consumer.queue);
        }
    }

    /// Delivers the waiting messages to the consumers that have room, in turn.
    pub(super) fn deliver(&mut self) {
        let Some(store) = &self.store else { return };
        if self.closing.is_some() {
            return;
        }
        let mut out: HashMap<u64, Vec<Leased>> = HashMap::new();
        let touched = std::mem::take(&mut self.ready);
        for index in touched.iter().copied() {
            let queue = &mut self.queues.all[index];
            let mut passed_over = 0;
            while passed_over < queue.consumers.len()
                && let Some(id) = queue.consumers.pop_front()
            {
                queue.consumers.push_back(id);
                let Some(consumer) = self.consumers.get_mut(&id).filter(|one| one.leases < one.prefetch)
                else {
                    passed_over += 1;
                    continue;
                };
                let Some(leased) = queue.lease(store, id) else { break };
                consumer.leases += 1;
                passed_over = 0;
                out.entry(id).or_default().push(leased);
            }
        }
        let notes: Vec<Note> = touched.into_iter().flat_map(|index| self.queues.all[index].notes()).collect();
        let noted = store.note_leases(notes);
        for (id, leased) in out {
            // If the task is gone, its `Ended` is on the way.
            let _ = self.consumers[&id].out.send(leased);
        }
        if let Err(store_error) = noted {
            self.fail(store_error, []);
        }
    }

    /// Removes consumers that stopped and hold nothing, after their acks are stored.
    pub(super) fn finish_consumers(&mut self) {
        let queues = &self.queues.all;
        self.consumers.retain(|_, one| !one.stopping || one.leases > 0 || queues[one.queue].dirty());
    }
}
