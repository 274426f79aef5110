//! The message log that the configuration names, open, and whether it can be used.

pub use postern_store::message_log::{LogError, MessageLog, Retention, SentMessage};

use postern_shared::message::MessageId;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// How often the log is asked whether it can be used.
const LOOKS: Duration = Duration::from_secs(10);

/// An open message log. Clones are of the same.
#[derive(Debug, Clone)]
pub struct OpenLog {
    /// The log.
    pub log: Arc<dyn MessageLog>,
    /// How long it keeps what it knows.
    pub retention: Retention,
    /// Why it cannot be used.
    problem: Arc<Mutex<Option<String>>>,
}

impl OpenLog {
    /// `log`, which keeps what it knows as long as `retention` says.
    pub fn new(log: Arc<dyn MessageLog>, retention: Retention) -> Self {
        Self { log, retention, problem: Arc::default() }
    }

    /// Why the log cannot be used, as far as is known. `None` if it can. Nothing waits for it.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the log again and again whether it can be used, and notes and logs what changes.
    pub async fn watch(self) {
        loop {
            // Any question: it is about no message.
            let problem = self.log.message(MessageId::new()).await.err().map(|error| error.to_string());
            let before = std::mem::replace(
                &mut *self.problem.lock().unwrap_or_else(PoisonError::into_inner),
                problem.clone(),
            );
            match (before, problem) {
                (None, Some(error)) => tracing::warn!(error, "message log unavailable, retrying"),
                (Some(_), None) => tracing::info!("message log available again"),
                _ => {}
            }
            sleep(LOOKS).await;
        }
    }
}
