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
    /// `[retry]`: of whatever has none of its own.
    pub retry: RetrySection,
    /// `[breaker]`: of whatever has none of its own.
    pub breaker: BreakerSection,
    /// `[log]`
    pub log: LogSection,
    /// `[shutdown]`
    pub shutdown: ShutdownSection,
    /// `[backends.*]`
    pub backends: BTreeMap<BackendName, Arc<BackendConfig>>,
    /// What can be run and should be otherwise, in the order of the lines: `check` prints it, and the
    /// start logs it.
    pub warnings: Vec<Problem>,
    /// The keys of the secrets that are not there and were not needed
    /// ([`NeededSecrets`](crate::NeededSecrets)): what stands for them means nothing, and a problem with
    /// one of them is none.
    pub absent_secrets: BTreeSet<String>,
    /// Where each key is.
    pub(super) places: KeyPlaces,
    /// The keys that the environment set, which have no line.
    pub(super) from_environment: BTreeSet<String>,
    /// What it comes to, key by key.
    pub(super) completed: Completed,
}

impl Config {
    /// What differs from `before`: compared is what each key comes to, with defaults, types, environment and
    /// secrets.
    pub fn changes_from(&self, before: &Self) -> Changes {
        self.completed.changes_from(&before.completed)
    }

    /// Whether what `key` holds comes to the same here as in `other`.
    pub fn is_same_at(&self, other: &Self, key: &str) -> bool {
        self.completed.is_same(&other.completed, key)
    }

    /// Whether what is at `key` rests on a secret that is not there ([`Self::absent_secrets`]).
    pub fn lacks_secret(&self, key: &str) -> bool {
        self.absent_secrets.iter().any(|absent| is_in(absent, key) || is_in(key, absent))
    }

    /// A problem with the value at `key`, with the line of the file that says it: for what only the
    /// part that uses the value can find out.
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
