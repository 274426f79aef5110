//! Whether the backends of this process send now, and whether the application's webhook takes messages,
//! and why not.
//!
//! A backend's flow control and its connector note it. `/readyz`, `GET /v1/backends` and
//! `postern_backend_ready` read it; the webhook's is read by `/readyz` and `postern_application_ready`.

use jiff::Timestamp;
use postern_shared::{clock::Written, control::Pause, message::BackendName};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Whether a backend sends now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendHealth {
    /// It sends.
    Ready,
    /// Its connector has no connection to the provider, such as a bind.
    NotBound {
        /// Why, for an operator.
        why: String,
    },
    /// An operator paused it, for all processes.
    PausedByOperator {
        /// Since when.
        since: Timestamp,
        /// Who ordered it.
        by: String,
    },
    /// Sending pauses: the provider is down or asked for less.
    Paused {
        /// Why, for an operator.
        why: String,
        /// When the next message is tried.
        until: Instant,
    },
}

impl BackendHealth {
    /// What an operator reads, without the time until the next attempt.
    pub fn cause(&self) -> String {
        match self {
            Self::Ready => "ready".to_owned(),
            Self::NotBound { why } => format!("is not bound: {why}"),
            Self::PausedByOperator { since, by } => {
                format!("is paused by an operator (since {}, by {by}); its messages wait", Written(*since))
            }
            Self::Paused { why, .. } => format!("is paused: {why}"),
        }
    }
}

/// What an operator reads.
impl fmt::Display for BackendHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause())?;
        match self {
            Self::Ready | Self::NotBound { .. } | Self::PausedByOperator { .. } => Ok(()),
            Self::Paused { until, .. } => {
                let left = until.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
                if left > 0.0 {
                    write!(f, "; the next message is tried in {left} s")
                } else {
                    f.write_str("; the next message is tried at once")
                }
            }
        }
    }
}

/// The health of each backend that this process serves, and of the application's webhook if this process
/// calls it, and the pauses that operators ordered. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct HealthRegistry(Arc<Mutex<HealthState>>);

/// Whose health is noted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Backend(BackendName),
    /// The application's webhook.
    Application,
}

#[derive(Debug, Default)]
struct HealthState {
    served: BTreeMap<Subject, NotedHealth>,
    /// Of any backend, whoever serves it.
    paused: BTreeMap<BackendName, Pause>,
    /// What other processes told of the backends that they serve and that do not send, by process.
    told: BTreeMap<String, ToldHealth>,
    /// The last one that was given.
    generation: u64,
}

/// What another process told of its backends.
#[derive(Debug)]
struct ToldHealth {
    /// When it does not count any more, unless the process tells it again.
    until: Instant,
    not_sending: BTreeMap<BackendName, BackendHealth>,
}

impl HealthState {
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// What an operator ordered comes first: whatever else may be wrong, nothing is sent before it ends.
    fn health(&self, backend: &BackendName) -> BackendHealth {
        match (self.paused.get(backend), self.served.get(&Subject::Backend(backend.clone()))) {
            (Some(Pause { since, by }), _) => {
                BackendHealth::PausedByOperator { since: *since, by: by.clone() }
            }
            (None, Some(noted)) => noted.health(),
            (None, None) => BackendHealth::Ready,
        }
    }

    /// The backends that this process serves.
    fn backends(&self) -> impl Iterator<Item = &BackendName> {
        self.served.keys().filter_map(|subject| match subject {
            Subject::Backend(name) => Some(name),
            Subject::Application => None,
        })
    }

    fn of<'a>(&self, backends: impl Iterator<Item = &'a BackendName>) -> Vec<(BackendName, BackendHealth)> {
        backends.map(|backend| (backend.clone(), self.health(backend))).collect()
    }
}

/// What was noted about one backend: by its connector, and by its flow control.
#[derive(Debug, Default)]
struct NotedHealth {
    /// Whose notes count: those of the reporters that were made since the backend was last begun.
    generation: u64,
    not_started: Option<String>,
    not_bound: Option<String>,
    paused: Option<(String, Instant)>,
}

impl NotedHealth {
    /// Without a connection nothing can be tried, whatever the pause says.
    fn health(&self) -> BackendHealth {
        match (self.not_started.as_ref().or(self.not_bound.as_ref()), &self.paused) {
            (Some(why), _) => BackendHealth::NotBound { why: why.clone() },
            (None, Some((why, until))) => BackendHealth::Paused { why: why.clone(), until: *until },
            (None, None) => BackendHealth::Ready,
        }
    }
}

impl HealthRegistry {
    fn registered(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reporter of `backend`, which is ready until the reporter says something else.
    pub fn reporter(&self, backend: &BackendName) -> HealthReporter {
        self.reporter_of(Subject::Backend(backend.clone()))
    }

    /// The reporter of the application's webhook, which is ready until the reporter says something else.
    pub fn application_reporter(&self) -> HealthReporter {
        self.reporter_of(Subject::Application)
    }

    fn reporter_of(&self, subject: Subject) -> HealthReporter {
        let generation = self.registered().served.entry(subject.clone()).or_default().generation;
        HealthReporter { subject, generation, all: self.clone() }
    }

    /// Begins `backend` anew: it is ready until a reporter made from now on says something else. What the
    /// earlier ones note counts no more.
    pub fn begin(&self, backend: &BackendName) {
        self.begin_anew(Subject::Backend(backend.clone()));
    }

    /// Begins the application's webhook anew, as [`begin`](Self::begin) does a backend.
    pub fn begin_application(&self) {
        self.begin_anew(Subject::Application);
    }

    fn begin_anew(&self, subject: Subject) {
        let mut registered = self.registered();
        let generation = registered.next_generation();
        registered.served.insert(subject, NotedHealth { generation, ..NotedHealth::default() });
    }

    /// Takes note that this process no longer serves `backend`.
    pub fn end(&self, backend: &BackendName) {
        self.registered().served.remove(&Subject::Backend(backend.clone()));
    }

    /// Takes note that this process no longer calls the application's webhook.
    pub fn end_application(&self) {
        self.registered().served.remove(&Subject::Application);
    }

    /// Takes note of all pauses that operators ordered and that are not over.
    pub fn paused_by_operators(&self, pauses: &BTreeMap<BackendName, Pause>) {
        self.registered().paused.clone_from(pauses);
    }

    /// The health of `backend`. `Ready` if this process does not serve it and no operator paused it.
    pub fn of(&self, backend: &BackendName) -> BackendHealth {
        self.registered().health(backend)
    }

    /// Takes note that `process`, another one, told what `not_sending` is: those of its backends that do not
    /// send now. It counts until `until`, or until it tells something else.
    pub fn told(&self, process: &str, not_sending: BTreeMap<BackendName, BackendHealth>, until: Instant) {
        let told = &mut self.registered().told;
        told.retain(|_, told| told.until > Instant::now());
        told.insert(process.to_owned(), ToldHealth { until, not_sending });
    }

    /// Why another process, which serves `backend`, does not send its messages now. `None` if none told.
    pub fn elsewhere(&self, backend: &BackendName) -> Option<BackendHealth> {
        let (registered, now) = (self.registered(), Instant::now());
        let mut told = registered.told.values().filter(|told| told.until > now);
        told.find_map(|told| told.not_sending.get(backend).cloned())
    }

    /// Those of the backends that this process serves that do not send now for a reason of their own, and
    /// why. An operator's pause, which all processes know, is none.
    pub fn not_sending(&self) -> BTreeMap<BackendName, BackendHealth> {
        let registered = self.registered();
        let own = registered.served.iter().filter_map(|(subject, noted)| match (subject, noted.health()) {
            (Subject::Application, _) | (_, BackendHealth::Ready) => None,
            (Subject::Backend(name), health) => Some((name.clone(), health)),
        });
        own.collect()
    }

    /// The health of the application's webhook. `None` if this process does not call it.
    pub fn application(&self) -> Option<BackendHealth> {
        self.registered().served.get(&Subject::Application).map(NotedHealth::health)
    }

    /// Each backend that this process serves.
    pub fn all(&self) -> Vec<(BackendName, BackendHealth)> {
        let registered = self.registered();
        registered.of(registered.backends())
    }

    /// The backends that do not send now, in the order of their names: those that this process serves,
    /// and any that an operator paused.
    pub fn not_ready(&self) -> Vec<(BackendName, BackendHealth)> {
        let registered = self.registered();
        let names: BTreeSet<_> = registered.backends().chain(registered.paused.keys()).collect();
        let mut all = registered.of(names.into_iter());
        all.retain(|(_, health)| *health != BackendHealth::Ready);
        all
    }
}

/// Notes the health of one backend, or of the application's webhook. Clones are of the same one.
#[derive(Debug, Clone)]
pub struct HealthReporter {
    subject: Subject,
    generation: u64,
    all: HealthRegistry,
}

impl HealthReporter {
    fn note(&self, note: impl FnOnce(&mut NotedHealth)) {
        // What was replaced or removed has no say any more.
        if let Some(noted) = self.all.registered().served.get_mut(&self.subject)
            && noted.generation == self.generation
        {
            note(noted);
        }
    }

    /// Notes that the connector was started.
    pub fn started(&self) {
        self.note(|noted| noted.not_started = None);
    }

    /// Notes that the connector could not be started, and why. `why` must hold no secret.
    pub fn not_started(&self, why: impl Into<String>) {
        let why = why.into();
        self.note(|noted| noted.not_started = Some(why));
    }

    /// Notes that the connector is connected to its provider.
    pub fn bound(&self) {
        self.note(|noted| noted.not_bound = None);
    }

    /// Notes that the connector has no connection to its provider, and why. `why` must hold no secret.
    pub fn not_bound(&self, why: impl Into<String>) {
        let why = why.into();
        self.note(|noted| noted.not_bound = Some(why));
    }

    /// Notes that nothing is sent before `until`, and why. `why` must hold no secret.
    pub fn paused(&self, until: Instant, why: impl Into<String>) {
        let why = why.into();
        self.note(|noted| noted.paused = Some((why, until)));
    }

    /// Notes that the pause is over.
    pub fn resumed(&self) {
        self.note(|noted| noted.paused = None);
    }
}

#[cfg(test)]
mod tests;
