//! Stores the messages that the broker did not take, if there is room.

use super::{Core, Counters, queue::SpoolQueue, routing_headers};
use crate::embedded::stored_bytes;
use postern_broker::{Address, BrokerError, Envelope};
use postern_shared::clock;
use std::{sync::Arc, time::Instant};
use tokio::time::timeout;

impl Core {
    /// Stores `messages`. `why` says why the broker did not take them.
    pub(super) async fn store(
        self: &Arc<Self>,
        messages: Vec<(Address, Envelope)>,
        why: String,
    ) -> Result<(), BrokerError> {
        let count = messages.len();
        let stored = match self.reserve(&messages) {
            Ok(spool_queues) => self.store_reserved(messages, spool_queues).await,
            Err(refused) => Err(refused),
        };
        stored.map_err(|refused| {
            Counters::add(&self.counters.refused, count);
            match refused {
                // The messages may still be stored.
                BrokerError::TimedOut(_) | BrokerError::Closed => refused,
                refused => BrokerError::Blocked(format!("{why}; {refused}")),
            }
        })
    }

    /// Reserves room for `messages`. Later messages for their queues are stored behind them.
    fn reserve(
        self: &Arc<Self>,
        messages: &[(Address, Envelope)],
    ) -> Result<Vec<Arc<SpoolQueue>>, BrokerError> {
        let spool_queues: Vec<_> =
            messages.iter().map(|(address, _)| self.spool_queue(&self.waiting_place(address))).collect();
        if let Some(full) = spool_queues.iter().find(|spool_queue| spool_queue.is_full()) {
            return Err(BrokerError::Full(full.queue().to_string()));
        }
        let bytes =
            messages.iter().map(|(address, envelope)| routing_headers::stored_bytes(address, envelope)).sum();
        let reserved = self.usage.reserve(messages.len() as u64, bytes);
        reserved.map_err(|limit| {
            BrokerError::Full(format!("the spool in {} is full: it holds {limit}", self.dir))
        })?;
        spool_queues.iter().for_each(|spool_queue| spool_queue.enter(1));
        Ok(spool_queues)
    }

    async fn store_reserved(
        self: &Arc<Self>,
        messages: Vec<(Address, Envelope)>,
        spool_queues: Vec<Arc<SpoolQueue>>,
    ) -> Result<(), BrokerError> {
        let (core, begun) = (Arc::clone(self), Instant::now());
        // A separate task keeps the count correct even if the caller gives up.
        let storing = self.tasks.spawn(async move {
            let now = clock::now_ms();
            let stamped: Vec<_> =
                messages.into_iter().map(|message| routing_headers::put(message, now)).collect();
            let bytes = stamped.iter().map(|(_, envelope)| stored_bytes(envelope)).sum();
            // The caller gives up then, and its messages may be published again.
            let patience = core.publish_timeout.saturating_sub(begun.elapsed());
            let stored = core.store.publish_begun_within(patience, stamped).await;
            match &stored {
                Ok(()) => Counters::add(&core.counters.stored, spool_queues.len()),
                Err(_) => {
                    core.usage.release(spool_queues.len() as u64, bytes);
                    spool_queues.iter().for_each(|spool_queue| spool_queue.leave(1));
                }
            }
            stored
        });
        match timeout(self.publish_timeout, storing).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(_)) => Err(BrokerError::Closed),
            Err(_) => Err(BrokerError::TimedOut(self.publish_timeout)),
        }
    }
}
