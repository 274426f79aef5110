//! What happens after a failed write: callers are told, the write is retried, and the store is opened again if
//! needed.

use super::super::{op::WriteAnswer, queue::Queue, queues::DelayedMessages, store::Store};
use super::{Writer, retry_backoff};
use crate::sqlite::StoreError;
use postern_broker::BrokerError;
use std::{collections::HashMap, time::Instant};

impl Writer {
    /// Tells the callers that nothing can be written, and why.
    pub(super) fn refuse(&self, waiting: impl IntoIterator<Item = WriteAnswer>) {
        for answer in waiting {
            let _ = answer.send(Err(self.error()));
        }
    }

    /// Handles a failed write. If it is known to be undone, the store stays in use, and waiting messages are
    /// delivered meanwhile. Otherwise, such as when it is unknown whether the disk has the last write, the
    /// store is closed, and opening it again shows what is there.
    pub(super) fn fail(&mut self, store_error: StoreError, waiting: impl IntoIterator<Item = WriteAnswer>) {
        if self.store_error.as_ref() != Some(&store_error) {
            let path = self.folder.path().display();
            tracing::error!(%path, error = %store_error, "the embedded store cannot be written, retrying");
        }
        let is_usable = |store: &mut Store| store_error.is_undone() && store.make_room().is_ok();
        if !self.store.as_mut().is_some_and(is_usable)
            && let Some(store) = self.store.take()
        {
            store.abandon();
        }
        self.store_error = Some(store_error);
        self.refuse(waiting);
        // A failure before the next retry must not delay that retry.
        if self.retry.is_none() || self.retry_is_due() {
            self.retry_later();
        }
    }

    fn retry_later(&mut self) {
        let (at, backoff) = self.retry.get_or_insert_with(|| (Instant::now(), retry_backoff()));
        *at = Instant::now() + backoff.pause();
    }

    /// Whether it is time to retry writing, or opening the store.
    pub(super) fn retry_is_due(&self) -> bool {
        self.retry.as_ref().is_some_and(|(at, _)| Instant::now() >= *at)
    }

    /// Records that a write succeeded.
    pub(super) fn recovered(&mut self) {
        if self.store_error.take().is_some() {
            self.retry = None;
            tracing::info!(path = %self.folder.path().display(), "the embedded store works again");
        }
    }

    /// The failure as an error for callers.
    pub(super) fn error(&self) -> BrokerError {
        let path = self.folder.path().display().to_string();
        match &self.store_error {
            Some(store_error) => store_error.clone().explain(path),
            None => BrokerError::Unavailable(format!("the store in {path} is being opened again")),
        }
    }

    /// Opens the store again after a failure, if a retry is due. Opening writes, so it succeeds only if writing
    /// works.
    pub(super) fn open_again(&mut self) {
        if self.store.is_some() || !self.retry_is_due() {
            return;
        }
        let keeping = self.recording.as_ref().map(|recording| &recording.keeping);
        let opened = Store::open(&self.folder, keeping).and_then(|store| {
            let positions: HashMap<String, _> = store.queues()?.into_iter().collect();
            let delayed = DelayedMessages::read(&store)?;
            Ok((store, positions, delayed))
        });
        match opened {
            Ok((store, mut positions, delayed)) => {
                for (index, queue) in self.queues.all.iter_mut().enumerate() {
                    queue.reopen(&store, positions.remove(&queue.name));
                    self.ready.insert(index);
                }
                // A declaration that failed may have stored its queues all the same.
                for (name, position) in positions {
                    self.queues.add(Queue::new(name, position));
                }
                self.queues.delayed = delayed;
                // The write that failed may have stored records all the same.
                self.log.catch_up(&store, &self.queues);
                self.store = Some(store);
                self.recovered();
            }
            Err(store_error) => {
                self.store_error = Some(store_error);
                self.retry_later();
            }
        }
    }
}
