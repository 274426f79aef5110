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

/// What of one queue's is in the spool.
#[derive(Debug)]
pub(super) struct SpoolQueue {
    queue: QueueName,
    /// Messages that are stored, being stored, or being forwarded.
    held: AtomicU64,
    /// When the first of them was stored (ms since 1970); 0: not known, or none.
    oldest: AtomicU64,
    /// Whether the broker's queue is at its limit.
    full: AtomicBool,
}

impl SpoolQueue {
    pub(super) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// So many more.
    pub(super) fn enter(&self, messages: u64) {
        self.held.fetch_add(messages, SeqCst);
    }

    /// So many fewer.
    pub(super) fn leave(&self, messages: u64) {
        // More than were counted come where the store counted wrongly: it was damaged.
        let _ = self.held.fetch_update(SeqCst, SeqCst, |held| Some(held.saturating_sub(messages)));
    }

    pub(super) fn set_oldest(&self, at: Option<u64>) {
        self.oldest.store(at.unwrap_or(0), SeqCst);
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, SeqCst);
    }

    /// Whether the broker's queue is at its limit: then it takes no more here either.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(SeqCst)
    }
}

/// All queues of the spool that were ever needed.
#[derive(Debug, Default)]
pub(super) struct SpoolQueues(RwLock<HashMap<QueueName, Arc<SpoolQueue>>>);

impl SpoolQueues {
    /// The spool's queue for `queue`; where there is none yet, a new one that was given to `begin`.
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

    /// Whether something of `queue`'s is in the spool.
    pub(super) fn is_busy(&self, queue: &QueueName) -> bool {
        let spool_queues = self.0.read().unwrap_or_else(PoisonError::into_inner);
        spool_queues.get(queue).is_some_and(|spool_queue| spool_queue.held.load(SeqCst) > 0)
    }

    /// For how long the oldest message has waited.
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
