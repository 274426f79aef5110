//! A queue in memory: which consumer holds which of its messages, and where reading continues. The messages
//! themselves stay in the store, except a few that were read ahead.

use super::record::{Position, Spoiled, StoredMessage};
use super::store::{Chunk, Note, Range, Store};
use postern_broker::{Envelope, QueueName, topology::QueueLimit};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most that is read ahead of the consumers, in messages and in bytes.
const AHEAD: (usize, u64) = (256, 256 * 1024);

/// A message that a consumer holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    /// The consumer.
    pub(super) consumer: u64,
    /// The bytes of its record.
    pub(super) size: u64,
}

/// A message that waits or is to be removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingRecord {
    /// Whether it was delivered before.
    pub(super) redelivered: bool,
    /// The bytes of its record.
    pub(super) size: u64,
}

/// A message on its way to a consumer.
#[derive(Debug)]
pub(super) struct Leased {
    /// Its sequence number.
    pub(super) sequence: u64,
    /// The message.
    pub(super) envelope: Envelope,
    /// Whether it was delivered before.
    pub(super) redelivered: bool,
    /// How often a process crashed while it held the message.
    pub(super) lost: u32,
}

/// How a message's earlier leases ended.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    /// How many leases ended with a crash of their process.
    lost: u32,
    /// Whether the store holds a note of a lease that began in this process, or is about to.
    noted: bool,
}

/// A queue. Each of its stored messages is either not read yet (from `cursor` on) or in exactly one of `ahead`,
/// `released`, `leased`, `settled`, `spoiled` and `unreadable`.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Its name.
    pub(super) name: String,
    /// Whether the present topology declares it.
    pub(super) declared: bool,
    /// How far it may grow.
    pub(super) limit: Option<QueueLimit>,
    /// The position that is in the store.
    pub(super) position: Position,
    /// The consumers that want more messages, in the order of their turns.
    pub(super) consumers: VecDeque<u64>,
    /// The messages that consumers hold.
    pub(super) leased: BTreeMap<u64, Lease>,
    /// Messages that are acknowledged but still stored.
    pub(super) settled: BTreeMap<u64, WaitingRecord>,
    /// Undecodable records, which will become dead letters.
    pub(super) spoiled: BTreeMap<u64, Spoiled>,
    /// Messages that cannot be read from the disk; they are left alone.
    unreadable: BTreeSet<u64>,
    /// Messages that were requeued, or read but not delivered. They come before those in `ahead`.
    released: BTreeMap<u64, WaitingRecord>,
    ahead: VecDeque<(u64, Envelope, u64)>,
    /// Messages that were removed before their turn; reading skips them.
    out_of_turn: BTreeSet<u64>,
    cursor: u64,
    handed: u64,
    /// Messages with numbers below this may have been delivered by an earlier process.
    handed_before: u64,
    /// The lease of a message with a number below this is noted in the store before delivery: a message that
    /// was there when the store was opened may have crashed the earlier process.
    noted_below: u64,
    /// Messages that have a note or will get one.
    past: BTreeMap<u64, Past>,
    /// Messages whose note must be written before they are delivered.
    unwritten: Vec<u64>,
}

impl Queue {
    /// A queue at `position`, with nothing read.
    pub(super) fn new(name: String, position: Position) -> Self {
        Self {
            handed: position.handed,
            handed_before: position.handed,
            noted_below: position.tail,
            name,
            position,
            ..Self::default()
        }
    }

    /// Whether it holds messages for a backend.
    pub(super) fn is_outbound(&self) -> bool {
        QueueName::stored(&self.name).backend().is_some()
    }

    /// Adds a note that an earlier process left.
    pub(super) fn remember(&mut self, sequence: u64, lost: u32) {
        self.past.insert(sequence, Past { lost, noted: false });
    }

    /// Takes the notes that must be written before the [leased](Self::lease) messages are delivered.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        let (id, past) = (self.position.id, &self.past);
        let note =
            |sequence| (id, sequence, past.get(&sequence).map_or(1, |past| past.lost.saturating_add(1)));
        std::mem::take(&mut self.unwritten).into_iter().map(note).collect()
    }

    /// The notes that remain if every lease ends without a crash.
    pub(super) fn clean_leases(&self) -> impl Iterator<Item = Note> + '_ {
        let noted = self.past.iter().filter(|(_, past)| past.noted);
        noted.map(|(sequence, past)| (self.position.id, *sequence, past.lost))
    }

    /// Whether a note of this message may be in the store.
    pub(super) fn is_noted(&self, sequence: u64) -> bool {
        self.past.contains_key(&sequence)
    }

    /// Forgets a message that was removed together with its note.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.past.remove(&sequence);
        self.out_of_turn.remove(&sequence);
    }

    /// The messages that wait for a consumer.
    pub(super) fn ready(&self) -> u64 {
        let out = self.leased.len() + self.settled.len() + self.spoiled.len() + self.unreadable.len();
        self.position.count.saturating_sub(out as u64)
    }

    /// The number of messages that stay stored when all settled ones are removed.
    pub(super) fn kept(&self) -> u64 {
        self.position.count.saturating_sub((self.settled.len() + self.spoiled.len()) as u64)
    }

    /// Whether messages have to be removed from the store.
    pub(super) fn dirty(&self) -> bool {
        !self.settled.is_empty() || !self.spoiled.is_empty()
    }

    /// One more than the highest sequence number that was delivered.
    pub(super) fn handed(&self) -> u64 {
        self.handed
    }

    /// Ends a lease of `consumer`. If it is `done`, the message will be removed, else delivered again. Returns
    /// whether the consumer still had the lease.
    pub(super) fn settle(&mut self, consumer: u64, sequence: u64, done: bool) -> bool {
        match self.leased.get(&sequence) {
            Some(lease) if lease.consumer == consumer => {
                let known = WaitingRecord { redelivered: true, size: lease.size };
                self.leased.remove(&sequence);
                let to = if done { &mut self.settled } else { &mut self.released };
                to.insert(sequence, known);
                true
            }
            _ => false,
        }
    }

    /// Ends all leases of `consumer`; the messages will be delivered again.
    pub(super) fn release_all(&mut self, consumer: u64) {
        let its: Vec<u64> =
            self.leased.iter().filter(|(_, lease)| lease.consumer == consumer).map(|(n, _)| *n).collect();
        for sequence in its {
            self.settle(consumer, sequence, false);
        }
    }

    /// The record of the message `number`. `None` if it does not wait.
    pub(super) fn waiting(&self, store: &Store, number: u64) -> Option<WaitingRecord> {
        let ahead = || self.ahead.binary_search_by_key(&number, |(number, ..)| *number).ok();
        let size = if let Some(known) = self.released.get(&number) {
            return Some(*known);
        } else if let Some(index) = ahead() {
            self.ahead[index].2
        } else if (self.cursor..self.position.tail).contains(&number) && !self.out_of_turn.contains(&number) {
            store.get(self.position.id, number).ok().flatten()?.size
        } else {
            return None;
        };
        Some(WaitingRecord { redelivered: number < self.handed_before, size })
    }

    /// Takes a message that [waits](Self::waiting) out of the queue, before its turn.
    pub(super) fn take_out(&mut self, number: u64) {
        if self.released.remove(&number).is_none() {
            self.ahead.retain(|(ahead, ..)| *ahead != number);
            self.out_of_turn.insert(number);
        }
    }

    /// The numbers of its messages that do not wait for a consumer.
    pub(super) fn out(&self) -> BTreeSet<u64> {
        let out = self.leased.keys().chain(self.settled.keys()).chain(self.spoiled.keys());
        out.chain(&self.unreadable).copied().collect()
    }

    /// Undoes [`evict`](Self::evict) or [`take_out`](Self::take_out): the message comes next.
    pub(super) fn put_back(&mut self, sequence: u64, known: WaitingRecord) {
        self.released.insert(sequence, known);
    }

    /// Leases the next message to `consumer`. `None` if none waits.
    pub(super) fn lease(&mut self, store: &Store, consumer: u64) -> Option<Leased> {
        let (sequence, envelope, known) = match self.next_released(store) {
            Some(next) => next,
            None => {
                if self.read_ahead(store) {
                    self.count_again();
                }
                let (sequence, envelope, size) = self.ahead.pop_front()?;
                let redelivered = sequence < self.handed_before;
                (sequence, envelope, WaitingRecord { redelivered, size })
            }
        };
        self.handed = self.handed.max(sequence + 1);
        self.leased.insert(sequence, Lease { consumer, size: known.size });
        let lost = self.note(sequence);
        Some(Leased { sequence, envelope, redelivered: known.redelivered || lost > 0, lost })
    }

    /// Has the lease of a message noted if necessary. Returns how many earlier leases were lost.
    fn note(&mut self, sequence: u64) -> u32 {
        if sequence >= self.noted_below {
            return 0;
        }
        let past = self.past.entry(sequence).or_default();
        if !std::mem::replace(&mut past.noted, true) {
            self.unwritten.push(sequence);
        }
        past.lost
    }

    /// Takes the oldest waiting message out of the queue.
    pub(super) fn evict(&mut self, store: &Store) -> Option<(u64, WaitingRecord)> {
        if let Some((sequence, known)) = self.released.pop_first() {
            return Some((sequence, known));
        }
        self.read_ahead(store);
        let (sequence, _, size) = self.ahead.pop_front()?;
        Some((sequence, WaitingRecord { redelivered: sequence < self.handed_before, size }))
    }

    fn next_released(&mut self, store: &Store) -> Option<(u64, Envelope, WaitingRecord)> {
        while let Some((sequence, known)) = self.released.pop_first() {
            match store.get(self.position.id, sequence) {
                Ok(Some(stored)) => {
                    if let Some((sequence, envelope, _)) = self.sound(stored) {
                        return Some((sequence, envelope, known));
                    }
                }
                // It was removed by a write that failed but was stored all the same.
                Ok(None) => {}
                Err(error) => self.set_aside([sequence].into(), &error),
            }
        }
        None
    }

    /// Reads more messages if `ahead` is empty. Returns whether that reached the queue's end.
    fn read_ahead(&mut self, store: &Store) -> bool {
        let mut read = false;
        while self.ahead.is_empty() && self.cursor < self.position.tail {
            read = true;
            let range = Range { id: self.position.id, from: self.cursor, to: self.position.tail };
            self.take(store.read_past_damage(range, AHEAD));
        }
        read && self.cursor == self.position.tail
    }

    fn take(&mut self, Chunk { messages, next, unreadable }: Chunk) {
        self.cursor = next;
        for message in messages {
            if !self.out_of_turn.contains(&message.number) {
                let sound = self.sound(message);
                self.ahead.extend(sound);
            }
        }
        if let Some((numbers, error)) = unreadable {
            self.set_aside(numbers, &error);
        }
    }

    /// The number, the message and its size. If it cannot be decoded, adds it to `spoiled`.
    fn sound(&mut self, message: StoredMessage) -> Option<(u64, Envelope, u64)> {
        let StoredMessage { number, size, envelope } = message;
        match envelope {
            Ok(envelope) => Some((number, envelope, size)),
            Err(spoiled) => {
                let error = spoiled.why;
                tracing::error!(queue = self.name, number, %error, "a stored message cannot be decoded: dead-lettered");
                self.spoiled.insert(number, spoiled);
                None
            }
        }
    }

    fn set_aside(&mut self, numbers: BTreeSet<u64>, error: &rusqlite::Error) {
        tracing::error!(
            queue = self.name,
            first = numbers.first(),
            last = numbers.last(),
            messages = numbers.len(),
            %error,
            "stored messages cannot be read from the disk; they are skipped until the next start: check the \
             disk"
        );
        self.unreadable.extend(numbers);
    }

    /// Corrects the count if the messages in `ahead` are not as many. Only when everything was read and nothing
    /// is in `released`.
    fn count_again(&mut self) {
        let known = self.ahead.len() as u64;
        let ready = self.ready();
        if known != ready {
            tracing::error!(
                queue = self.name,
                counted = ready,
                found = known,
                "the embedded store contains a different number of messages than it counted: it was damaged; \
                 check the disk, then run `postern store check`"
            );
            self.position.count = (self.position.count + known).saturating_sub(ready);
        }
    }

    /// Takes over the state of a store that was opened again after a write that may or may not have been stored.
    pub(super) fn reopen(&mut self, store: &Store, position: Option<Position>) {
        if let Some(position) = position {
            // No number is given twice, even if the disk has lost messages: a consumer may still hold the first.
            let tail = position.tail.max(self.position.tail);
            self.position = Position { tail, ..position };
        }
        self.cursor = self.ahead.front().map_or(self.cursor, |(sequence, ..)| *sequence);
        self.ahead.clear();
        let id = self.position.id;
        let stored = |sequence: &u64| !matches!(store.get(id, *sequence), Ok(None));
        self.settled.retain(|sequence, _| stored(sequence));
        self.spoiled.retain(|sequence, _| stored(sequence));
        self.released.retain(|sequence, _| stored(sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Folder;

    #[test]
    fn a_number_is_not_given_twice_even_if_the_disk_lost_its_message() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Folder::lock(dir.path()).unwrap(), None).unwrap();
        let mut queue =
            Queue::new("q".to_owned(), Position { id: 1, tail: 5, count: 5, ..Position::default() });
        let lost = Position { tail: 3, count: 3, ..queue.position };
        queue.reopen(&store, Some(lost));
        assert_eq!((queue.position.tail, queue.position.count), (5, 3));
        let more = Position { tail: 7, count: 7, ..queue.position };
        queue.reopen(&store, Some(more));
        assert_eq!(queue.position.tail, 7);
    }
}
