//! The destinations of messages, and the exchange and the queue of each.

use super::queue_name::{CALLBACKS, DEAD, INBOUND, LOG, OUTBOUND, QueueName, REPORTS, RETURN, outbound_key};
use postern_shared::message::{BackendName, Priority};
use std::time::Duration;

/// The destination of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// To the applications.
    Inbound(BackendName),
    /// To a backend's sender.
    Outbound(BackendName, Priority),
    /// To the reports of what became of messages.
    Reports(BackendName),
    /// To the callbacks, for clients of compatibility listeners that ask to be told.
    Callbacks(BackendName),
    /// To the dead letters.
    Dead(BackendName),
    /// To the message log alone: an event for which nothing else is published. Only if there is a
    /// message log: see [`LogRoute`](super::LogRoute).
    Log,
    /// To this queue and no other, even if others are bound to its exchange.
    Queue(QueueName),
    /// Back to `queue` after `delay`, which is one of [`Topology::delays`](super::Topology::delays).
    Later {
        /// The queue to which the message returns.
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

    /// The address with this [`exchange`](Self::exchange) and [`routing_key`](Self::routing_key). `None`
    /// for [`Queue`](Self::Queue) and [`Later`](Self::Later), and if no address has them.
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

    /// The queue that Postern itself declares for this address.
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
}
