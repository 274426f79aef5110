//! Who carries an order out: this program on the broker, or a running gateway.

use super::{
    remote::Remote,
    target::{Target, segment},
};
use postern_broker::{Broker, BrokerError, BrokerOptions, BrokerStatus};
use postern_config::Config;
use postern_service::{
    broker,
    control::{
        CancelOrder, Cancellation, Control, MoveOrder, Moved, Operator, OrderError, Paused, PurgeOrder,
        Purged, QueueList,
    },
    health::HealthRegistry,
    program::Exit,
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// How long connecting to RabbitMQ may take, and then reading the log of orders.
const CONNECTING: Duration = Duration::from_secs(15);

/// Who carries an order out.
pub(super) enum OrderClient {
    /// This program.
    Here { operator: Operator, broker: Arc<dyn Broker> },
    /// A gateway, by its admin port.
    There(Remote),
}

impl OrderClient {
    /// # Errors
    /// [`Exit`] with what to do.
    pub(super) async fn open(target: &Target, config: &Config, admin: SocketAddr) -> Result<Self, Exit> {
        if let Some(url) = &target.admin {
            return Remote::new(url, target).map(Self::There);
        }
        let url = config.broker.url.expose();
        if let Some(folder) = url.strip_prefix("embedded:")
            && !Path::new(folder).join("store").exists()
        {
            return Err(Exit::Failed(anyhow::anyhow!(
                "there is no store in {folder}: run this where the gateway runs, with its --config, or name \
                 its admin port with --admin"
            )));
        }
        let options = BrokerOptions {
            topology: postern_service::topology(config),
            publish_timeout: config.broker.publish_timeout.0,
            client_name: "postern orders".to_owned(),
            min_free_disk: config.broker.min_free_disk,
            max_deliveries: config.dispatcher.max_deliveries,
        };
        match broker::connect(url, options).await {
            Ok(broker) => Self::connected(broker, config).await,
            Err(BrokerError::Locked { .. }) => {
                let address = config.admin.listen.unwrap_or(admin);
                let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
                Remote::new(&format!("{scheme}://{address}"), target).map(Self::There)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn connected(broker: Arc<dyn Broker>, config: &Config) -> Result<Self, Exit> {
        let mut status = broker.status();
        let usable = status.wait_for(|now| matches!(now, BrokerStatus::Ready | BrokerStatus::Blocked(_)));
        if tokio::time::timeout(CONNECTING, usable).await.is_err() {
            let problem = broker.status().borrow().problem().unwrap_or_default();
            return Err(Exit::Failed(anyhow::anyhow!("the broker is {problem}")));
        }
        let control = Control::new(HealthRegistry::default());
        tokio::spawn(control.follow(broker.clone()));
        // Where the log cannot be read, the order says so.
        let _ = tokio::time::timeout(CONNECTING, control.until_read()).await;
        Ok(Self::Here { operator: Operator::new(broker.clone(), control, config), broker })
    }

    /// Pauses a backend.
    pub(super) async fn pause(&self, backend: &str, by: &str) -> Result<Paused, Exit> {
        match self {
            Self::Here { operator, .. } => operator.pause(backend, by).await.map_err(exit),
            Self::There(remote) => remote.order(&["backends", segment(backend)?, "pause"], by).await,
        }
    }

    /// Resumes a backend.
    pub(super) async fn resume(&self, backend: &str, by: &str) -> Result<Paused, Exit> {
        match self {
            Self::Here { operator, .. } => operator.resume(backend, by).await.map_err(exit),
            Self::There(remote) => remote.order(&["backends", segment(backend)?, "resume"], by).await,
        }
    }

    /// Cancels messages of a backend.
    pub(super) async fn cancel(
        &self,
        backend: &str,
        order: &CancelOrder,
        by: &str,
    ) -> Result<Cancellation, Exit> {
        match self {
            Self::Here { operator, .. } => operator.cancel(backend, order, by).await.map_err(exit),
            Self::There(remote) => remote.post(&["backends", segment(backend)?, "cancel"], order).await,
        }
    }

    /// All queues.
    pub(super) async fn queues(&self) -> Result<QueueList, Exit> {
        match self {
            Self::Here { operator, .. } => operator.queues().await.map_err(exit),
            Self::There(remote) => remote.get(&["queues"]).await,
        }
    }

    /// Moves what waits for a backend.
    pub(super) async fn move_messages(&self, from: &str, order: &MoveOrder, by: &str) -> Result<Moved, Exit> {
        match self {
            Self::Here { operator, .. } => operator.move_messages(from, order, by).await.map_err(exit),
            Self::There(remote) => remote.post(&["queues", segment(from)?, "move"], order).await,
        }
    }

    /// Drops what waits in a queue.
    pub(super) async fn purge(&self, name: &str, order: &PurgeOrder, by: &str) -> Result<Purged, Exit> {
        match self {
            Self::Here { operator, .. } => operator.purge(name, order, by).await.map_err(exit),
            Self::There(remote) => remote.post(&["queues", segment(name)?, "purge"], order).await,
        }
    }

    /// The last acknowledgements reach the broker.
    pub(super) async fn close(&self) {
        if let Self::Here { broker, .. } = self {
            broker.close().await;
        }
    }
}

/// What a command line can mend is status 2.
fn exit(error: OrderError) -> Exit {
    match error {
        OrderError::UnknownBackend { .. } | OrderError::UnknownQueue { .. } | OrderError::Invalid(_) => {
            Exit::Config(error.to_string())
        }
        OrderError::NoLog(_) | OrderError::Broker(_) => error.into(),
    }
}
