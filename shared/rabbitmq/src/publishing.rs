//! Publishing on the channel in use, within a time limit.

use super::{connections::Connections, properties::Outgoing, publisher::CurrentChannel};
use postern_broker::{Address, BrokerError, Envelope};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Publishes messages on the channel in use. All clones use the same channel.
#[derive(Debug, Clone)]
pub(super) struct Publishing {
    connections: Arc<Connections>,
    current: Arc<CurrentChannel>,
}

impl Publishing {
    pub(super) fn new(connections: Arc<Connections>, current: Arc<CurrentChannel>) -> Self {
        Self { connections, current }
    }

    /// Publishes `messages`; see [`Broker::publish`](postern_broker::Broker::publish).
    pub(super) async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let connections = &*self.connections;
        let limit = connections.options.publish_timeout;
        let deadline = Instant::now() + limit;
        let mut messages: Vec<_> = messages
            .into_iter()
            .map(|(address, envelope)| Outgoing::new(address, envelope, connections.max_body()))
            .collect::<Result<_, _>>()?;
        if messages.is_empty() {
            return Ok(());
        }
        let published = async {
            loop {
                let publisher = self.current.get(connections, deadline).await?;
                if let Some(outcome) = publisher.publish(connections, &mut messages).await {
                    return outcome;
                }
            }
        };
        match timeout_at(deadline, published).await {
            Ok(Err(BrokerError::Unavailable(_))) if connections.is_closing() => Err(BrokerError::Closed),
            Ok(outcome) => outcome,
            Err(_) => Err(BrokerError::TimedOut(limit)),
        }
    }
}
