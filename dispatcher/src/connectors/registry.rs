//! The kinds of connectors that a program knows, by name.

use super::{
    Connector,
    console::Console,
    http::{ClientTls, Http},
};
use postern_config::{
    Config, KeyProblem, NameTaken, Problem, ProviderRegistry,
    backend::{
        BackendConfig,
        connector::{ConnectorConfig, ConnectorDirection},
    },
};
use postern_shared::message::BackendName;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Turns a backend's configuration into a connector that can be started, or returns everything that is
/// wrong with it.
type Validate = Arc<dyn Fn(&BackendConfig) -> Result<Arc<dyn Connector>, Vec<KeyProblem>> + Send + Sync>;

/// The validated connector of each backend.
pub(crate) type Connectors = BTreeMap<BackendName, Arc<dyn Connector>>;

/// The kinds of connectors that a program knows, by the name that a backend's `connector` gives.
/// Explicit: nothing registers itself.
#[derive(Clone)]
pub struct ConnectorRegistry {
    /// The TLS settings shared by all backends that send over HTTP.
    tls: ClientTls,
    registered: BTreeMap<String, RegisteredKind>,
}

/// A kind that is not built in.
#[derive(Clone)]
struct RegisteredKind {
    direction: ConnectorDirection,
    validate: Validate,
}

impl ConnectorRegistry {
    /// A registry of the built-in kinds, `http` and `console`.
    pub fn builtin() -> Self {
        Self { tls: ClientTls::default(), registered: BTreeMap::new() }
    }

    /// Adds the kind `name`, which sends. `validate` gets a backend's configuration, including its
    /// `settings`, and returns either a connector that can be started or every problem, each with its key
    /// below `[backends.NAME]`.
    ///
    /// # Errors
    /// There is a kind or a backend type of that name already.
    pub fn with<C: Connector + 'static>(
        self,
        name: &str,
        validate: impl Fn(&BackendConfig) -> Result<C, Vec<KeyProblem>> + Send + Sync + 'static,
    ) -> Result<Self, NameTaken> {
        self.register(name, ConnectorDirection::Sends, validate)
    }

    /// Adds the kind `name`, which only receives: sending to one of its backends is refused with that
    /// reason. See [`with`](Self::with).
    ///
    /// # Errors
    /// There is a kind or a backend type of that name already.
    pub fn with_receiver<C: Connector + 'static>(
        self,
        name: &str,
        validate: impl Fn(&BackendConfig) -> Result<C, Vec<KeyProblem>> + Send + Sync + 'static,
    ) -> Result<Self, NameTaken> {
        self.register(name, ConnectorDirection::ReceivesOnly, validate)
    }

    fn register<C: Connector + 'static>(
        mut self,
        name: &str,
        direction: ConnectorDirection,
        validate: impl Fn(&BackendConfig) -> Result<C, Vec<KeyProblem>> + Send + Sync + 'static,
    ) -> Result<Self, NameTaken> {
        // The registry that configurations use knows which names are taken.
        let mut known = ProviderRegistry::builtin();
        self.add_to(&mut known)?;
        known.add_connector(name, direction)?;
        let validate: Validate = Arc::new(move |backend| Ok(Arc::new(validate(backend)?)));
        self.registered.insert(name.to_owned(), RegisteredKind { direction, validate });
        Ok(self)
    }

    /// Adds the kinds that are not built in to `providers`, each as a backend type with the same name.
    ///
    /// # Errors
    /// [`NameTaken`] if there is a type of that name already.
    pub fn add_to(&self, providers: &mut ProviderRegistry) -> Result<(), NameTaken> {
        let mut kinds = self.registered.iter();
        kinds.try_for_each(|(name, kind)| providers.add_connector(name, kind.direction))
    }

    /// The connector of `backend`, ready to be started.
    ///
    /// # Errors
    /// Every problem with the backend's configuration, each with its key below the backend's.
    pub fn validate(&self, backend: &BackendConfig) -> Result<Arc<dyn Connector>, Vec<KeyProblem>> {
        match &backend.definition.connector {
            ConnectorConfig::Http(_) => Ok(Arc::new(Http::new(backend, &self.tls)?)),
            ConnectorConfig::Console => Ok(Arc::new(Console::new(backend)?)),
            ConnectorConfig::Registered(wanted) => match self.registered.get(&wanted.kind) {
                Some(kind) => (kind.validate)(backend),
                None => {
                    let why = format!("unknown connector `{}`; allowed: {}", wanted.kind, self.known());
                    Err(vec![("connector".to_owned(), why)])
                }
            },
        }
    }

    /// The kinds, comma-separated.
    fn known(&self) -> String {
        let registered = self.registered.keys().map(String::as_str);
        ["console", "http"].into_iter().chain(registered).collect::<Vec<_>>().join(", ")
    }

    /// The connectors of all backends of `config`, ready to be started.
    ///
    /// # Errors
    /// Every problem of every backend, with its key and its line.
    pub(crate) fn validate_all(&self, config: &Config) -> Result<Connectors, Vec<Problem>> {
        let (mut connectors, mut problems) = (Connectors::new(), Vec::new());
        for (name, backend) in &config.backends {
            match self.validate(backend) {
                Ok(connector) => drop(connectors.insert(name.clone(), connector)),
                Err(wrong) => problems.extend(
                    wrong.into_iter().map(|(key, why)| config.problem(format!("backends.{name}.{key}"), why)),
                ),
            }
        }
        if problems.is_empty() { Ok(connectors) } else { Err(problems) }
    }
}

impl fmt::Debug for ConnectorRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.registered.keys()).finish_non_exhaustive()
    }
}
