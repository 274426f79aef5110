//! How much the spool holds, and how much it may.

use crate::embedded::FoundQueue;
use std::fmt;
use tokio::sync::watch;

/// How much the spool may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// The most messages.
    pub messages: u64,
    /// The most bytes of their records (bodies and properties). The files take somewhat more.
    pub bytes: u64,
}

/// How much the spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolUsage {
    /// The number of messages.
    pub messages: u64,
    /// The bytes of their records.
    pub bytes: u64,
    /// Whether it had no room for the last message, and nothing was removed since.
    pub full: bool,
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    Messages(u64),
    Bytes(u64),
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(most) => {
                write!(f, "all of the {most} messages that ingress.spool.max_messages allows")
            }
            Self::Bytes(most) => write!(f, "all of the {most} bytes that ingress.spool.max_bytes allows"),
        }
    }
}

/// Counts the messages and bytes in the spool.
#[derive(Debug)]
pub(super) struct UsageCounter {
    limits: SpoolLimits,
    usage: watch::Sender<SpoolUsage>,
}

impl UsageCounter {
    /// A counter that begins with what was `found`, even if that is more than the limits allow.
    pub(super) fn new(limits: SpoolLimits, found: &[FoundQueue]) -> Self {
        let messages = found.iter().map(|found| found.messages).sum();
        let bytes = found.iter().map(|found| found.bytes).sum();
        Self { limits, usage: watch::Sender::new(SpoolUsage { messages, bytes, full: false }) }
    }

    /// The present usage.
    pub(super) fn usage(&self) -> SpoolUsage {
        *self.usage.borrow()
    }

    /// A receiver of each change of the usage.
    pub(super) fn watch(&self) -> watch::Receiver<SpoolUsage> {
        self.usage.subscribe()
    }

    /// Adds messages and bytes.
    ///
    /// # Errors
    /// There is no room for all of them; then nothing is added. The limit that was reached.
    pub(super) fn reserve(&self, messages: u64, bytes: u64) -> Result<(), Met> {
        let mut met = None;
        self.usage.send_if_modified(|usage| {
            if usage.messages + messages > self.limits.messages {
                met = Some(Met::Messages(self.limits.messages));
            } else if usage.bytes + bytes > self.limits.bytes {
                met = Some(Met::Bytes(self.limits.bytes));
            }
            if met.is_some() {
                return !std::mem::replace(&mut usage.full, true);
            }
            (usage.messages, usage.bytes) = (usage.messages + messages, usage.bytes + bytes);
            true
        });
        met.map_or(Ok(()), Err)
    }

    /// Removes messages and bytes.
    pub(super) fn release(&self, messages: u64, bytes: u64) {
        self.usage.send_modify(|usage| {
            let messages = usage.messages.saturating_sub(messages);
            // The dead letter for a record that cannot be decoded has another size than the record.
            let bytes = if messages == 0 { 0 } else { usage.bytes.saturating_sub(bytes) };
            *usage = SpoolUsage { messages, bytes, full: false };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_room_comes_back() {
        let usage = UsageCounter::new(SpoolLimits { messages: 3, bytes: 100 }, &[]);
        assert_eq!(usage.reserve(2, 50), Ok(()));
        assert_eq!(usage.reserve(2, 1), Err(Met::Messages(3)));
        assert_eq!(usage.reserve(1, 51), Err(Met::Bytes(100)));
        assert_eq!(usage.usage(), SpoolUsage { messages: 2, bytes: 50, full: true });
        usage.release(1, 25);
        assert_eq!(usage.usage(), SpoolUsage { messages: 1, bytes: 25, full: false });
        assert_eq!(usage.reserve(2, 75), Ok(()));
    }
}
