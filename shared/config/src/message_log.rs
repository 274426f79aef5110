//! The configuration of the message log: whether there is one, where it is, and what it keeps.

use crate::{config::Config, reader::Reader};
use postern_shared::{
    event::Keep,
    value::{Period, Secret},
};
use url::{Host, Url};

/// The default folder.
const DIR: &str = "postern-log";
/// The smallest `log.max_bytes`.
const MIN_BYTES: u64 = 1024 * 1024;
/// The allowed forms of `log.url`, as errors list them.
const ALLOWED: &str = "allowed: sqlite:DIR and postgres://user:pass@host:5432/database";

/// How to switch on a message log that is off, for everyone who asks it.
pub const TO_SWITCH_THE_LOG_ON: &str = "with an embedded broker, remove log.messages = false; with RabbitMQ, set \
                                        log.messages = true, or log.url to \"sqlite:DIR\" or \"postgres://…\"";

/// The message log that a configuration asks for.
#[derive(Debug, Clone)]
pub struct MessageLogConfig {
    /// The place of the log.
    pub place: LogPlace,
    /// What the log keeps of a message.
    pub keep: Keep,
    /// How long the log keeps a message.
    pub retention: Period,
    /// The most bytes that the log may take. Beyond, the oldest messages are removed.
    pub max_bytes: u64,
    /// The most messages that the queue `postern.log` holds. Beyond, the oldest are dropped.
    pub max_waiting: u64,
    /// The key that numbers are hashed with. `None`: a random key in a file next to the SQLite file.
    pub hash_key: Option<Secret>,
}

/// The place of the message log.
#[derive(Debug, Clone)]
pub enum LogPlace {
    /// The log is in the embedded broker's store.
    Embedded,
    /// The log is a SQLite file in this folder.
    Sqlite(String),
    /// The log is in the PostgreSQL database at this URL.
    Postgres(Secret),
}

impl Config {
    /// The message log; `None` if there is none.
    pub fn message_log(&self) -> Option<MessageLogConfig> {
        let log = &self.log;
        let embedded = self.broker.is_embedded();
        if !log.messages.unwrap_or(embedded || log.url.is_some()) {
            return None;
        }
        let place = match log.url.as_ref().map(|url| (url, url.expose().strip_prefix("sqlite:"))) {
            _ if embedded => LogPlace::Embedded,
            None => LogPlace::Sqlite(DIR.to_owned()),
            Some((_, Some(dir))) => LogPlace::Sqlite(dir.to_owned()),
            Some((url, None)) => LogPlace::Postgres(url.clone()),
        };
        let (keep, retention, hash_key) = (log.keep, log.retention, log.hash_key.clone());
        let (max_bytes, max_waiting) = (log.max_bytes, log.max_waiting);
        Some(MessageLogConfig { place, keep, retention, max_bytes, max_waiting, hash_key })
    }
}

/// Notes the mistakes in `[log]`, also in combination with `[broker]`.
pub(super) fn check(config: &Config, reader: &mut Reader) {
    let (log, embedded) = (&config.log, config.broker.is_embedded());
    let off = log.messages == Some(false);
    if let Some(url) = &log.url {
        if let Some(why) = url_problem(url.expose()) {
            reader.problem("log.url", format!("{why}; {ALLOWED}"));
        } else if embedded && reader.has_read("broker.url") && !off {
            let why = "has no effect with an embedded broker, which keeps the message log in its own store: \
                       remove it";
            reader.problem("log.url", why);
        } else if off {
            reader.warning("log.url", "has no effect: log.messages = false turns the message log off");
        }
    }
    let shared = matches!(config.message_log(), Some(MessageLogConfig { place: LogPlace::Postgres(_), .. }));
    if log.keep == Keep::States && log.hash_key.is_none() && shared {
        let why = "\"states\" keeps a keyed hash of each number, for which a shared database needs \
                   log.hash_key (`postern key` creates one)";
        reader.problem("log.keep", why);
    }
    if log.max_bytes < MIN_BYTES {
        let why = format!("must be at least {MIN_BYTES}; to have no message log, set log.messages = false");
        reader.problem("log.max_bytes", why);
    }
    if log.max_waiting == 0 {
        reader.problem("log.max_waiting", "must be at least 1");
    }
    if config.message_log().is_none() && !off && (log.keep == Keep::States || log.hash_key.is_some()) {
        let what =
            "has no effect: with RabbitMQ there is a message log only with log.url or log.messages = true";
        reader.warning(if log.hash_key.is_some() { "log.hash_key" } else { "log.keep" }, what);
    }
}

/// What is wrong with `url`. `None` if nothing is. The text does not quote the URL, which may hold a password.
fn url_problem(url: &str) -> Option<&'static str> {
    match url.split_once(':') {
        Some(("sqlite", dir)) if !dir.is_empty() => None,
        Some(("postgres" | "postgresql", _)) => match Url::parse(url) {
            Ok(parsed) => matches!(parsed.host(), None | Some(Host::Domain(""))).then_some("no host"),
            Err(_) => Some("not of the form postgres://USER:PASSWORD@HOST:5432/DATABASE"),
        },
        _ => Some("unknown kind of message log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProviderRegistry;

    #[test]
    fn a_broker_of_its_own_has_a_log_and_a_shared_one_if_it_is_asked_for() {
        let place = |text: &str| {
            let config = Config::parse("test", Some(text), [], &ProviderRegistry::builtin()).unwrap();
            config.message_log().map(|log| match log.place {
                LogPlace::Embedded => "embedded".to_owned(),
                LogPlace::Sqlite(dir) => dir,
                LogPlace::Postgres(url) => url.expose().to_owned(),
            })
        };
        let rabbit = "[broker]\nurl = \"amqp://h\"\n[log]\n";
        for (text, expected) in [
            ("", Some("embedded")),
            ("[log]\nmessages = true", Some("embedded")),
            ("[log]\nmessages = false", None),
            (rabbit, None),
            (&format!("{rabbit}level = \"debug\""), None),
            (&format!("{rabbit}messages = true"), Some("postern-log")),
            (&format!("{rabbit}url = \"sqlite:/var/lib/log\""), Some("/var/lib/log")),
            (&format!("{rabbit}url = \"postgres://u:p@h/d\""), Some("postgres://u:p@h/d")),
            (&format!("{rabbit}url = \"sqlite:x\"\nmessages = false"), None),
        ] {
            assert_eq!(place(text).as_deref(), expected, "{text}");
        }
    }
}
