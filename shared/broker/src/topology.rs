//! Every exchange and queue, by name, once.
//!
//! | exchange | kind | leads to |
//! | --- | --- | --- |
//! | `postern.inbound` | topic, key = backend | `postern.inbound` |
//! | `postern.outbound` | direct, key = backend or `backend.bulk` | `postern.outbound.<backend>[.bulk]`, else `postern.unrouted` |
//! | `postern.reports` | topic, key = backend | `postern.reports` |
//! | `postern.callbacks` | topic, key = backend | `postern.callbacks`; what its user or its host has too much of waits in `postern.callbacks.bulk` |
//! | `postern.dead` | topic, key = backend | `postern.dead` |
//! | `postern.wait.<delay>` | fanout, key = the queue to return to | `postern.wait.<delay>`, and from there, by way of `postern.return`, the queue named by the key |
//! | `postern.return` | direct, key = queue | that queue, else `postern.unrouted` |
//! | `postern.unrouted` | fanout | `postern.unrouted`: the alternate of all the others |
//!
//! [`LOG`] is a second queue for what goes to the applications, to the backends, to the reports and to the dead
//! letters: the message log is written from it. It is there with [`LogRoute::Queue`] alone.
//!
//! [`CONTROL`] and [`HEALTH`] are no queues to work through but streams: each of their consumers gets every
//! record, from the first on, whoever else takes from it, and acknowledging removes nothing. They have no
//! exchange of their own; records come by [`Address::Queue`].

use postern_shared::message::{BackendName, Priority};
use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

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

    /// The queue that a store holds as `name`, whichever version wrote it.
    pub fn stored(name: &str) -> Self {
        Self(name.into())
    }

    /// `postern.wait.<milliseconds>ms`
    pub fn wait(delay: Duration) -> Self {
        Self(format!("{WAIT}.{}ms", delay.as_millis()).into())
    }

    /// The queue called `name`, if it is one that messages are worked on from: inbound, reports, or a
    /// backend's.
    pub fn known(name: &str) -> Option<Self> {
        let queue = Self(name.into());
        (matches!(name, INBOUND | REPORTS) || queue.backend().is_some()).then_some(queue)
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
fn outbound_key(backend: &BackendName, lane: Priority) -> String {
    match lane {
        Priority::Normal => backend.to_string(),
        Priority::Bulk => format!("{backend}.bulk"),
    }
}

/// Where a message is to go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// To the applications.
    Inbound(BackendName),
    /// To a backend's sender.
    Outbound(BackendName, Priority),
    /// To whoever wants to know what became of a message.
    Reports(BackendName),
    /// To the clients of compatibility listeners that ask to be told.
    Callbacks(BackendName),
    /// To the dead letters.
    Dead(BackendName),
    /// To the message log alone: what happened without anything else being published. Only where there is a
    /// log: see [`LogRoute`].
    Log,
    /// Into that queue and no other, whatever else is bound to its exchange.
    Queue(QueueName),
    /// Back to `queue`, not before `delay` has passed. The delay is one of [`Topology::delays`].
    Later {
        /// Where it returns to.
        queue: QueueName,
        /// How long it waits.
        delay: Duration,
    },
}

impl Address {
    /// The AMQP exchange.
    pub fn exchange(&self) -> String {
        match self {
            Self::Inbound(_) => INBOUND.to_owned(),
            Self::Outbound(..) => OUTBOUND.to_owned(),
            Self::Reports(_) => REPORTS.to_owned(),
            Self::Callbacks(_) => CALLBACKS.to_owned(),
            Self::Dead(_) => DEAD.to_owned(),
            Self::Queue(_) | Self::Log => RETURN.to_owned(),
            Self::Later { delay, .. } => QueueName::wait(*delay).to_string(),
        }
    }

    /// The AMQP routing key.
    pub fn routing_key(&self) -> String {
        match self {
            Self::Inbound(backend)
            | Self::Reports(backend)
            | Self::Callbacks(backend)
            | Self::Dead(backend) => backend.to_string(),
            Self::Outbound(backend, lane) => outbound_key(backend, *lane),
            Self::Log => LOG.to_owned(),
            Self::Queue(queue) | Self::Later { queue, .. } => queue.to_string(),
        }
    }

    /// The address of which [`exchange`](Self::exchange) and [`routing_key`](Self::routing_key) are
    /// these; `None` for those that say when or name a queue, and for what is no address.
    pub fn parse(exchange: &str, routing_key: &str) -> Option<Self> {
        if (exchange, routing_key) == (RETURN, LOG) {
            return Some(Self::Log);
        }
        let (backend, lane) = match routing_key.strip_suffix(".bulk") {
            Some(backend) if exchange == OUTBOUND => (backend, Priority::Bulk),
            _ => (routing_key, Priority::Normal),
        };
        let backend = backend.parse().ok()?;
        match exchange {
            INBOUND => Some(Self::Inbound(backend)),
            OUTBOUND => Some(Self::Outbound(backend, lane)),
            REPORTS => Some(Self::Reports(backend)),
            CALLBACKS => Some(Self::Callbacks(backend)),
            DEAD => Some(Self::Dead(backend)),
            _ => None,
        }
    }

    /// The queue that Postern itself keeps for it.
    pub fn queue(&self) -> QueueName {
        match self {
            Self::Inbound(_) => QueueName::inbound(),
            Self::Outbound(backend, lane) => QueueName::outbound(backend, *lane),
            Self::Reports(_) => QueueName::reports(),
            Self::Callbacks(_) => QueueName::callbacks(),
            Self::Dead(_) => QueueName::dead(),
            Self::Log => QueueName::log(),
            Self::Queue(queue) | Self::Later { queue, .. } => queue.clone(),
        }
    }
}

/// What happens to a queue at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages go.
    DropOldest,
    /// Publishes fail with [`BrokerError::Full`](super::BrokerError::Full).
    Refuse,
}

/// How far a queue may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    /// The most messages.
    pub messages: u64,
    /// What happens then.
    pub overflow: Overflow,
}

/// A queue to declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: QueueName,
    /// How far it may grow; without, as far as the disk lets it.
    pub limit: Option<QueueLimit>,
}

/// How what is published comes to the message log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogRoute {
    /// There is no log.
    #[default]
    None,
    /// By the queue `postern.log`, which holds at most this many messages; the oldest go first.
    Queue(u64),
    /// The broker writes it, with the messages themselves: the embedded one.
    Store,
}

/// Everything that must exist before the first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Each of them has its two outbound queues.
    pub backends: BTreeSet<BackendName>,
    /// Each of them has its wait queue.
    pub delays: BTreeSet<Duration>,
    /// The most reports that are kept; the oldest go first.
    pub max_reports: u64,
    /// The most callbacks that wait in each of their two queues; the oldest go first. Who publishes them
    /// publishes what became of a message with them: that must not be refused for the sake of a callback.
    pub max_callbacks: u64,
    /// The most messages in any other queue but the callbacks, the dead letters and the retries that wait:
    /// publishes beyond are refused.
    pub max_messages: Option<u64>,
    /// How what is published comes to the message log.
    pub log: LogRoute,
}

impl Topology {
    /// The queues, without those that hold retries.
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
        queues
    }

    /// The shortest declared delay that is at least `wanted`, else the longest; `wanted` itself
    /// where none is declared.
    pub fn delay(&self, wanted: Duration) -> Duration {
        self.delays.range(wanted..).next().or_else(|| self.delays.last()).copied().unwrap_or(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let backend: BackendName = "demo".parse().unwrap();
        let bulk = Address::Outbound(backend.clone(), Priority::Bulk);
        assert_eq!(bulk.queue().as_str(), "postern.outbound.demo.bulk");
        assert_eq!(
            (bulk.exchange().as_str(), bulk.routing_key().as_str()),
            ("postern.outbound", "demo.bulk")
        );
        let later = Address::Later {
            queue: Address::Outbound(backend, Priority::Normal).queue(),
            delay: Duration::from_secs(5),
        };
        assert_eq!(later.exchange(), "postern.wait.5000ms");
        assert_eq!(later.routing_key(), "postern.outbound.demo");
    }

    #[test]
    fn an_address_is_read_back_from_its_exchange_and_key() {
        let demo: BackendName = "demo".parse().unwrap();
        let outbound = [Priority::Normal, Priority::Bulk].map(|lane| Address::Outbound(demo.clone(), lane));
        let others = [Address::Inbound, Address::Reports, Address::Callbacks, Address::Dead];
        let others = others.map(|of| of(demo.clone()));
        for address in outbound.into_iter().chain(others).chain([Address::Log]) {
            let read = Address::parse(&address.exchange(), &address.routing_key());
            assert_eq!(read, Some(address));
        }
        for (exchange, key) in [("postern.inbound", "demo.bulk"), ("postern.wait.1000ms", "demo"), ("", "")] {
            assert_eq!(Address::parse(exchange, key), None, "{exchange} {key}");
        }
    }

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
            "postern.quarantine",
        ] {
            assert_eq!(QueueName::known(name), None, "{name}");
        }
    }

    #[test]
    fn a_wanted_delay_is_rounded_up_to_one_that_has_a_queue() {
        let delays = [1, 5, 30].map(Duration::from_secs).into();
        let topology = Topology {
            backends: BTreeSet::new(),
            delays,
            max_reports: 1,
            max_callbacks: 1,
            max_messages: None,
            log: LogRoute::None,
        };
        for (wanted, got) in [(0, 1), (5, 5), (6, 30), (300, 30)] {
            assert_eq!(topology.delay(Duration::from_secs(wanted)), Duration::from_secs(got));
        }
    }
}
