//! Duplicates: a message that is repeated is queued once, and the repetition gets the first answer. It is
//! recognized by its id. An application's message has an id made from the client's own id, such as its
//! `Idempotency-Key`. A provider's has one by `receive.dedupe`: made from the provider's own id, the identity
//! and the text by default, or from a list of fields. With `false`, or if one of those is missing, a
//! provider's message is always new.
//!
//! Only this process remembers, and only a bounded number of ids. A repetition that it misses is queued again
//! under the same id, by which applications can recognize it.

use postern_shared::message::MessageId;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The most stored messages that are remembered; the oldest are forgotten first.
const MAX_IDS: usize = 100_000;

/// The ids of the messages that were stored, each with a note `N` for its repetitions. An id is remembered for
/// the window with which it was stored. Clones share the ids.
#[derive(Debug, Clone)]
pub(crate) struct Dedup<N = ()> {
    window: Duration,
    most: usize,
    memory: Arc<Mutex<Memory<N>>>,
}

#[derive(Debug)]
struct Memory<N> {
    known: HashMap<MessageId, PublishState<N>>,
    /// The stored ids, oldest first, each with the end of its window. An id that was stored twice is listed
    /// twice.
    stored: VecDeque<(Instant, MessageId)>,
}

#[derive(Debug)]
enum PublishState<N> {
    /// The message is being published until the receiver's sender is dropped.
    Underway(watch::Receiver<()>),
    /// The broker confirmed the message, which is remembered until this time.
    Stored(Instant, N),
}

/// Whether a message is to be published.
#[derive(Debug)]
pub(crate) enum Claim<N = ()> {
    /// It is new: to be published, and then [`stored`](PublishClaim::stored).
    New(PublishClaim<N>),
    /// It was stored before, within the window, with this note.
    Duplicate(N),
}

/// The right to publish a message. If it is dropped without [`stored`](Self::stored), the message counts as
/// not stored, and its next repetition is new.
#[derive(Debug)]
pub(crate) struct PublishClaim<N = ()> {
    id: MessageId,
    dedup: Dedup<N>,
    /// Dropping it wakes those who wait for the end of this publish. `None` if another publish of the same id
    /// goes on at the same time, or if nothing is remembered.
    underway: Option<watch::Sender<()>>,
}

impl<N: Clone> Dedup<N> {
    /// Remembers ids for `window`; zero: nothing is a duplicate.
    pub(crate) fn new(window: Duration) -> Self {
        let memory = Memory { known: HashMap::new(), stored: VecDeque::new() };
        Self { window, most: MAX_IDS, memory: Arc::new(Mutex::new(memory)) }
    }

    /// The same memory, in which ids are stored for `window`. Those that are stored keep their own.
    pub(crate) fn within(&self, window: Duration) -> Self {
        Self { window, ..self.clone() }
    }

    /// Claims `id` unless it was stored before. Messages with the same `id` are never published at the same
    /// time: each claim waits until no other is held.
    pub(crate) async fn claim_in_turn(&self, id: MessageId) -> Claim<N> {
        loop {
            match self.look(id) {
                IdState::Free(claim) => return Claim::New(claim),
                IdState::Stored(note) => return Claim::Duplicate(note),
                IdState::Underway(other) => ended(other).await,
            }
        }
    }

    /// Looks up `id`, and claims it if it is free.
    fn look(&self, id: MessageId) -> IdState<N> {
        if self.window.is_zero() {
            return IdState::Free(self.new_one(id, None));
        }
        self.look_in(&mut self.memory(), id)
    }

    fn look_in(&self, memory: &mut Memory<N>, id: MessageId) -> IdState<N> {
        match memory.known.get(&id) {
            Some(PublishState::Stored(end, note)) if Instant::now() < *end => IdState::Stored(note.clone()),
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
    /// Claims each of `ids` that was not stored before. If one of them is just being published, this waits
    /// for the end of that publish, once; if the publish fails, the id is new. If `ids` contains an id
    /// several times, all but the first are duplicates.
    ///
    /// It claims nothing while it waits, so that two calls with ids in common never wait for each other.
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
                // All publish at the same time: if the broker accepts nothing, taking turns would take too
                // long.
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

/// What is known about an id at one moment.
enum IdState<N> {
    Free(PublishClaim<N>),
    Stored(N),
    Underway(watch::Receiver<()>),
}

/// Waits for the end of another publish, which `changed` reports as an error: the sender was dropped.
async fn ended(mut other: watch::Receiver<()>) {
    while other.changed().await.is_ok() {}
}

impl<N> Memory<N> {
    /// Those of `ids` that are being published, except those that were `waited` for already.
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

    fn remember(&mut self, id: MessageId, end: Instant, note: N) {
        self.known.insert(id, PublishState::Stored(end, note));
        self.stored.push_back((end, id));
    }

    /// Forgets the oldest ids: those of more than `most`, and those whose window is over. An id with a long
    /// window keeps newer ones in the memory, too.
    fn forget(&mut self, now: Instant, most: usize) {
        while let Some((end, id)) = self.stored.front().copied() {
            if self.stored.len() <= most && now < end {
                break;
            }
            self.stored.pop_front();
            // The id may have been stored again since.
            if matches!(self.known.get(&id), Some(PublishState::Stored(last, _)) if *last == end) {
                self.known.remove(&id);
            }
        }
    }
}

impl<N> PublishClaim<N> {
    /// The claimed id.
    pub(crate) fn id(&self) -> MessageId {
        self.id
    }

    /// Records that the broker has confirmed the message. Its repetitions get `note`.
    pub(crate) fn stored(self, note: N) {
        let now = Instant::now();
        let mut memory = self.dedup.memory();
        memory.remember(self.id, now + self.dedup.window, note);
        memory.forget(now, self.dedup.most);
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
