//! A backend that "sends" by appending to files.

use async_trait::async_trait;
use postern_config::{KeyProblem, backend::BackendConfig};
use postern_dispatcher::connectors::{Backend, Outcome, Outcomes, Sent};
use postern_shared::{
    error::Failure,
    message::{Context, Identity, MessageId},
};
use std::path::PathBuf;
use tokio::{
    fs::OpenOptions,
    io::{AsyncWriteExt, Error},
};

/// Appends each message to `settings.folder`/IDENTITY.txt.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    /// Creates the connector; called once for each backend of `type = "outbox"`.
    ///
    /// # Errors
    /// The key below the backend's that is missing, and what it must name.
    pub fn new(backend: &BackendConfig) -> Result<Self, Vec<KeyProblem>> {
        let folder = backend.definition.settings.expose().get("folder").and_then(|value| value.as_str());
        let why = "must name the folder for the messages";
        match folder {
            Some(folder) => Ok(Self { folder: folder.into() }),
            None => Err(vec![("settings.folder".to_owned(), why.to_owned())]),
        }
    }

    async fn append(&self, identity: &Identity, line: &str) -> Result<(), Error> {
        let path = self.folder.join(format!("{}.txt", identity.as_str()));
        let mut file = OpenOptions::new().create(true).append(true).open(path).await?;
        file.write_all(line.as_bytes()).await?;
        file.sync_data().await
    }

    async fn send_one(&self, id: MessageId, text: &str, identity: &Identity) -> Outcome {
        // An identity becomes a file's name: it must not become a path.
        if !identity.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') {
            return Err(Failure::permanent("not_a_number", "the outbox takes digits and letters only"));
        }
        match self.append(identity, &format!("{id} {}\n", text.escape_debug())).await {
            Ok(()) => Ok(Sent::with_id(format!("{id}/{}", identity.as_str()))),
            // A full disk may have room again at the next attempt.
            Err(error) => Err(Failure::transient("io", error.kind().to_string())),
        }
    }
}

#[async_trait]
impl Backend for Outbox {
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], _: &Context) -> Outcomes {
        let mut outcomes = Vec::new();
        for identity in identities {
            outcomes.push(self.send_one(id, text, identity).await);
        }
        outcomes.into_iter().collect()
    }
}
