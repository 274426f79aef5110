//! Every exchange and queue, by name, once.
//!
//! | exchange | kind | leads to |
//! | --- | --- | --- |
//! | `postern.inbound` | topic, key = backend | `postern.inbound` |
//! | `postern.outbound` | direct, key = backend or `backend.bulk` | `postern.outbound.<backend>[.bulk]`, else `postern.unrouted` |
//! | `postern.reports` | topic, key = backend | `postern.reports` |
//! | `postern.callbacks` | topic, key = backend | `postern.callbacks`; those of a user or to a host with too many under way wait in `postern.callbacks.bulk` |
//! | `postern.dead` | topic, key = backend | `postern.dead` |
//! | `postern.wait.<delay>` | fanout, key = the queue to return to | `postern.wait.<delay>`, and from there, by way of `postern.return`, the queue named by the key |
//! | `postern.return` | direct, key = queue | that queue, else `postern.unrouted` |
//! | `postern.unrouted` | fanout | `postern.unrouted`: the alternate of all the others |
//!
//! The alternate exchange replaces `mandatory`: in a pipeline, a returned message can be matched to the
//! wrong confirm, and a queue also keeps the messages. `postern.return` is one mechanism for every
//! queue, and a message returns to the queue that it came from, not to every queue bound to its
//! exchange. The default exchange would do the same but has no alternate: retries to a deleted queue
//! would stay in the wait queue and hold up the others. Retries wait in one queue for each delay, never
//! mixed: RabbitMQ expires messages only at a queue's head.
//!
//! [`CALLBACKS`] drops its oldest message at its limit instead of refusing: a callback is published in
//! one step with the report and the retries of an attempt, and a refusal would hold those up, and the
//! backend with them.
//!
//! `postern.polls.<backend>` holds the polls of a backend that is polled. They come through the wait
//! queues and [`Address::Queue`], and at the queue's limit the oldest are dropped.
//!
//! [`LOG`] is a second queue for what is published to the applications, the backends, the reports and
//! the dead letters: the message log is written from it. It exists only with [`LogRoute::Queue`].
//!
//! [`CONTROL`] and [`HEALTH`] are streams: each consumer gets every record, from the first one on,
//! independently of other consumers, and acknowledging removes nothing. They have no exchange of their
//! own; records are published to [`Address::Queue`].

mod address;
mod queue_name;

pub use address::Address;
pub use queue_name::{
    BULK_CALLBACKS, CALLBACKS, CONTROL, DEAD, HEALTH, INBOUND, LOG, OUTBOUND, POLLS, QUARANTINE, QueueName,
    REPORTS, RETURN, UNROUTED, WAIT, is_internal,
};

use postern_shared::message::{BackendName, Priority};
use std::{collections::BTreeSet, time::Duration};

/// The most polls that are due and wait in the queue of one backend. Beyond that, the oldest are dropped.
const MAX_POLLS: u64 = 100_000;

/// What happens to a queue at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages are dropped.
    DropOldest,
    /// Publishes fail with [`BrokerError::Full`](super::BrokerError::Full).
    Refuse,
}

/// How far a queue may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    /// The most messages.
    pub messages: u64,
    /// What happens at the limit.
    pub overflow: Overflow,
}

/// A queue to declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: QueueName,
    /// How far it may grow. `None`: as far as the disk allows.
    pub limit: Option<QueueLimit>,
}

/// How published messages get into the message log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogRoute {
    /// There is no message log.
    #[default]
    None,
    /// Through the queue `postern.log`, which holds at most this many messages and then drops the oldest.
    Queue(u64),
    /// The broker writes the log with the messages themselves, as the embedded broker does.
    Store,
}

/// Everything that must exist before the first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The backends, each of which has two outbound queues.
    pub backends: BTreeSet<BackendName>,
    /// The backends whose providers are asked what became of messages. Each has a queue for these polls.
    pub polled: BTreeSet<BackendName>,
    /// The delays of retries, each of which has a wait queue.
    pub delays: BTreeSet<Duration>,
    /// The most reports that are kept. Beyond that, the oldest are dropped.
    pub max_reports: u64,
    /// The most callbacks that wait in each of their two queues. Beyond that, the oldest are dropped: a
    /// callback is published together with what became of a message, which must not be refused because
    /// of it.
    pub max_callbacks: u64,
    /// The most messages in `postern.inbound` and in each outbound queue. Publishes beyond that are
    /// refused. `None`: any number.
    pub max_messages: Option<u64>,
    /// How published messages get into the message log.
    pub log: LogRoute,
}

impl Topology {
    /// The queues to declare, without wait queues and streams.
    pub fn queues(&self) -> Vec<QueueSpec> {
        let refuse = self.max_messages.map(|messages| QueueLimit { messages, overflow: Overflow::Refuse });
        let drop = |messages| Some(QueueLimit { messages, overflow: Overflow::DropOldest });
        let mut queues = vec![
            QueueSpec { name: QueueName::inbound(), limit: refuse },
            QueueSpec { name: QueueName::reports(), limit: drop(self.max_reports) },
            QueueSpec { name: QueueName::callbacks(), limit: drop(self.max_callbacks) },
            QueueSpec { name: QueueName::bulk_callbacks(), limit: drop(self.max_callbacks) },
            QueueSpec { name: QueueName::dead(), limit: None },
            QueueSpec { name: QueueName::unrouted(), limit: None },
        ];
        if let LogRoute::Queue(messages) = self.log {
            queues.push(QueueSpec { name: QueueName::log(), limit: drop(messages) });
        }
        for backend in &self.backends {
            for lane in [Priority::Normal, Priority::Bulk] {
                queues.push(QueueSpec { name: QueueName::outbound(backend, lane), limit: refuse });
            }
        }
        for backend in &self.polled {
            queues.push(QueueSpec { name: QueueName::polls(backend), limit: drop(MAX_POLLS) });
        }
        queues
    }

    /// This topology with the backends and the delays of `more` added.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let mut both = self.clone();
        both.backends.extend(more.backends.iter().cloned());
        both.polled.extend(more.polled.iter().cloned());
        both.delays.extend(&more.delays);
        both
    }

    /// This topology with only those backends and delays that `other` does not have.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.backends.retain(|backend| !other.backends.contains(backend));
        rest.polled.retain(|backend| !other.polled.contains(backend));
        rest.delays.retain(|delay| !other.delays.contains(delay));
        rest
    }

    /// The shortest declared delay that is at least `wanted`, or the longest if all are shorter.
    /// `wanted` itself if none is declared.
    pub fn delay(&self, wanted: Duration) -> Duration {
        self.delays.range(wanted..).next().or_else(|| self.delays.last()).copied().unwrap_or(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_delay_is_rounded_up_to_one_that_has_a_queue() {
        let delays = [1, 5, 30].map(Duration::from_secs).into();
        let topology = Topology {
            backends: BTreeSet::new(),
            polled: BTreeSet::new(),
            delays,
            max_reports: 1,
            max_callbacks: 1,
            max_messages: None,
            log: LogRoute::None,
        };
        for (wanted, got) in [(0, 1), (5, 5), (6, 30), (300, 30)] {
            assert_eq!(topology.delay(Duration::from_secs(wanted)), Duration::from_secs(got));
        }
        let more = Topology {
            backends: ["demo".parse().unwrap()].into(),
            polled: ["demo".parse().unwrap()].into(),
            delays: [Duration::MAX].into(),
            ..topology
        };
        let both = topology.with(&more);
        assert_eq!((both.backends.len(), both.delays.len()), (1, 4));
        assert_eq!(both.without(&topology), more);
    }
}
