//! Who answers: the broker from here, or a running gateway.

use super::{arguments::Target, remote::Remote};
use postern_broker::{Broker, BrokerError, BrokerStatus};
use postern_config::Config;
use postern_service::broker;
use postern_service::{
    dead::{DeadLetter, DeadLetters, DeadQueue, Done, Filter, Listing, Summary},
    program::Exit,
};
use serde_json::Value;
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// How long connecting to RabbitMQ may take.
const CONNECTING: Duration = Duration::from_secs(15);

/// Who answers.
pub(super) enum DeadLetterClient {
    /// The broker.
    Here { letters: DeadLetters, broker: Arc<dyn Broker> },
    /// A gateway's admin port.
    There(Remote),
}

impl DeadLetterClient {
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
        let options = postern_broker::BrokerOptions {
            topology: postern_service::topology(config),
            publish_timeout: config.broker.publish_timeout.0,
            client_name: "postern dead".to_owned(),
            min_free_disk: config.broker.min_free_disk,
            max_deliveries: config.dispatcher.max_deliveries,
        };
        match broker::connect(url, options).await {
            Ok(broker) => Self::connected(broker).await,
            Err(BrokerError::Locked { path }) => {
                let address = config.admin.listen.unwrap_or(admin);
                let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
                if config.admin.token.is_none() && target.token.is_none() && target.token_file.is_none() {
                    return Err(Exit::Failed(anyhow::anyhow!(
                        "{path} is in use by a running gateway, which answers at its admin port ({address}) once \
                         admin.token is set and it is started again; or stop it first"
                    )));
                }
                Remote::new(&format!("{scheme}://{address}"), target).map(Self::There)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn connected(broker: Arc<dyn Broker>) -> Result<Self, Exit> {
        let mut status = broker.status();
        let usable = status.wait_for(|now| matches!(now, BrokerStatus::Ready | BrokerStatus::Blocked(_)));
        if tokio::time::timeout(CONNECTING, usable).await.is_err() {
            let problem = broker.status().borrow().problem().unwrap_or_default();
            return Err(Exit::Failed(anyhow::anyhow!("the broker is {problem}")));
        }
        Ok(Self::Here { letters: DeadLetters::new(broker.clone()), broker })
    }

    /// Those that match, without numbers and texts.
    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing<Summary>, Exit> {
        match self {
            Self::Here { letters, .. } => Ok(letters.list(filter, DeadLetter::summary).await?),
            Self::There(remote) => remote.list(filter).await,
        }
    }

    /// All of those with this id.
    pub(super) async fn show(&self, id: &str, queue: DeadQueue) -> Result<Listing<Value>, Exit> {
        match self {
            Self::Here { letters, .. } => {
                let filter = Filter { id: vec![id.to_owned()], queue, ..Filter::default() };
                Ok(letters.list(&filter, DeadLetter::whole).await?)
            }
            Self::There(remote) => remote.show(id, queue).await,
        }
    }

    /// Puts those back that match.
    pub(super) async fn redrive(&self, filter: &Filter, dry_run: bool) -> Result<Done, Exit> {
        match self {
            Self::Here { letters, .. } => Ok(letters.redrive(filter, dry_run).await?),
            Self::There(remote) => remote.order("redrive", filter, dry_run).await,
        }
    }

    /// Drops those that match.
    pub(super) async fn discard(&self, filter: &Filter, dry_run: bool) -> Result<Done, Exit> {
        match self {
            Self::Here { letters, .. } => Ok(letters.discard(filter, dry_run).await?),
            Self::There(remote) => remote.order("drop", filter, dry_run).await,
        }
    }

    /// The last acknowledgements reach the broker.
    pub(super) async fn close(&self) {
        if let Self::Here { broker, .. } = self {
            broker.close().await;
        }
    }
}
