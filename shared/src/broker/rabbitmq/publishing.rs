//! Publishing on whichever channel there is, before a deadline.

use super::{properties::Outgoing, shared::Shared};
use crate::broker::{Address, BrokerError, Envelope};
use tokio::time::{Instant, timeout_at};

/// Publishes `messages`; see [`Broker::publish`](crate::broker::Broker::publish).
pub(super) async fn publish(shared: &Shared, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
    let limit = shared.options.publish_timeout;
    let deadline = Instant::now() + limit;
    let mut messages: Vec<_> = messages
        .into_iter()
        .map(|(address, envelope)| Outgoing::new(address, envelope))
        .collect::<Result<_, _>>()?;
    if messages.is_empty() {
        return Ok(());
    }
    let published = async {
        loop {
            let publisher = shared.publisher(deadline).await?;
            if let Some(outcome) = publisher.publish(shared, &mut messages).await {
                return outcome;
            }
        }
    };
    match timeout_at(deadline, published).await {
        Ok(Err(BrokerError::Unavailable(_))) if shared.is_closing() => Err(BrokerError::Closed),
        Ok(outcome) => outcome,
        Err(_) => Err(BrokerError::TimedOut(limit)),
    }
}
