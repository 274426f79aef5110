//! The stream `postern.control`: a queue of the store from which nothing is removed. All of it is in memory.

use super::{
    queue::Queue,
    store::{Range, Store},
};
use crate::sqlite::StoreError;
use postern_broker::{Address, BrokerError, BrokerStatus, Envelope, Feed, QueueName};
use std::{collections::HashSet, future::Future, sync::Arc};
use tokio::sync::{Mutex, watch};

/// Whether messages to `address` belong to the stream `postern.control`.
pub(super) fn is_for_the_log(address: &Address) -> bool {
    matches!(address, Address::Queue(queue) if *queue == QueueName::control())
}

/// The records of the stream `postern.control`, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    records: watch::Sender<Arc<Vec<Envelope>>>,
    /// Held while a record is stored, so that the order in memory is the same as in the store.
    order: Mutex<()>,
}

impl Log {
    /// Reads the stream's records from `queue`. A record that cannot be decoded is skipped.
    ///
    /// # Errors
    /// The records cannot be read from the disk.
    pub(super) fn read(store: &Store, queue: &Queue) -> Result<Self, StoreError> {
        let position = queue.position;
        let all = Range { id: position.id, from: 0, to: position.tail };
        let chunk = store
            .read(all, (usize::MAX, u64::MAX))
            .map_err(|error| StoreError::sqlite("cannot be read", &error))?;
        let records = chunk.messages.into_iter().filter_map(|stored| {
            let number = stored.number;
            stored.envelope
                .inspect_err(|found| tracing::error!(queue = queue.name, number, error = %found.why, "record cannot be decoded, ignored"))
                .ok()
        });
        Ok(Self { records: watch::Sender::new(Arc::new(records.collect())), order: Mutex::default() })
    }

    /// Awaits `store`, which stores a publish, and then delivers `commands`, its messages for the stream, to the
    /// stream's consumers.
    ///
    /// # Errors
    /// The error of `store`.
    pub(super) async fn append(
        &self,
        commands: Vec<Envelope>,
        store: impl Future<Output = Result<(), BrokerError>>,
    ) -> Result<(), BrokerError> {
        if commands.is_empty() {
            return store.await;
        }
        let _order = self.order.lock().await;
        store.await?;
        self.records.send_modify(|records| Arc::make_mut(records).extend(commands));
        Ok(())
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
                let known = Arc::clone(&records.borrow_and_update());
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
