//! Whether the backends of this process send now, whether the application's webhook accepts messages, and
//! if not, why.
//!
//! A backend's flow control and its connector report it. `/readyz`, `GET /v1/backends` and
//! `postern_backend_ready` read it; `/readyz` and `postern_application_ready` read the webhook's health.

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
        /// The reason, for an operator.
        why: String,
    },
    /// An operator paused it, for all processes.
    PausedByOperator {
        /// The time since which it is paused.
        since: Timestamp,
        /// The operator who paused it.
        by: String,
    },
    /// Sending is paused: the provider is down, or asked for fewer requests.
    Paused {
        /// The reason, for an operator.
        why: String,
        /// When the next message is tried.
        until: Instant,
    },
}

impl BackendHealth {
    /// The text for an operator, without the time until the next attempt.
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

/// The text for an operator.
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

/// The health of each backend that this process serves, the health of the application's webhook if this
/// process calls it, and the pauses by operators. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct HealthRegistry(Arc<Mutex<HealthState>>);

/// What a note of health is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Backend(BackendName),
    /// The application's webhook.
    Application,
}

#[derive(Debug, Default)]
struct HealthState {
    served: BTreeMap<Subject, NotedHealth>,
    /// Operators' pauses of any backend, whether this process serves it or not.
    paused: BTreeMap<BackendName, Pause>,
    /// What other processes reported about backends that they serve and that do not send, by process.
    told: BTreeMap<String, ToldHealth>,
    /// The last generation that was given to a backend or the webhook.
    generation: u64,
}

/// What another process reported about its backends.
#[derive(Debug)]
struct ToldHealth {
    /// When the report expires, unless the process repeats it.
    until: Instant,
    not_sending: BTreeMap<BackendName, BackendHealth>,
}

impl HealthState {
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// An operator's pause comes first: nothing is sent until it ends, even if something else is wrong, too.
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

/// What was noted about one backend by its connector and its flow control.
#[derive(Debug, Default)]
struct NotedHealth {
    /// The generation of the reporters that count: reporters made before the last begin do not.
    generation: u64,
    not_started: Option<String>,
    not_bound: Option<String>,
    paused: Option<(String, Instant)>,
}

impl NotedHealth {
    /// A missing connection comes before a pause: without a connection, nothing can be tried.
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

    /// Begins `backend` again: it is ready until a reporter made from now on says something else. Earlier
    /// reporters no longer count.
    pub fn begin(&self, backend: &BackendName) {
        self.begin_anew(Subject::Backend(backend.clone()));
    }

    /// Begins the application's webhook again, as [`begin`](Self::begin) does with a backend.
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

    /// Replaces the noted pauses by operators with `pauses`, all that have not ended.
    pub fn paused_by_operators(&self, pauses: &BTreeMap<BackendName, Pause>) {
        self.registered().paused.clone_from(pauses);
    }

    /// The health of `backend`. `Ready` if this process does not serve it and no operator paused it.
    pub fn of(&self, backend: &BackendName) -> BackendHealth {
        self.registered().health(backend)
    }

    /// Takes note that another process, `process`, reported `not_sending`: its backends that do not send
    /// now. The report counts until `until`, or until the next report of that process.
    pub fn told(&self, process: &str, not_sending: BTreeMap<BackendName, BackendHealth>, until: Instant) {
        let told = &mut self.registered().told;
        told.retain(|_, told| told.until > Instant::now());
        told.insert(process.to_owned(), ToldHealth { until, not_sending });
    }

    /// Why another process that serves `backend` does not send its messages now. `None` if no process
    /// reported this.
    pub fn elsewhere(&self, backend: &BackendName) -> Option<BackendHealth> {
        let (registered, now) = (self.registered(), Instant::now());
        let mut told = registered.told.values().filter(|told| told.until > now);
        told.find_map(|told| told.not_sending.get(backend).cloned())
    }

    /// The backends that this process serves and that do not send now for a reason of their own, with the
    /// reason. An operator's pause does not count: all processes know of it.
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

    /// The health of each backend that this process serves.
    pub fn all(&self) -> Vec<(BackendName, BackendHealth)> {
        let registered = self.registered();
        registered.of(registered.backends())
    }

    /// The backends that do not send now, sorted by name: backends that this process serves, and any
    /// that an operator paused.
    pub fn not_ready(&self) -> Vec<(BackendName, BackendHealth)> {
        let registered = self.registered();
        let names: BTreeSet<_> = registered.backends().chain(registered.paused.keys()).collect();
        let mut all = registered.of(names.into_iter());
        all.retain(|(_, health)| *health != BackendHealth::Ready);
        all
    }
}

/// Notes the health of one backend, or of the application's webhook. Clones report about the same one.
#[derive(Debug, Clone)]
pub struct HealthReporter {
    subject: Subject,
    generation: u64,
    all: HealthRegistry,
}

impl HealthReporter {
    fn note(&self, note: impl FnOnce(&mut NotedHealth)) {
        // The reporter of a backend that was replaced or removed must not change anything.
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
