//! When a write fails: telling, and opening the store again.

use super::super::{commit::count_delayed, store::Store, store_error::StoreError};
use super::{Publishes, Writer, reopen_backoff};
use postern_broker::BrokerError;
use std::{collections::HashMap, time::Instant};
use tokio::sync::oneshot;

impl Writer {
    /// Nothing can be written: who wanted it learns why.
    pub(super) fn refuse(&self, publishes: Publishes) {
        for (_, answer) in publishes {
            let _ = answer.send(Err(self.error()));
        }
    }

    /// A write failed. fjall takes no more after that, rightly: what is in the file is unknown.
    /// Opening it again reads what is.
    pub(super) fn fail(
        &mut self,
        store_error: StoreError,
        waiting: Vec<oneshot::Sender<Result<(), BrokerError>>>,
    ) {
        tracing::error!(path = %self.folder.path().display(), ?store_error, "the embedded store failed; it is opened again");
        self.store_error = Some(store_error);
        for answer in waiting {
            let _ = answer.send(Err(self.error()));
        }
        self.drop_store();
        self.reopen.get_or_insert_with(|| {
            let mut backoff = reopen_backoff();
            (Instant::now() + backoff.pause(), backoff)
        });
    }

    /// Lets go of the database.
    pub(super) fn drop_store(&mut self) {
        self.store = None;
        // It holds the database open.
        if let Some(compaction) = self.compaction.take() {
            let _ = compaction.join();
        }
    }

    /// What a caller learns of the store_error.
    pub(super) fn error(&self) -> BrokerError {
        let path = self.folder.path().display().to_string();
        match &self.store_error {
            Some(store_error) => store_error.clone().explain(path),
            None => BrokerError::Unavailable(format!("the store in {path} is being opened again")),
        }
    }

    /// Opens the store again after a failure, when its time has come. Opening writes, so it succeeds
    /// only where that works.
    pub(super) fn open_again(&mut self) {
        if self.store.is_some() || self.reopen.as_ref().is_none_or(|(at, _)| Instant::now() < *at) {
            return;
        }
        let opened = Store::open(&self.folder).and_then(|store| {
            let positions: HashMap<String, _> = store.queues()?.into_iter().collect();
            let waiting = store.waiting()?;
            let next_due = store.due(waiting.from, 0, 0)?.next;
            let delayed = count_delayed(&store, waiting.from)?;
            Ok((store, positions, (waiting, next_due, delayed)))
        });
        match opened {
            Ok((store, positions, delayed)) => {
                for (index, queue) in self.queues.all.iter_mut().enumerate() {
                    queue.reopen(&store, positions.get(&queue.name).copied());
                    self.ready.insert(index);
                }
                (self.queues.waiting, self.queues.next_due, self.queues.delayed) = delayed;
                self.store = Some(store);
                (self.store_error, self.reopen) = (None, None);
                tracing::info!(path = %self.folder.path().display(), "the embedded store works again");
            }
            Err(store_error) => {
                self.store_error = Some(store_error);
                if let Some((at, backoff)) = &mut self.reopen {
                    *at = Instant::now() + backoff.pause();
                }
            }
        }
    }
}
