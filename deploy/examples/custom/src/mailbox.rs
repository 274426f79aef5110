//! A connector that also receives messages while its backend is served.

use crate::Outbox;
use async_trait::async_trait;
use postern_config::{KeyProblem, backend::BackendConfig};
use postern_dispatcher::connectors::{Backend, Connector, ConnectorContext, Outcomes};
use postern_shared::message::{Context, Identity, Inbound, MessageId};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{fs, time::sleep};
use tokio_util::task::TaskTracker;

/// How long the inbox is left alone after each read.
const PAUSE: Duration = Duration::from_millis(200);

/// Sends as [`Outbox`] does, and receives from `settings.inbox`: each file IDENTITY.txt in that folder
/// is a message.
#[derive(Debug)]
pub struct Mailbox {
    outbox: Arc<Outbox>,
    inbox: PathBuf,
}

impl Mailbox {
    /// Creates the connector; called once for each backend of `type = "mailbox"`.
    ///
    /// # Errors
    /// Each key below the backend's that is missing, and what it must name.
    pub fn new(backend: &BackendConfig) -> Result<Self, Vec<KeyProblem>> {
        let inbox = backend.definition.settings.expose().get("inbox").and_then(|value| value.as_str());
        match (Outbox::new(backend), inbox) {
            (Ok(outbox), Some(inbox)) => Ok(Self { outbox: Arc::new(outbox), inbox: inbox.into() }),
            (outbox, inbox) => {
                let mut problems = outbox.err().unwrap_or_default();
                if inbox.is_none() {
                    let why = "must name the folder that messages are read from";
                    problems.push(("settings.inbox".to_owned(), why.to_owned()));
                }
                Err(problems)
            }
        }
    }
}

#[async_trait]
impl Connector for Mailbox {
    async fn start(self: Arc<Self>, context: ConnectorContext) -> Result<Arc<dyn Backend>, String> {
        let created = fs::create_dir_all(&self.inbox).await;
        created.map_err(|error| format!("settings.inbox: {error}"))?;
        let tasks = TaskTracker::new();
        tasks.spawn(receive(self.inbox.clone(), context));
        tasks.close();
        Ok(Arc::new(Session { outbox: self.outbox.clone(), tasks }))
    }
}

/// A mailbox that was started.
struct Session {
    outbox: Arc<Outbox>,
    tasks: TaskTracker,
}

#[async_trait]
impl Backend for Session {
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], context: &Context) -> Outcomes {
        self.outbox.send(id, text, identities, context).await
    }

    async fn stop(&self) {
        self.tasks.wait().await;
    }
}

/// Publishes what is in the inbox, until the backend drains.
async fn receive(inbox: PathBuf, context: ConnectorContext) {
    while !context.shutdown.is_cancelled() {
        match publish_all(&inbox, &context).await {
            Ok(()) => context.health.bound(),
            Err(why) => context.health.not_bound(why),
        }
        tokio::select! {
            () = context.shutdown.cancelled() => {}
            () = sleep(PAUSE) => {}
        }
    }
}

/// Publishes each message in the inbox. A file is deleted when the broker has stored its message: after a
/// crash in between, the message is published again under the same id.
async fn publish_all(inbox: &PathBuf, context: &ConnectorContext) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("settings.inbox: {error}");
    let mut files = fs::read_dir(inbox).await.map_err(unreadable)?;
    while let Some(file) = files.next_entry().await.map_err(unreadable)? {
        let name = file.file_name().into_string().unwrap_or_default();
        // A writer must give a file this name only when the file is complete.
        let Some(Ok(identity)) = name.strip_suffix(".txt").map(str::parse) else { continue };
        let text = fs::read_to_string(file.path()).await.map_err(unreadable)?;
        let written = file.metadata().await.and_then(|data| data.modified()).map_err(unreadable)?;
        let message = Inbound::new(context.backend.clone(), identity, text.trim_end())
            .with_external_id(format!("{name} {written:?}"));
        context.publisher.inbound(&message).await.map_err(|error| error.to_string())?;
        fs::remove_file(file.path()).await.map_err(unreadable)?;
    }
    Ok(())
}
