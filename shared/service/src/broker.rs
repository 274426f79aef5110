//! Opens the broker that `broker.url` names.

use crate::message_log::keeping;
use postern_broker::{Broker, BrokerError, BrokerOptions};
use postern_config::{LogPlace, MessageLogConfig};
use postern_rabbitmq::RabbitBroker;
use postern_store::embedded::EmbeddedBroker;
use std::{path::Path, sync::Arc};

/// An open broker.
#[derive(Debug, Clone)]
pub struct OpenBroker {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The same broker if it is the embedded one, which keeps the message log as well.
    pub embedded: Option<Arc<EmbeddedBroker>>,
}

/// Opens the broker that `url` names; the embedded broker also records in its store what `log` selects. For
/// RabbitMQ, this returns at once and connects in the background, retrying until it succeeds: see
/// [`Broker::status`]. The embedded store is open when this returns.
///
/// # Errors
/// [`BrokerError::Url`], [`BrokerError::Locked`], [`BrokerError::Store`].
pub async fn connect(
    url: &str,
    options: BrokerOptions,
    log: Option<&MessageLogConfig>,
) -> Result<OpenBroker, BrokerError> {
    match url.split_once(':') {
        Some(("embedded", dir)) => {
            let embedded = match log.filter(|log| matches!(log.place, LogPlace::Embedded)) {
                None => EmbeddedBroker::open(dir, options).await?,
                Some(log) => {
                    let keeping = keeping(log, Some(Path::new(dir))).map_err(|error| BrokerError::Store {
                        path: dir.to_owned(),
                        why: format!("cannot be used: {error}"),
                    })?;
                    EmbeddedBroker::open_recording(dir, options, keeping).await?
                }
            };
            let embedded = Arc::new(embedded);
            Ok(OpenBroker { broker: embedded.clone(), embedded: Some(embedded) })
        }
        Some(("amqp" | "amqps", _)) => {
            Ok(OpenBroker { broker: Arc::new(RabbitBroker::connect(url, options)?), embedded: None })
        }
        _ => Err(BrokerError::Url("unknown kind of broker".to_owned())),
    }
}
