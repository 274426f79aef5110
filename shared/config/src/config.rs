//! A configuration that can be run.

use crate::{
    application::ApplicationSection,
    backend::{
        BackendConfig,
        flow::{BreakerSection, RetrySection},
    },
    changes::Changes,
    compat::CompatSection,
    completed::Completed,
    environment,
    lines::KeyPlaces,
    problem::Problem,
    reader::is_in,
    sections::{
        AdminSection, ApiSection, BrokerSection, DispatcherSection, IngressSection, LogSection,
        ShutdownSection,
    },
};
use postern_shared::message::BackendName;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A configuration that can be run.
///
/// ```
/// use postern_config::{Config, ProviderRegistry};
///
/// let providers = ProviderRegistry::builtin();
/// let text = "[backends.clinic]\ntype = \"console\"\nconcurrency = 5";
/// let config = Config::parse("postern.toml", Some(text), [], &providers).unwrap();
/// let backend = config.backends.values().next().unwrap();
/// assert_eq!((backend.name.as_str(), backend.concurrency), ("clinic", 5));
///
/// let text = "[ingress]\nlisten = \":8080\"";
/// let wrong = Config::parse("postern.toml", Some(text), [], &providers).unwrap_err();
/// assert_eq!((wrong.problems[0].key.as_str(), wrong.problems[0].line), ("ingress.listen", Some(2)));
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// `[broker]`
    pub broker: BrokerSection,
    /// `[ingress]`
    pub ingress: IngressSection,
    /// `[admin]`
    pub admin: AdminSection,
    /// `[api]`
    pub api: ApiSection,
    /// `[application]`
    pub application: ApplicationSection,
    /// `[compat]`
    pub compat: CompatSection,
    /// `[dispatcher]`
    pub dispatcher: DispatcherSection,
    /// `[retry]`: the delays for everything without delays of its own.
    pub retry: RetrySection,
    /// `[breaker]`: the circuit breaker for everything without one of its own.
    pub breaker: BreakerSection,
    /// `[log]`
    pub log: LogSection,
    /// `[shutdown]`
    pub shutdown: ShutdownSection,
    /// `[backends.*]`
    pub backends: BTreeMap<BackendName, Arc<BackendConfig>>,
    /// What can be run but is probably a mistake, in the order of the lines. `check` prints the warnings, and the
    /// start logs them.
    pub warnings: Vec<Problem>,
    /// The keys of the secrets that are missing and were not needed ([`NeededSecrets`](crate::NeededSecrets)).
    /// Their
    /// values are stand-ins, so a problem with one of them must be ignored.
    pub absent_secrets: BTreeSet<String>,
    /// The place of each key in the files.
    pub(super) places: KeyPlaces,
    /// The keys that the environment set, which have no line.
    pub(super) from_environment: BTreeSet<String>,
    /// Digests of the effective values, key by key.
    pub(super) completed: Completed,
}

impl Config {
    /// The differences from `before`. The effective values are compared, with defaults, types, environment and
    /// secrets.
    pub fn changes_from(&self, before: &Self) -> Changes {
        self.completed.changes_from(&before.completed)
    }

    /// Whether the effective values at and below `key` are the same here as in `other`.
    pub fn is_same_at(&self, other: &Self, key: &str) -> bool {
        self.completed.is_same(&other.completed, key)
    }

    /// Whether the value at `key` depends on a missing secret ([`Self::absent_secrets`]).
    pub fn lacks_secret(&self, key: &str) -> bool {
        self.absent_secrets.iter().any(|absent| is_in(absent, key) || is_in(key, absent))
    }

    /// A problem with the value at `key`, with its line in the file. For problems that only the code which uses
    /// the value can find.
    pub fn problem(&self, key: impl Into<String>, what: impl Into<String>) -> Problem {
        let key = key.into();
        let what = what.into();
        match self.from_environment.iter().find(|set| is_in(&key, set)) {
            Some(set) => Problem { key, line: None, what: environment::set_by(&what, set) },
            None => {
                let (line, in_file) = self.places.of(&key);
                let in_file = in_file.map_or_else(String::new, |place| format!(" ({place})"));
                Problem { line, key, what: what + &in_file }
            }
        }
    }
}
