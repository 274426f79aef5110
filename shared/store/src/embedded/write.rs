//! What is stored together.

use super::record::Record;
use postern_shared::event::Event;

/// A message with its way, ready to be stored.
#[derive(Debug)]
pub(super) enum QueueEntry {
    /// Into the queue of this index.
    Now(usize, Record),
    /// Into the delayed messages: due at this time (ms since 1970), and then into this queue.
    Later(u64, String, Record),
}

impl QueueEntry {
    /// The bytes of its columns.
    pub(super) fn size(&self) -> u64 {
        let (Self::Now(_, record) | Self::Later(_, _, record)) = self;
        record.size()
    }
}

/// What is stored together.
#[derive(Debug)]
pub(super) struct Publish {
    /// For the queues.
    pub(super) entries: Vec<QueueEntry>,
    /// For the message log: what happens to messages by that.
    pub(super) events: Vec<Event>,
}

impl Publish {
    /// Whether there is nothing to store.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.events.is_empty()
    }

    /// The bytes of its messages.
    pub(super) fn size(&self) -> u64 {
        self.entries.iter().map(QueueEntry::size).sum()
    }
}

/// Messages of one queue, and what is to be stored in place of each.
#[derive(Debug)]
pub(super) struct Replace {
    /// The queue's index.
    pub(super) queue: usize,
    /// By their numbers.
    pub(super) messages: Vec<(u64, Publish)>,
}

/// What is written together, or not at all.
#[derive(Debug)]
pub(super) enum Write {
    /// Messages are added.
    Publish(Publish),
    /// Messages are replaced, those that still wait.
    Replace(Replace),
}

impl Write {
    /// The bytes of the messages that it adds.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Publish(publish) => publish.size(),
            Self::Replace(replace) => replace.messages.iter().map(|(_, publish)| publish.size()).sum(),
        }
    }
}
