//! Which queues have messages in the spool.

use postern_broker::QueueName;
use postern_shared::clock;
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

/// What the spool holds for one queue of the broker.
#[derive(Debug)]
pub(super) struct SpoolQueue {
    queue: QueueName,
    /// The number of messages that are stored, being stored, or being forwarded.
    held: AtomicU64,
    /// When the first of them was stored (ms since 1970); 0 if that is not known, or there are none.
    oldest: AtomicU64,
    /// Whether the broker's queue is at its limit.
    full: AtomicBool,
}

impl SpoolQueue {
    pub(super) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Counts `messages` more messages.
    pub(super) fn enter(&self, messages: u64) {
        self.held.fetch_add(messages, SeqCst);
    }

    /// Counts `messages` fewer messages.
    pub(super) fn leave(&self, messages: u64) {
        // If the store was damaged, its count may have been too low.
        let _ = self.held.fetch_update(SeqCst, SeqCst, |held| Some(held.saturating_sub(messages)));
    }

    pub(super) fn set_oldest(&self, at: Option<u64>) {
        self.oldest.store(at.unwrap_or(0), SeqCst);
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, SeqCst);
    }

    /// Whether the broker's queue is at its limit. Then the spool takes no more messages for it, either.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(SeqCst)
    }
}

/// All queues that the spool has needed so far.
#[derive(Debug, Default)]
pub(super) struct SpoolQueues(RwLock<HashMap<QueueName, Arc<SpoolQueue>>>);

impl SpoolQueues {
    /// The spool's queue for `queue`. If there is none yet, makes one and calls `begin` with it.
    pub(super) fn get_or_begin(
        &self,
        queue: &QueueName,
        begin: impl FnOnce(&Arc<SpoolQueue>),
    ) -> Arc<SpoolQueue> {
        let mut spool_queues = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(spool_queue) = spool_queues.get(queue) {
            return Arc::clone(spool_queue);
        }
        let spool_queue = Arc::new(SpoolQueue {
            queue: queue.clone(),
            held: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            full: AtomicBool::new(false),
        });
        begin(&spool_queue);
        spool_queues.insert(queue.clone(), Arc::clone(&spool_queue));
        spool_queue
    }

    /// Whether the spool holds messages for `queue`.
    pub(super) fn is_busy(&self, queue: &QueueName) -> bool {
        let spool_queues = self.0.read().unwrap_or_else(PoisonError::into_inner);
        spool_queues.get(queue).is_some_and(|spool_queue| spool_queue.held.load(SeqCst) > 0)
    }

    /// How long the oldest message has waited. `None` if none waits.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let spool_queues = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = spool_queues
            .values()
            .map(|spool_queue| spool_queue.oldest.load(SeqCst))
            .filter(|at| *at > 0)
            .min()?;
        Some(Duration::from_millis(clock::now_ms().saturating_sub(oldest)))
    }
}
