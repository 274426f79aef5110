//! Duplicates: a provider that repeats a message gets the same reply, and the message is queued once.
//! The id tells a repetition: it is made of the provider's id, the identity and the text.
//!
//! A memory of this process alone, and of a bounded number of ids: what it does not catch is queued
//! again under the same id, by which applications can tell.

use postern_shared::message::MessageId;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The most stored messages that are remembered; the oldest are forgotten first.
const MAX_IDS: usize = 100_000;

/// The messages stored within the window. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Dedup {
    window: Duration,
    most: usize,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    known: HashMap<MessageId, PublishState>,
    /// Those that are stored, oldest first; one that was stored twice stands here twice.
    stored: VecDeque<(Instant, MessageId)>,
}

#[derive(Debug)]
enum PublishState {
    /// Being published. The receiver learns of the end when the sender is dropped.
    Underway(watch::Receiver<()>),
    /// Confirmed by the broker at that time.
    Stored(Instant),
}

/// What there is to do with a message.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is to be published, and then [`stored`](PublishClaim::stored).
    New(PublishClaim),
    /// It was stored before, within the window.
    Duplicate,
}

/// The right to publish a message. Dropped without [`stored`](Self::stored), it was not stored as
/// far as is known: the next one like it is new.
#[derive(Debug)]
pub(crate) struct PublishClaim {
    id: MessageId,
    dedup: Dedup,
    /// Those who wait for the end of this publish wait for this to be dropped. Absent where another
    /// publish of the same id goes on at the same time.
    underway: Option<watch::Sender<()>>,
}

impl Dedup {
    /// A memory of this length; zero: nothing is a duplicate.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, most: MAX_IDS, memory: Arc::default() }
    }

    /// Says whether `id` was stored before. While another like it is being published, it waits for
    /// the end of that once; if that fails, this one is to be published.
    pub(crate) async fn claim(&self, id: MessageId) -> Claim {
        if self.window.is_zero() {
            return self.new_one(id, None);
        }
        let mut waited = false;
        loop {
            let mut other = {
                let mut memory = self.memory();
                match memory.known.get(&id) {
                    Some(PublishState::Stored(at)) if at.elapsed() < self.window => return Claim::Duplicate,
                    Some(PublishState::Underway(other)) => other.clone(),
                    _ => {
                        let (sender, receiver) = watch::channel(());
                        memory.known.insert(id, PublishState::Underway(receiver));
                        return self.new_one(id, Some(sender));
                    }
                }
            };
            if waited {
                // Not one after the other where the broker takes nothing: they all wait for it.
                return self.new_one(id, None);
            }
            // An error is what it waits for: the sender is gone.
            while other.changed().await.is_ok() {}
            waited = true;
        }
    }

    fn new_one(&self, id: MessageId, underway: Option<watch::Sender<()>>) -> Claim {
        Claim::New(PublishClaim { id, dedup: self.clone(), underway })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(&mut self, id: MessageId, now: Instant) {
        self.known.insert(id, PublishState::Stored(now));
        self.stored.push_back((now, id));
    }

    /// Forgets what is older than `window`, and the oldest beyond the `most`.
    fn forget(&mut self, now: Instant, window: Duration, most: usize) {
        while let Some((at, id)) = self.stored.front().copied() {
            if self.stored.len() <= most && now.duration_since(at) < window {
                break;
            }
            self.stored.pop_front();
            // It may have been stored again since.
            if matches!(self.known.get(&id), Some(PublishState::Stored(last)) if *last == at) {
                self.known.remove(&id);
            }
        }
    }
}

impl PublishClaim {
    /// The broker has confirmed the message.
    pub(crate) fn stored(self) {
        let now = Instant::now();
        let mut memory = self.dedup.memory();
        memory.remember(self.id, now);
        memory.forget(now, self.dedup.window, self.dedup.most);
    }
}

impl Drop for PublishClaim {
    fn drop(&mut self) {
        let Some(underway) = self.underway.take() else { return };
        let mut memory = self.dedup.memory();
        let own = |other: &watch::Receiver<()>| underway.subscribe().same_channel(other);
        if matches!(memory.known.get(&self.id), Some(PublishState::Underway(other)) if own(other)) {
            memory.known.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests;
