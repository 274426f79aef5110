//! The dead letters: on the broker, or through a running gateway.

use super::{arguments::DeadTarget, remote::Remote};
use crate::holder::{Holder, holder};
use postern_broker::Broker;
use postern_config::Config;
use postern_service::{
    dead::{DeadLetter, DeadLetters, DeadQueue, Done, Filter, Listing, Summary},
    program::Exit,
};
use serde_json::Value;
use std::sync::Arc;

/// Access to the dead letters.
pub(super) enum DeadLetterClient {
    /// On the broker, from this process.
    Here {
        letters: DeadLetters,
        broker: Arc<dyn Broker>,
        /// The name of the person who gives the command.
        by: String,
    },
    /// Through a gateway's admin port.
    There(Remote),
}

impl DeadLetterClient {
    /// Connects to the broker, unless `target` names a gateway, or the one whose admin port is at `admin_url` has
    /// the store open.
    ///
    /// # Errors
    /// [`Exit`] with what to do.
    pub(super) async fn open(target: &DeadTarget, config: &Config, admin_url: &str) -> Result<Self, Exit> {
        if let Some(url) = &target.admin.admin {
            return Remote::new(url, target).map(Self::There);
        }
        match holder(config, "postern dead").await? {
            Holder::Broker(broker) => {
                let log = postern_service::topology(config).log;
                Ok(Self::Here {
                    letters: DeadLetters::new(broker.clone(), log),
                    by: target.given_by.name(),
                    broker,
                })
            }
            Holder::Gateway => Remote::new(admin_url, target).map(Self::There),
        }
    }

    /// The dead letters that match `filter`, without numbers and texts.
    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing<Summary>, Exit> {
        match self {
            Self::Here { letters, .. } => Ok(letters.list(filter, DeadLetter::summary).await?),
            Self::There(remote) => remote.list(filter).await,
        }
    }

    /// All dead letters in `queue` with this id, in full.
    pub(super) async fn show(&self, id: &str, queue: DeadQueue) -> Result<Listing<Value>, Exit> {
        match self {
            Self::Here { letters, .. } => {
                let filter = Filter { id: vec![id.to_owned()], queue, ..Filter::default() };
                Ok(letters.list(&filter, DeadLetter::whole).await?)
            }
            Self::There(remote) => remote.show(id, queue).await,
        }
    }

    /// Redrives the dead letters that match `filter`.
    pub(super) async fn redrive(&self, filter: &Filter, dry_run: bool) -> Result<Done, Exit> {
        match self {
            Self::Here { letters, by, .. } => Ok(letters.redrive(filter, dry_run, Some(by)).await?),
            Self::There(remote) => remote.command("redrive", filter, dry_run).await,
        }
    }

    /// Drops the dead letters that match `filter`.
    pub(super) async fn discard(&self, filter: &Filter, dry_run: bool) -> Result<Done, Exit> {
        match self {
            Self::Here { letters, .. } => Ok(letters.discard(filter, dry_run).await?),
            Self::There(remote) => remote.command("drop", filter, dry_run).await,
        }
    }

    /// Closes the connection to the broker, after the last acknowledgements were written.
    pub(super) async fn close(&self) {
        if let Self::Here { broker, .. } = self {
            broker.close().await;
        }
    }
}
