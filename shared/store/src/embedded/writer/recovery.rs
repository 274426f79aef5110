//! When a write fails: telling, trying again, and opening the store again if that is needed.

use super::super::{op::WriteAnswer, queues::DelayedMessages, store::Store};
use super::{Writer, retry_backoff};
use crate::sqlite::StoreError;
use postern_broker::BrokerError;
use std::{collections::HashMap, time::Instant};

impl Writer {
    /// Nothing can be written: who wanted it learns why.
    pub(super) fn refuse(&self, waiting: impl IntoIterator<Item = WriteAnswer>) {
        for answer in waiting {
            let _ = answer.send(Err(self.error()));
        }
    }

    /// A write failed. If it is known to be undone, the store is used on, and what waits in it is handed
    /// out meanwhile. Else, as when the disk did not say whether it has the last write, opening the store
    /// again reads what is there.
    pub(super) fn fail(&mut self, store_error: StoreError, waiting: impl IntoIterator<Item = WriteAnswer>) {
        if self.store_error.as_ref() != Some(&store_error) {
            tracing::error!(path = %self.folder.path().display(), ?store_error, "the embedded store cannot be written, retrying");
        }
        match &mut self.store {
            Some(store) if store_error.is_undone() => store.make_room(),
            store => *store = None,
        }
        self.store_error = Some(store_error);
        self.refuse(waiting);
        // What fails in between puts off no trial.
        if self.retry.is_none() || self.retry_is_due() {
            self.retry_later();
        }
    }

    fn retry_later(&mut self) {
        let (at, backoff) = self.retry.get_or_insert_with(|| (Instant::now(), retry_backoff()));
        *at = Instant::now() + backoff.pause();
    }

    /// Whether it is time to write, or to open the store, again.
    pub(super) fn retry_is_due(&self) -> bool {
        self.retry.as_ref().is_some_and(|(at, _)| Instant::now() >= *at)
    }

    /// A write succeeded.
    pub(super) fn recovered(&mut self) {
        if self.store_error.take().is_some() {
            self.retry = None;
            tracing::info!(path = %self.folder.path().display(), "the embedded store works again");
        }
    }

    /// What a caller learns of the failure.
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
            Ok((store, positions, delayed)) => {
                for (index, queue) in self.queues.all.iter_mut().enumerate() {
                    queue.reopen(&store, positions.get(&queue.name).copied());
                    self.ready.insert(index);
                }
                self.queues.delayed = delayed;
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
