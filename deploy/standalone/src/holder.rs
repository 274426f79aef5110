//! Finds who has the messages that a command is about: the broker, or a running gateway that has the store
//! open.

use postern_broker::{Broker, BrokerError, BrokerOptions, BrokerStatus};
use postern_config::Config;
use postern_service::{broker, program::Exit};
use std::{path::Path, sync::Arc, time::Duration};

/// How long connecting to RabbitMQ may take.
const CONNECTING: Duration = Duration::from_secs(15);

/// Who has the messages that a command is about.
pub(crate) enum Holder {
    /// The broker, connected.
    Broker(Arc<dyn Broker>),
    /// A running gateway, which has the store open.
    Gateway,
}

/// Connects to the broker of `config` under the name `client_name`, unless a running gateway has the store
/// open.
///
/// # Errors
/// [`Exit`] with what to do.
pub(crate) async fn holder(config: &Config, client_name: &str) -> Result<Holder, Exit> {
    let url = config.broker.url.expose();
    if let Some(folder) = url.strip_prefix("embedded:")
        && !postern_store::is_used(Path::new(folder))
    {
        return Err(Exit::Failed(anyhow::anyhow!(
            "there is no store in {folder}: run this where the gateway runs, with its --config, or name its \
             admin port with --admin"
        )));
    }
    let options = BrokerOptions {
        topology: postern_service::topology(config),
        publish_timeout: config.broker.publish_timeout.0,
        client_name: client_name.to_owned(),
        min_free_disk: config.broker.min_free_disk,
        max_deliveries: config.dispatcher.max_deliveries,
    };
    match broker::connect(url, options, config.message_log().as_ref()).await {
        Ok(open) => usable(open.broker).await.map(Holder::Broker),
        Err(BrokerError::Locked { .. }) => Ok(Holder::Gateway),
        Err(error) => Err(error.into()),
    }
}

async fn usable(broker: Arc<dyn Broker>) -> Result<Arc<dyn Broker>, Exit> {
    let mut status = broker.status();
    let usable = status.wait_for(|now| matches!(now, BrokerStatus::Ready | BrokerStatus::Blocked(_)));
    if tokio::time::timeout(CONNECTING, usable).await.is_err() {
        let problem = broker.status().borrow().problem().unwrap_or_default();
        return Err(Exit::Failed(anyhow::anyhow!("the broker is {problem}")));
    }
    Ok(broker)
}
