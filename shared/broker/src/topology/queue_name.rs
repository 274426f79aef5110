//! The names of exchanges and queues.

use postern_shared::message::{BackendName, Priority};
use std::{fmt, sync::Arc, time::Duration};

/// The exchange and the queue of messages that people sent in.
pub const INBOUND: &str = "postern.inbound";
/// The exchange of messages to send; also the prefix of its queues.
pub const OUTBOUND: &str = "postern.outbound";
/// The exchange and the queue of reports.
pub const REPORTS: &str = "postern.reports";
/// The exchange and the queue of callbacks to clients of compatibility listeners.
pub const CALLBACKS: &str = "postern.callbacks";
/// The queue of callbacks whose user or host already has as many under way as one may have.
pub const BULK_CALLBACKS: &str = "postern.callbacks.bulk";
/// The prefix of the queues of polls to providers.
pub const POLLS: &str = "postern.polls";
/// The exchange and the queue of dead letters.
pub const DEAD: &str = "postern.dead";
/// The alternate exchange and the queue of messages to backends that nobody declared.
pub const UNROUTED: &str = "postern.unrouted";
/// A queue of an earlier version, for messages that may have crashed their process. It is emptied and
/// deleted.
pub const QUARANTINE: &str = "postern.quarantine";
/// The stream of operators' commands: see [`postern_shared::control`].
pub const CONTROL: &str = "postern.control";
/// The stream in which processes tell each other which of their backends cannot send now. Only a broker
/// that several processes share has it.
pub const HEALTH: &str = "postern.health";
/// The queue from which the message log is written: see [`crate::events`].
pub const LOG: &str = "postern.log";
/// The prefix of the exchanges and queues in which retries wait.
pub const WAIT: &str = "postern.wait";

/// The exchange for messages to one queue and no other: a retry whose delay has passed, a dead letter
/// that is redriven.
pub const RETURN: &str = "postern.return";

/// Whether only Postern publishes to `exchange`, so that the headers of its messages can be trusted. An
/// application that may publish only to [`OUTBOUND`] reaches no internal exchange: RabbitMQ's default
/// exchange, which has the empty name, needs a permission of its own, and a binding or a dead-letter
/// exchange needs the permission to publish to its target.
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

    /// Whether this is a stream, which each of its consumers reads from the first record on.
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

    /// Whether this is a queue of polls to a backend's provider.
    pub fn holds_polls(&self) -> bool {
        let backend = self.0.strip_prefix(POLLS).and_then(|rest| rest.strip_prefix('.'));
        backend.is_some_and(|backend| backend.parse::<BackendName>().is_ok())
    }

    /// The queue that a store calls `name`, which any version may have written.
    pub fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// `postern.wait.<milliseconds>ms`
    pub fn wait(delay: Duration) -> Self {
        Self(format!("{WAIT}.{}ms", delay.as_millis()).into())
    }

    /// The queue called `name`, if its messages are processed: inbound, reports, callbacks, or a backend's,
    /// including its polls.
    pub fn known(name: &str) -> Option<Self> {
        let queue = Self(name.into());
        let is_worked_on = matches!(name, INBOUND | REPORTS | CALLBACKS | BULK_CALLBACKS)
            || queue.backend().is_some()
            || queue.holds_polls();
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
            ("postern.callbacks", None),
            ("postern.callbacks.bulk", None),
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
