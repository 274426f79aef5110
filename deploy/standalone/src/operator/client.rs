//! Carries out operator's commands: this program on the broker, or a running gateway.

use super::target::{CommandTarget, segment};
use crate::{
    admin_client::AdminClient,
    holder::{Holder, holder},
};
use postern_broker::Broker;
use postern_config::Config;
use postern_service::{
    Configured,
    control::{
        CancelCommand, Cancellation, CommandError, Control, MoveCommand, Moved, Operator, Paused,
        PlainCommand, Purged, QueueList,
    },
    current::Current,
    health::HealthRegistry,
    program::Exit,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};

/// How long reading the control stream may take.
const READING: Duration = Duration::from_secs(15);

/// Who carries out an operator's command.
pub(super) enum CommandClient {
    /// This program, on the broker.
    Here { operator: Operator, broker: Arc<dyn Broker> },
    /// A gateway, through its admin port.
    There(AdminClient),
}

impl CommandClient {
    /// Connects to the broker, unless `target` names a gateway, or the one whose admin port is at `admin_url` has
    /// the store open.
    ///
    /// # Errors
    /// [`Exit`] with what to do.
    pub(super) async fn open(target: &CommandTarget, config: &Config, admin_url: &str) -> Result<Self, Exit> {
        if let Some(url) = &target.admin.admin {
            return AdminClient::new(url, &target.admin).map(Self::There);
        }
        match holder(config, "postern commands").await? {
            Holder::Broker(broker) => Ok(Self::here(broker, config).await),
            Holder::Gateway => AdminClient::new(admin_url, &target.admin).map(Self::There),
        }
    }

    async fn here(broker: Arc<dyn Broker>, config: &Config) -> Self {
        let control = Control::new(HealthRegistry::default());
        tokio::spawn(control.follow(broker.clone()));
        let configured = Current::new(Configured::of(config));
        // A command that needs what the stream says fails if it cannot be read, and says so.
        let _ = tokio::time::timeout(READING, control.until_read()).await;
        Self::Here { operator: Operator::new(broker.clone(), control, configured), broker }
    }

    /// Pauses a backend, or says what that would do.
    pub(super) async fn pause(
        &self,
        backend: &str,
        command: &PlainCommand,
        by: &str,
    ) -> Result<Paused, Exit> {
        match self {
            Self::Here { operator, .. } => operator.pause(backend, command, by).await.map_err(exit),
            Self::There(admin) => post(admin, &["backends", segment(backend)?, "pause"], command).await,
        }
    }

    /// Resumes a backend, or says what that would do.
    pub(super) async fn resume(
        &self,
        backend: &str,
        command: &PlainCommand,
        by: &str,
    ) -> Result<Paused, Exit> {
        match self {
            Self::Here { operator, .. } => operator.resume(backend, command, by).await.map_err(exit),
            Self::There(admin) => post(admin, &["backends", segment(backend)?, "resume"], command).await,
        }
    }

    /// Cancels messages of a backend.
    pub(super) async fn cancel(
        &self,
        backend: &str,
        command: &CancelCommand,
        by: &str,
    ) -> Result<Cancellation, Exit> {
        match self {
            Self::Here { operator, .. } => operator.cancel(backend, command, by).await.map_err(exit),
            Self::There(admin) => post(admin, &["backends", segment(backend)?, "cancel"], command).await,
        }
    }

    /// All queues, with their messages and consumers.
    pub(super) async fn queues(&self) -> Result<QueueList, Exit> {
        match self {
            Self::Here { operator, .. } => operator.queues().await.map_err(exit),
            Self::There(admin) => admin.ask(admin.get(admin.path(&["queues"])?)).await,
        }
    }

    /// Moves the messages that wait for the backend `from` to another backend.
    pub(super) async fn move_messages(
        &self,
        from: &str,
        command: &MoveCommand,
        by: &str,
    ) -> Result<Moved, Exit> {
        match self {
            Self::Here { operator, .. } => operator.move_messages(from, command, by).await.map_err(exit),
            Self::There(admin) => post(admin, &["queues", segment(from)?, "move"], command).await,
        }
    }

    /// Drops the messages that wait in a queue.
    pub(super) async fn purge(&self, name: &str, command: &PlainCommand, by: &str) -> Result<Purged, Exit> {
        match self {
            Self::Here { operator, .. } => operator.purge(name, command, by).await.map_err(exit),
            Self::There(admin) => post(admin, &["queues", segment(name)?, "purge"], command).await,
        }
    }

    /// Closes the connection to the broker, after the last acknowledgements were written.
    pub(super) async fn close(&self) {
        if let Self::Here { broker, .. } = self {
            broker.close().await;
        }
    }
}

/// Maps an error to an exit: status 2 if another command line would help.
fn exit(error: CommandError) -> Exit {
    match error {
        CommandError::UnknownBackend { .. }
        | CommandError::UnknownQueue { .. }
        | CommandError::Invalid(_) => Exit::Config(error.to_string()),
        CommandError::NoStream(_) | CommandError::Unread(_) | CommandError::Broker(_) => error.into(),
    }
}

/// Posts `command` to a running gateway.
async fn post<T: DeserializeOwned>(
    admin: &AdminClient,
    segments: &[&str],
    command: &impl Serialize,
) -> Result<T, Exit> {
    admin.ask(admin.post(admin.path(segments)?).json(command)).await
}
