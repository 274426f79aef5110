//! The senders that a program knows, by name.

use super::{
    Backend,
    console::Console,
    http::{Http, Tls},
};
use postern_config::{Catalogue, NameTaken, backend::BackendConfig};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The senders that need no registration.
const BUILTIN: [&str; 2] = ["http", "console"];

/// Makes one backend's sender from what the configuration says of it. The error is a text for the
/// user that names the key below `[backends.NAME]`.
type Factory = Arc<dyn Fn(&BackendConfig) -> Result<Arc<dyn Backend>, String> + Send + Sync>;

/// The senders that a program knows, by the name that a backend's `engine` gives. Explicit: nothing
/// registers itself.
#[derive(Clone)]
pub struct Engines {
    factories: BTreeMap<String, Factory>,
}

/// Why there is no sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A name was registered twice.
    #[error("the engine `{name}` is registered twice; known are: {known}")]
    Twice {
        /// The name.
        name: String,
        /// The registered names.
        known: String,
    },
    /// Nobody registered the name.
    #[error("backends.{backend}.engine: unknown engine `{name}`; allowed: {known}")]
    Unknown {
        /// The backend.
        backend: String,
        /// The name.
        name: String,
        /// The registered names.
        known: String,
    },
    /// The sender cannot work with what the configuration says.
    #[error("backends.{backend}.{why}")]
    Refused {
        /// The backend.
        backend: String,
        /// The key and what is wrong with it.
        why: String,
    },
}

impl Engines {
    /// `http` and `console`.
    pub fn builtin() -> Self {
        let tls = Tls::default();
        let http: Factory = Arc::new(move |backend| Ok(Arc::new(Http::new(backend, &tls)?)));
        let console: Factory = Arc::new(|backend| Ok(Arc::new(Console::new(backend.name.clone()))));
        Self { factories: [("http".to_owned(), http), ("console".to_owned(), console)].into() }
    }

    /// The same with one more, for backends whose `engine` is `name`. `make` gets what the
    /// configuration says of a backend (its `settings` among it), and may refuse it with a text
    /// that begins with the key below `[backends.NAME]`.
    ///
    /// # Errors
    /// [`EngineError::Twice`]
    pub fn with<B: Backend + 'static>(
        mut self,
        name: &str,
        make: impl Fn(&BackendConfig) -> Result<B, String> + Send + Sync + 'static,
    ) -> Result<Self, EngineError> {
        if self.factories.contains_key(name) {
            return Err(EngineError::Twice { name: name.to_owned(), known: self.known() });
        }
        let factory: Factory = Arc::new(move |backend| Ok(Arc::new(make(backend)?)));
        self.factories.insert(name.to_owned(), factory);
        Ok(self)
    }

    /// Tells `catalogue` of the senders that are not built in: each is a backend type of its name.
    ///
    /// # Errors
    /// [`NameTaken`] where the catalogue has a type of that name already.
    pub fn add_to(&self, catalogue: &mut Catalogue) -> Result<(), NameTaken> {
        let own = |name: &&String| !BUILTIN.contains(&name.as_str());
        self.factories.keys().filter(own).try_for_each(|name| catalogue.add_type(name))
    }

    /// The registered names, comma-separated.
    pub fn known(&self) -> String {
        self.factories.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The sender of `backend`.
    ///
    /// # Errors
    /// [`EngineError::Unknown`], [`EngineError::Refused`]
    pub fn build(&self, backend: &BackendConfig) -> Result<Arc<dyn Backend>, EngineError> {
        let name = &backend.definition.engine;
        let Some(factory) = self.factories.get(name) else {
            let backend = backend.name.to_string();
            return Err(EngineError::Unknown { backend, name: name.clone(), known: self.known() });
        };
        factory(backend).map_err(|why| EngineError::Refused { backend: backend.name.to_string(), why })
    }
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}
