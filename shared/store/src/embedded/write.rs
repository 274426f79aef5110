//! Writes, whose parts are stored together.

use super::record::Record;
use postern_shared::event::Event;

/// A message with its destination, ready to be stored.
#[derive(Debug)]
pub(super) enum QueueEntry {
    /// A message for the queue with this index.
    Now(usize, Record),
    /// A delayed message, which is due at this time (ms since 1970) and then goes into this queue.
    Later(u64, String, Record),
}

impl QueueEntry {
    /// The bytes of the message's columns.
    pub(super) fn size(&self) -> u64 {
        let (Self::Now(_, record) | Self::Later(_, _, record)) = self;
        record.size()
    }
}

/// A publish, whose parts are stored together.
#[derive(Debug)]
pub(super) struct Publish {
    /// The messages for the queues.
    pub(super) entries: Vec<QueueEntry>,
    /// The events for the message log.
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

/// Messages of one queue, with what is stored in place of each.
#[derive(Debug)]
pub(super) struct Replace {
    /// The queue's index.
    pub(super) queue: usize,
    /// The messages by their numbers, each with its replacement.
    pub(super) messages: Vec<(u64, Publish)>,
}

/// Changes that are written together or not at all.
#[derive(Debug)]
pub(super) enum Write {
    /// Messages are added.
    Publish(Publish),
    /// Messages that still wait are replaced.
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
