//! Duplicates: whoever repeats a message gets the first answer, and the message is queued once. The id
//! tells a repetition. A provider's is made of its own id, the identity and the text; that of an
//! application's message of its `Idempotency-Key`.
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

/// The messages stored within the window, and of each a note `N` for those that repeat it. Clones
/// share it.
#[derive(Debug, Clone)]
pub(crate) struct Dedup<N = ()> {
    window: Duration,
    most: usize,
    memory: Arc<Mutex<Memory<N>>>,
}

#[derive(Debug)]
struct Memory<N> {
    known: HashMap<MessageId, PublishState<N>>,
    /// Those that are stored, oldest first; one that was stored twice stands here twice.
    stored: VecDeque<(Instant, MessageId)>,
}

#[derive(Debug)]
enum PublishState<N> {
    /// Being published. The receiver learns of the end when the sender is dropped.
    Underway(watch::Receiver<()>),
    /// Confirmed by the broker at that time.
    Stored(Instant, N),
}

/// What there is to do with a message.
#[derive(Debug)]
pub(crate) enum Claim<N = ()> {
    /// It is to be published, and then [`stored`](PublishClaim::stored).
    New(PublishClaim<N>),
    /// It was stored before, within the window, with this note.
    Duplicate(N),
}

/// The right to publish a message. Dropped without [`stored`](Self::stored), it was not stored as
/// far as is known: the next one like it is new.
#[derive(Debug)]
pub(crate) struct PublishClaim<N = ()> {
    id: MessageId,
    dedup: Dedup<N>,
    /// Those who wait for the end of this publish wait for this to be dropped. Absent where another
    /// publish of the same id goes on at the same time.
    underway: Option<watch::Sender<()>>,
}

impl<N: Clone> Dedup<N> {
    /// A memory of this length; zero: nothing is a duplicate.
    pub(crate) fn new(window: Duration) -> Self {
        let memory = Memory { known: HashMap::new(), stored: VecDeque::new() };
        Self { window, most: MAX_IDS, memory: Arc::new(Mutex::new(memory)) }
    }

    /// The same memory with another length.
    pub(crate) fn within(&self, window: Duration) -> Self {
        Self { window, ..self.clone() }
    }

    /// Says whether `id` was stored before. Of several with the same `id`, never two are published at the
    /// same time: each waits until no other is.
    pub(crate) async fn claim_in_turn(&self, id: MessageId) -> Claim<N> {
        loop {
            match self.look(id) {
                IdState::Free(claim) => return Claim::New(claim),
                IdState::Stored(note) => return Claim::Duplicate(note),
                IdState::Underway(other) => ended(other).await,
            }
        }
    }

    /// What is known of `id` now. If it is free, it is claimed.
    fn look(&self, id: MessageId) -> IdState<N> {
        if self.window.is_zero() {
            return IdState::Free(self.new_one(id, None));
        }
        self.look_in(&mut self.memory(), id)
    }

    fn look_in(&self, memory: &mut Memory<N>, id: MessageId) -> IdState<N> {
        match memory.known.get(&id) {
            Some(PublishState::Stored(at, note)) if at.elapsed() < self.window => {
                IdState::Stored(note.clone())
            }
            Some(PublishState::Underway(other)) => IdState::Underway(other.clone()),
            _ => {
                let (sender, receiver) = watch::channel(());
                memory.known.insert(id, PublishState::Underway(receiver));
                IdState::Free(self.new_one(id, Some(sender)))
            }
        }
    }

    fn new_one(&self, id: MessageId, underway: Option<watch::Sender<()>>) -> PublishClaim<N> {
        PublishClaim { id, dedup: self.clone(), underway }
    }
}

impl Dedup {
    /// Says of each of `ids` whether it was stored before. While another like it is being published, it
    /// waits for the end of that once; if that fails, this one is to be published. Of several that are the
    /// same, all but the first are duplicates.
    ///
    /// It holds nothing while it waits, so that two that share ids never wait for each other.
    pub(crate) async fn claim(&self, ids: &[MessageId]) -> Vec<Claim> {
        if self.window.is_zero() {
            return ids.iter().map(|id| Claim::New(self.new_one(*id, None))).collect();
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
            for (id, other) in others {
                ended(other).await;
                waited.insert(id);
            }
        }
    }

    fn claim_now(&self, ids: &[MessageId], memory: &mut Memory<()>) -> Vec<Claim> {
        let mut own = HashSet::new();
        let claim = |id: &MessageId| {
            if !own.insert(*id) {
                return Claim::Duplicate(());
            }
            match self.look_in(memory, *id) {
                IdState::Free(claim) => Claim::New(claim),
                IdState::Stored(note) => Claim::Duplicate(note),
                // Not one after the other if the broker takes nothing: they all wait for it.
                IdState::Underway(_) => Claim::New(self.new_one(*id, None)),
            }
        };
        ids.iter().map(claim).collect()
    }
}

impl<N> Dedup<N> {
    fn memory(&self) -> MutexGuard<'_, Memory<N>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of an id at one moment.
enum IdState<N> {
    Free(PublishClaim<N>),
    Stored(N),
    Underway(watch::Receiver<()>),
}

/// Waits for the end of another's publish. An error is what it waits for: the sender is gone.
async fn ended(mut other: watch::Receiver<()>) {
    while other.changed().await.is_ok() {}
}

impl<N> Memory<N> {
    /// Those of `ids` that are being published, but for those that were `waited` for already.
    fn underway(
        &self,
        ids: &[MessageId],
        waited: &HashSet<MessageId>,
    ) -> Vec<(MessageId, watch::Receiver<()>)> {
        let new = ids.iter().filter(|id| !waited.contains(id));
        let underway = new.filter_map(|id| match self.known.get(id)? {
            PublishState::Underway(other) => Some((*id, other.clone())),
            PublishState::Stored(..) => None,
        });
        underway.collect()
    }

    fn remember(&mut self, id: MessageId, now: Instant, note: N) {
        self.known.insert(id, PublishState::Stored(now, note));
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
            if matches!(self.known.get(&id), Some(PublishState::Stored(last, _)) if *last == at) {
                self.known.remove(&id);
            }
        }
    }
}

impl<N> PublishClaim<N> {
    /// The id that is claimed.
    pub(crate) fn id(&self) -> MessageId {
        self.id
    }

    /// The broker has confirmed the message; those that repeat it get `note`.
    pub(crate) fn stored(self, note: N) {
        let now = Instant::now();
        let mut memory = self.dedup.memory();
        memory.remember(self.id, now, note);
        memory.forget(now, self.dedup.window, self.dedup.most);
    }
}

impl<N> Drop for PublishClaim<N> {
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
