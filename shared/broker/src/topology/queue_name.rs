//! The names of exchanges and queues.

use postern_shared::message::{BackendName, Priority};
use std::{fmt, sync::Arc, time::Duration};

/// The exchange and the queue of what people sent in.
pub const INBOUND: &str = "postern.inbound";
/// The exchange of what is to be sent; also the prefix of its queues.
pub const OUTBOUND: &str = "postern.outbound";
/// The exchange and the queue of what became of it.
pub const REPORTS: &str = "postern.reports";
/// The exchange and the queue of what clients of compatibility listeners are to be told.
pub const CALLBACKS: &str = "postern.callbacks";
/// The queue of callbacks whose user, or whose host, has as many under way as one may have.
pub const BULK_CALLBACKS: &str = "postern.callbacks.bulk";
/// The prefix of the queues of what providers are to be asked.
pub const POLLS: &str = "postern.polls";
/// The exchange and the queue of what could not be sent.
pub const DEAD: &str = "postern.dead";
/// The alternate exchange and the queue of messages to backends that nobody declared.
pub const UNROUTED: &str = "postern.unrouted";
/// A queue of an earlier version, for messages that may have crashed their process. It is emptied and
/// deleted.
pub const QUARANTINE: &str = "postern.quarantine";
/// The log of what operators order: see [`postern_shared::control`].
pub const CONTROL: &str = "postern.control";
/// The log in which processes tell each other which of their backends do not send now. Only a broker that
/// several processes share has it.
pub const HEALTH: &str = "postern.health";
/// The queue from which the message log is written: see [`crate::events`].
pub const LOG: &str = "postern.log";
/// The prefix of the exchanges and queues in which retries wait.
pub const WAIT: &str = "postern.wait";

/// The exchange by which a message comes to one queue and no other: a retry that has waited, a dead
/// letter that is to be tried again.
pub const RETURN: &str = "postern.return";

/// Whether only Postern publishes to `exchange`, so that what a message's headers say of its way is
/// Postern's word. An application that may publish to [`OUTBOUND`] alone reaches none of these: not by
/// RabbitMQ's default exchange, which has the empty name and asks for a permission of its own, and not
/// by a binding or a dead-letter exchange, which ask for the permission to publish to their target.
pub fn is_internal(exchange: &str) -> bool {
    matches!(exchange, "" | DEAD | RETURN)
        || exchange.strip_prefix(WAIT).is_some_and(|rest| rest.starts_with('.'))
}

/// The name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// `postern.inbound`
    pub fn inbound() -> Self {
        Self(INBOUND.into())
    }

    /// `postern.reports`
    pub fn reports() -> Self {
        Self(REPORTS.into())
    }

    /// `postern.callbacks`
    pub fn callbacks() -> Self {
        Self(CALLBACKS.into())
    }

    /// `postern.callbacks.bulk`
    pub fn bulk_callbacks() -> Self {
        Self(BULK_CALLBACKS.into())
    }

    /// `postern.dead`
    pub fn dead() -> Self {
        Self(DEAD.into())
    }

    /// `postern.unrouted`
    pub fn unrouted() -> Self {
        Self(UNROUTED.into())
    }

    /// `postern.control`
    pub fn control() -> Self {
        Self(CONTROL.into())
    }

    /// `postern.health`
    pub fn health() -> Self {
        Self(HEALTH.into())
    }

    /// Whether it is a stream, which each of its consumers reads from the first record on.
    pub fn is_stream(&self) -> bool {
        matches!(self.as_str(), CONTROL | HEALTH)
    }

    /// `postern.log`
    pub fn log() -> Self {
        Self(LOG.into())
    }

    /// `postern.quarantine`
    pub fn quarantine() -> Self {
        Self(QUARANTINE.into())
    }

    /// `postern.outbound.<backend>` or `postern.outbound.<backend>.bulk`
    pub fn outbound(backend: &BackendName, lane: Priority) -> Self {
        Self(format!("{OUTBOUND}.{}", outbound_key(backend, lane)).into())
    }

    /// `postern.polls.<backend>`
    pub fn polls(backend: &BackendName) -> Self {
        Self(format!("{POLLS}.{backend}").into())
    }

    /// Whether it holds what a backend's provider is to be asked.
    pub fn holds_polls(&self) -> bool {
        let backend = self.0.strip_prefix(POLLS).and_then(|rest| rest.strip_prefix('.'));
        backend.is_some_and(|backend| backend.parse::<BackendName>().is_ok())
    }

    /// The queue that a store holds as `name`, whichever version wrote it.
    pub fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// `postern.wait.<milliseconds>ms`
    pub fn wait(delay: Duration) -> Self {
        Self(format!("{WAIT}.{}ms", delay.as_millis()).into())
    }

    /// The queue called `name`, if it is one that messages are worked on from: inbound, reports, or a
    /// backend's, its polls included.
    pub fn known(name: &str) -> Option<Self> {
        let queue = Self(name.into());
        let is_worked_on =
            matches!(name, INBOUND | REPORTS) || queue.backend().is_some() || queue.holds_polls();
        is_worked_on.then_some(queue)
    }

    /// The backend whose outbound queue this is.
    pub fn backend(&self) -> Option<BackendName> {
        let key = self.0.strip_prefix(OUTBOUND)?.strip_prefix('.')?;
        key.strip_suffix(".bulk").unwrap_or(key).parse().ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The routing key of `backend`'s `lane` on `postern.outbound`.
pub(super) fn outbound_key(backend: &BackendName, lane: Priority) -> String {
    match lane {
        Priority::Normal => backend.to_string(),
        Priority::Bulk => format!("{backend}.bulk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_publish_to_no_internal_exchange() {
        for exchange in ["", DEAD, RETURN, "postern.wait.1000ms"] {
            assert!(is_internal(exchange), "{exchange}");
        }
        for exchange in [INBOUND, OUTBOUND, REPORTS, CALLBACKS, UNROUTED, WAIT, "postern.waiting", "theirs"] {
            assert!(!is_internal(exchange), "{exchange}");
        }
    }

    #[test]
    fn queues_that_are_worked_on_are_known_by_their_names() {
        for (name, backend) in [
            ("postern.outbound.demo", Some("demo")),
            ("postern.outbound.demo.bulk", Some("demo")),
            ("postern.inbound", None),
            ("postern.reports", None),
            ("postern.polls.demo", None),
        ] {
            let queue = QueueName::known(name).unwrap();
            assert_eq!((queue.as_str(), queue.backend().as_ref().map(|b| b.as_str())), (name, backend));
        }
        for name in [
            "",
            "postern.dead",
            "postern.outbound",
            "postern.outbound.",
            "postern.outbound.A",
            "postern.polls",
            "postern.polls.A",
            "postern.quarantine",
        ] {
            assert_eq!(QueueName::known(name), None, "{name}");
        }
    }
}
