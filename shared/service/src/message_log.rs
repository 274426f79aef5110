//! Opens the message log that the configuration names, and watches whether it can be used.

pub use postern_store::message_log::{
    Access, Cursor, KnownAnswer, ListOrder, LogError, LoggedCallback, LoggedMessage, LoggedRecipient,
    LoggedState, MessageLog, MessageQuery, Page, Retention, SentMessage, UnknownState,
};

use postern_config::{Config, LogPlace, MessageLogConfig};
use postern_shared::{event::Keep, message::MessageId};
use postern_store::{
    embedded::EmbeddedBroker,
    message_log::{HashKey, Keeping, PostgresLog, SqliteLog},
};
use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// How often the log is asked whether it can be used.
const LOOKS: Duration = Duration::from_secs(10);

/// Opens the message log that `config` names; a log in an embedded broker's store is already open in
/// `embedded`. `None`: there is none.
///
/// # Errors
/// [`LogError`]: a log on this machine that cannot be used.
pub async fn open(config: &Config, embedded: Option<&EmbeddedBroker>) -> Result<Option<OpenLog>, LogError> {
    let Some(section) = config.message_log() else { return Ok(None) };
    let log: Arc<dyn MessageLog> = match &section.place {
        LogPlace::Embedded => match embedded.and_then(EmbeddedBroker::message_log) {
            Some(log) => log,
            None => return Ok(None),
        },
        LogPlace::Sqlite(dir) => {
            let folder = Path::new(dir);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| LogError::Unavailable(format!("{}: {error}", folder.display())))?;
            Arc::new(SqliteLog::open(folder, keeping(&section, Some(folder))?).await?)
        }
        LogPlace::Postgres(url) => Arc::new(PostgresLog::new(url, keeping(&section, None)?)?),
    };
    Ok(Some(OpenLog::new(log, retention(&section))))
}

/// Opens the message log that `config` names for a command, next to the process that it belongs to, even
/// while that runs. `None`: the log is off.
///
/// # Errors
/// [`LogError`]: the log does not exist yet, or cannot be used from here.
pub async fn open_beside(config: &Config, access: Access) -> Result<Option<Arc<dyn MessageLog>>, LogError> {
    let Some(section) = config.message_log() else { return Ok(None) };
    let (folder, file) = match &section.place {
        LogPlace::Embedded => {
            let url = config.broker.url.expose();
            let folder = Path::new(url.strip_prefix("embedded:").unwrap_or(url));
            (folder, folder.join(postern_store::FILE))
        }
        LogPlace::Sqlite(dir) => (Path::new(dir), SqliteLog::file_in(Path::new(dir))),
        LogPlace::Postgres(_) => return Ok(open(config, None).await?.map(|open| open.log)),
    };
    if !file.exists() {
        return Err(LogError::Broken(format!(
            "does not exist: there is no file {}; run this where the gateway runs, with its --config",
            file.display()
        )));
    }
    Ok(Some(Arc::new(SqliteLog::beside(&file, keeping(&section, Some(folder))?, access).await?)))
}

/// How long, and up to which size, `section` keeps messages.
pub fn retention(section: &MessageLogConfig) -> Retention {
    Retention { age: Some(section.retention.0), max_bytes: Some(section.max_bytes) }
}

/// What `section` keeps of a message. Without `log.hash_key`, the key is in a file in `folder`. A log that keeps
/// everything uses that file only if it exists.
///
/// # Errors
/// [`LogError::Broken`]: there is no key, or its file cannot be used.
pub fn keeping(section: &MessageLogConfig, folder: Option<&Path>) -> Result<Keeping, LogError> {
    let named = section.hash_key.as_ref().map(HashKey::new);
    Ok(match (section.keep, named, folder) {
        // What was hashed before must still be found.
        (Keep::Full, Some(key), _) => Keeping::full().with_earlier_key(key),
        (Keep::Full, None, Some(folder)) => match HashKey::found_in(folder)? {
            Some(key) => Keeping::full().with_earlier_key(key),
            None => Keeping::full(),
        },
        (Keep::Full, None, None) => Keeping::full(),
        (Keep::States, Some(key), _) => Keeping::states(key),
        (Keep::States, None, Some(folder)) => Keeping::states(HashKey::in_folder(folder)?),
        (Keep::States, None, None) => {
            return Err(LogError::Broken("needs log.hash_key to keep states only".to_owned()));
        }
    })
}

/// An open message log. Clones share it.
#[derive(Debug, Clone)]
pub struct OpenLog {
    /// The log.
    pub log: Arc<dyn MessageLog>,
    /// How long it keeps messages.
    pub retention: Retention,
    noted: Arc<Mutex<LogProblems>>,
}

/// Why the log cannot be used.
#[derive(Debug, Default)]
struct LogProblems {
    reading: Option<String>,
    writing: Option<String>,
}

impl OpenLog {
    /// The open log `log`, which keeps messages for as long as `retention` says.
    pub fn new(log: Arc<dyn MessageLog>, retention: Retention) -> Self {
        Self { log, retention, noted: Arc::default() }
    }

    /// Why the log cannot be used, as far as is known. `None` if it can. Returns at once.
    pub fn problem(&self) -> Option<String> {
        let noted = self.noted();
        noted.writing.clone().or_else(|| noted.reading.clone())
    }

    /// Notes the outcome of the last attempt to write.
    pub fn note_written(&self, written: &Result<(), LogError>) {
        self.noted().writing = written.as_ref().err().map(ToString::to_string);
    }

    fn noted(&self) -> MutexGuard<'_, LogProblems> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the log repeatedly whether it can be used, and notes and logs changes.
    pub async fn watch(self) {
        loop {
            // Any query will do: no message has this id.
            let problem = self.log.message(MessageId::new()).await.err().map(|error| error.to_string());
            let before = std::mem::replace(&mut self.noted().reading, problem.clone());
            match (before, problem) {
                (None, Some(error)) => tracing::warn!(error, "message log unavailable, retrying"),
                (Some(_), None) => tracing::info!("message log available again"),
                _ => {}
            }
            sleep(LOOKS).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::ProviderRegistry;
    use postern_shared::event::{Event, EventKind};

    async fn opened(folder: &Path, keep: &str) -> Arc<dyn MessageLog> {
        let text = format!(
            "[broker]\nurl = \"amqp://127.0.0.1/\"\n[log]\nurl = \"sqlite:{}\"\nkeep = \"{keep}\"\n\
             [backends.x]\ntype = \"console\"\n",
            folder.display()
        );
        let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
        open(&config, None).await.unwrap().unwrap().log
    }

    #[tokio::test]
    async fn a_person_who_was_hashed_is_forgotten_after_the_log_keeps_everything() {
        let folder = tempfile::tempdir().unwrap();
        opened(folder.path(), "full").await.close().await;
        assert!(!HashKey::file_in(folder.path()).exists(), "a log that never hashed needs no key");
        let log = opened(folder.path(), "states").await;
        let event = Event::new(EventKind::Sent, MessageId::new(), "x".parse().unwrap());
        log.record(&[event.about("+15550100".parse().unwrap())]).await.unwrap();
        log.close().await;
        let log = opened(folder.path(), "full").await;
        assert_eq!(log.forget(&"+15550100".parse().unwrap()).await.unwrap(), 1);
        log.close().await;
    }
}
