//! How a configuration is read: which backend types it may name, and which of its secrets must be there.

use crate::{
    config::Config,
    needed_secrets::NeededSecrets,
    problem::{InvalidConfig, Problem, source_name},
    provider_registry::ProviderRegistry,
    source,
};
use std::path::Path;

/// Reads configurations.
#[derive(Debug, Clone, Copy)]
pub struct Loader<'p> {
    pub(crate) providers: &'p ProviderRegistry,
    pub(crate) secrets: NeededSecrets,
}

impl<'p> Loader<'p> {
    /// A loader for configurations that may name the types of `providers` and must have all of their secrets.
    pub fn new(providers: &'p ProviderRegistry) -> Self {
        Self { providers, secrets: NeededSecrets::All }
    }

    /// The same loader, but only these `secrets` must be there. Any other missing secret is listed in
    /// [`Config::absent_secrets`].
    #[must_use]
    pub fn needing(self, secrets: NeededSecrets) -> Self {
        Self { secrets, ..self }
    }

    /// Reads `file`, or without one the built-in configuration, with the environment laid over it.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub fn load(self, file: Option<&Path>) -> Result<Config, InvalidConfig> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
        let (environment, unreadable): (Vec<_>, Vec<_>) = std::env::vars_os()
            .map(|(name, value)| match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                (Ok(name), Err(_)) | (Err(_), Ok(name)) => Err(name),
                (Err(_), Err(_)) => Err(String::new()),
            })
            .partition(Result::is_ok);
        let source_name = source_name(file);
        let wrong = |what: String| InvalidConfig {
            source_name: source_name.clone(),
            problems: vec![Problem { key: String::new(), line: None, what }],
        };
        if let Some(name) =
            unreadable.into_iter().filter_map(Result::err).find(|name| name.starts_with("POSTERN__"))
        {
            return Err(wrong(format!("the environment variable {name} is not UTF-8")));
        }
        let environment = environment.into_iter().flatten();
        let Some(path) = file else { return self.parse(&source_name, None, environment) };
        let bytes = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        match source::text(bytes) {
            Ok(text) => self.parse(&source_name, Some(&text), environment),
            Err(problem) => Err(InvalidConfig { source_name, problems: vec![problem] }),
        }
    }
}

impl Config {
    /// Reads `file` as [`Loader::load`] does, with all of its secrets.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub fn load(file: Option<&Path>, providers: &ProviderRegistry) -> Result<Self, InvalidConfig> {
        Loader::new(providers).load(file)
    }

    /// Reads `text` as [`Loader::parse`] does, with all of its secrets.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub fn parse(
        source_name: &str,
        text: Option<&str>,
        environment: impl IntoIterator<Item = (String, String)>,
        providers: &ProviderRegistry,
    ) -> Result<Self, InvalidConfig> {
        Loader::new(providers).parse(source_name, text, environment)
    }
}
