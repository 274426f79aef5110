//! A queue in memory: who holds which of its messages, and where reading goes on. The messages
//! themselves stay in the store, but for a few that were read ahead.

use super::record::{Position, Spoiled, StoredMessage};
use super::store::{Chunk, Note, Range, Store};
use postern_broker::{Envelope, QueueName, topology::QueueLimit};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most that is read ahead of the consumers: messages, and bytes.
const AHEAD: (usize, u64) = (256, 256 * 1024);

/// A message that a consumer holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    /// The consumer.
    pub(super) consumer: u64,
    /// The bytes of its record.
    pub(super) size: u64,
}

/// A message that waits, or is to go: whether it was handed out before, and the bytes of its record.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingRecord {
    /// Whether it was handed out before.
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
    /// Whether it was handed out before.
    pub(super) redelivered: bool,
    /// How often the process that had it ended without a word.
    pub(super) returned: u32,
}

/// How a message's earlier leases ended.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    /// So many of them with their process.
    lost: u32,
    /// Whether the store holds a note of one that began in this process.
    noted: bool,
}

/// A queue. Each of its stored messages is in exactly one of: not read yet (from `cursor` on),
/// `ahead`, `released`, `leased`, `settled`, `spoiled`, `unreadable`.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Its name.
    pub(super) name: String,
    /// Whether the present topology declares it.
    pub(super) declared: bool,
    /// How far it may grow.
    pub(super) limit: Option<QueueLimit>,
    /// As the store has it.
    pub(super) position: Position,
    /// Consumers that want more, and whose turn is next.
    pub(super) consumers: VecDeque<u64>,
    /// Messages that consumers hold.
    pub(super) leased: BTreeMap<u64, Lease>,
    /// Acked, and still stored.
    pub(super) settled: BTreeMap<u64, WaitingRecord>,
    /// Undecodable records, to become dead letters.
    pub(super) spoiled: BTreeMap<u64, Spoiled>,
    /// The disk does not give them; left alone.
    unreadable: BTreeSet<u64>,
    /// Handed back, or read and not handed out: delivered before all that is ahead.
    released: BTreeMap<u64, WaitingRecord>,
    ahead: VecDeque<(u64, Envelope, u64)>,
    /// Taken out before they would have been read, or had their turn: reading passes them over.
    out_of_turn: BTreeSet<u64>,
    cursor: u64,
    handed: u64,
    /// Below, messages may have been handed out by an earlier broker.
    handed_before: u64,
    /// Below, a lease is noted in the store before the message is handed out: what was here when
    /// the store was opened may be what ended the process before.
    noted_below: u64,
    /// Messages with a note, or about to have one.
    past: BTreeMap<u64, Past>,
    /// Messages whose note is to be written before they are handed out.
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

    /// Whether messages to be sent wait in it.
    pub(super) fn is_outbound(&self) -> bool {
        QueueName::stored(&self.name).backend().is_some()
    }

    /// Takes over a note that an earlier process left.
    pub(super) fn remember(&mut self, sequence: u64, lost: u32) {
        self.past.insert(sequence, Past { lost, noted: false });
    }

    /// The notes to be written before what was [leased](Self::lease) is handed out.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        let (id, past) = (self.position.id, &self.past);
        let note =
            |sequence| (id, sequence, past.get(&sequence).map_or(1, |past| past.lost.saturating_add(1)));
        std::mem::take(&mut self.unwritten).into_iter().map(note).collect()
    }

    /// The notes as they are when every lease is taken back in order.
    pub(super) fn clean_leases(&self) -> impl Iterator<Item = Note> + '_ {
        let noted = self.past.iter().filter(|(_, past)| past.noted);
        noted.map(|(sequence, past)| (self.position.id, *sequence, past.lost))
    }

    /// Whether a note of this message may be in the store.
    pub(super) fn is_noted(&self, sequence: u64) -> bool {
        self.past.contains_key(&sequence)
    }

    /// Forgets a message that is gone, and whose note is.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.past.remove(&sequence);
        self.out_of_turn.remove(&sequence);
    }

    /// The messages that wait for a consumer.
    pub(super) fn ready(&self) -> u64 {
        let out = self.leased.len() + self.settled.len() + self.spoiled.len() + self.unreadable.len();
        self.position.count.saturating_sub(out as u64)
    }

    /// What will be stored when everything settled is gone.
    pub(super) fn kept(&self) -> u64 {
        self.position.count.saturating_sub((self.settled.len() + self.spoiled.len()) as u64)
    }

    /// Whether something is to be written.
    pub(super) fn dirty(&self) -> bool {
        !self.settled.is_empty() || !self.spoiled.is_empty()
    }

    /// Above the highest sequence number that was handed out.
    pub(super) fn handed(&self) -> u64 {
        self.handed
    }

    /// Takes a lease back from `consumer`: to be removed where it is `done`, else to be delivered
    /// again. False where the consumer has no such lease (any more).
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

    /// Takes all leases back from `consumer`.
    pub(super) fn release_all(&mut self, consumer: u64) {
        let its: Vec<u64> =
            self.leased.iter().filter(|(_, lease)| lease.consumer == consumer).map(|(n, _)| *n).collect();
        for sequence in its {
            self.settle(consumer, sequence, false);
        }
    }

    /// What is known of the message `number`, if it waits.
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

    /// Takes a message out of what [waits](Self::waiting), whichever are before it.
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

    /// Puts back what [`evict`](Self::evict) or [`take_out`](Self::take_out) took: it comes next.
    pub(super) fn put_back(&mut self, sequence: u64, known: WaitingRecord) {
        self.released.insert(sequence, known);
    }

    /// The next message for `consumer`, leased to it; `None` when all are out.
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
        let returned = self.note(sequence);
        Some(Leased { sequence, envelope, redelivered: known.redelivered || returned > 0, returned })
    }

    /// Sees to it that the lease of a message is noted; how many earlier ones were lost.
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

    /// The oldest message that nobody holds, taken out of what waits.
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
                // Dropped by a write that failed and was stored all the same.
                Ok(None) => {}
                Err(error) => self.set_aside([sequence].into(), &error),
            }
        }
        None
    }

    /// Reads on where nothing is ahead; true when that came to the queue's end.
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

    /// The number, the message and its size, unless it cannot be decoded.
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

    /// Everything has been read, nothing is released: what is ahead must be what was counted.
    fn count_again(&mut self) {
        let known = self.ahead.len() as u64;
        let ready = self.ready();
        if known != ready {
            tracing::error!(
                queue = self.name,
                counted = ready,
                found = known,
                "the embedded store contains a different number of messages than it counted: it was damaged; \
                 check the disk"
            );
            self.position.count = (self.position.count + known).saturating_sub(ready);
        }
    }

    /// Takes over what a store that was opened again says, after a write that may or may not have
    /// been stored.
    pub(super) fn reopen(&mut self, store: &Store, position: Option<Position>) {
        if let Some(position) = position {
            self.position = position;
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
