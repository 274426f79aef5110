//! Duplicates: a provider that repeats a message gets the same reply, and the message is queued once.
//! The id tells a repetition: it is made of the provider's id, the identity and the text.
//!
//! A memory of this process alone, and of a bounded number of ids: what it does not catch is queued
//! again under the same id, by which applications can tell.

use postern_shared::message::MessageId;
use std::{
    collections::{HashMap, HashSet, VecDeque},
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

    /// Says of each of `ids` whether it was stored before. While another like it is being published, it
    /// waits for the end of that once; if that fails, this one is to be published. Of several that are the
    /// same, all but the first are duplicates.
    ///
    /// It holds nothing while it waits, so that two that share ids never wait for each other.
    pub(crate) async fn claim(&self, ids: &[MessageId]) -> Vec<Claim> {
        if self.window.is_zero() {
            return ids.iter().map(|id| self.new_one(*id, None)).collect();
        }
        let mut waited = HashSet::new();
        loop {
            let others = {
                let mut memory = self.memory();
                let others = memory.underway(ids, &waited);
                if others.is_empty() {
                    return self.claim_now(ids, &mut memory);
                }
                others
            };
            for (id, mut other) in others {
                // An error is what it waits for: the sender is gone.
                while other.changed().await.is_ok() {}
                // Not one after the other where the broker takes nothing: they all wait for it.
                waited.insert(id);
            }
        }
    }

    fn claim_now(&self, ids: &[MessageId], memory: &mut Memory) -> Vec<Claim> {
        let mut own = HashSet::new();
        let claim = |id: &MessageId| match memory.known.get(id) {
            _ if !own.insert(*id) => Claim::Duplicate,
            Some(PublishState::Stored(at)) if at.elapsed() < self.window => Claim::Duplicate,
            Some(PublishState::Underway(_)) => self.new_one(*id, None),
            _ => {
                let (sender, receiver) = watch::channel(());
                memory.known.insert(*id, PublishState::Underway(receiver));
                self.new_one(*id, Some(sender))
            }
        };
        ids.iter().map(claim).collect()
    }

    fn new_one(&self, id: MessageId, underway: Option<watch::Sender<()>>) -> Claim {
        Claim::New(PublishClaim { id, dedup: self.clone(), underway })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Those of `ids` that are being published, but for those that were `waited` for already.
    fn underway(
        &self,
        ids: &[MessageId],
        waited: &HashSet<MessageId>,
    ) -> Vec<(MessageId, watch::Receiver<()>)> {
        let new = ids.iter().filter(|id| !waited.contains(id));
        let underway = new.filter_map(|id| match self.known.get(id)? {
            PublishState::Underway(other) => Some((*id, other.clone())),
            PublishState::Stored(_) => None,
        });
        underway.collect()
    }

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
