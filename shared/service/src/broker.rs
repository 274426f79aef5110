//! Opening the broker that `broker.url` names.

use postern_broker::{Broker, BrokerError, BrokerOptions};
use postern_rabbitmq::RabbitBroker;
use postern_store::embedded::EmbeddedBroker;
use std::sync::Arc;

/// Opens the broker that `url` names. For RabbitMQ this returns at once and connects in the
/// background, retrying until it succeeds: [`Broker::status`] tells. The embedded store is open when
/// this returns.
///
/// # Errors
/// [`BrokerError::Url`], [`BrokerError::Locked`], [`BrokerError::Store`].
pub async fn connect(url: &str, options: BrokerOptions) -> Result<Arc<dyn Broker>, BrokerError> {
    match url.split_once(':') {
        Some(("embedded", dir)) => Ok(Arc::new(EmbeddedBroker::open(dir, options).await?)),
        Some(("amqp" | "amqps", _)) => Ok(Arc::new(RabbitBroker::connect(url, options)?)),
        _ => Err(BrokerError::Url("unknown kind of broker".to_owned())),
    }
}
