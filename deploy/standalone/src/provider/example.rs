//! An example backend of a type for a configuration: its settings, each with an explanation.

use postern_config::{
    About, Config, InvalidConfig, Loader, NeededSecrets, ProviderRegistry,
    backend::{BackendConfig, Definition},
};
use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

/// The `ingress.public_url` of the examples.
pub(super) const PUBLIC_URL: &str = "https://sms.example.org";

/// The backend of a configuration that has only this one. It is named like its type, and `settings` are the
/// lines of its settings; its secrets may be missing.
///
/// # Errors
/// All problems of the configuration.
pub(super) fn backend(
    providers: &ProviderRegistry,
    kind: &str,
    settings: &str,
) -> Result<Arc<BackendConfig>, InvalidConfig> {
    let text = format!(
        "[ingress]\npublic_url = \"{PUBLIC_URL}\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
         [backends.{kind}]\ntype = \"{kind}\"\n[backends.{kind}.settings]\n{settings}"
    );
    let loader = Loader::new(providers).needing(NeededSecrets::Of(&[]));
    let config: Config = loader.parse(kind, Some(&text), [])?;
    let backend = config.backends.into_values().next();
    backend.ok_or_else(|| InvalidConfig { source_name: kind.to_owned(), problems: Vec::new() })
}

/// The backend of [`backend`] without any of its settings, as the type's file defines it.
///
/// # Errors
/// All problems of the configuration.
pub(super) fn unset(providers: &ProviderRegistry, kind: &str) -> Result<Arc<BackendConfig>, InvalidConfig> {
    // A setting with a variable counts as set, and the variable need not exist.
    let absent = |name: &String| format!("{name} = {{ env = \"{}\" }}\n", variable(kind, name));
    let settings: String = providers.unset_settings_of(kind).iter().map(absent).collect();
    backend(providers, kind, &settings)
}

/// The settings of a type, in the order in which an example shows them.
pub(super) struct ExampleSettings<'a> {
    about: Option<&'a About>,
    all: BTreeSet<String>,
    unset: BTreeSet<String>,
    definition: &'a Definition,
}

impl<'a> ExampleSettings<'a> {
    pub(super) fn new(providers: &'a ProviderRegistry, definition: &'a Definition) -> Self {
        let kind = &definition.kind;
        let (all, unset) = (providers.settings_of(kind), providers.unset_settings_of(kind));
        Self { about: providers.about(kind), all, unset, definition }
    }

    /// The lines of a `settings` table: first the required settings, then, as comments, the optional ones.
    pub(super) fn lines(&self) -> String {
        let mut lines = String::new();
        let mut written: BTreeSet<&str> = BTreeSet::new();
        for names in &self.definition.required_settings {
            for (number, name) in names.0.iter().enumerate() {
                written.insert(name);
                self.explain(name, if number == 0 { "" } else { "Or: " }, &mut lines);
                let off = if number == 0 { "" } else { "# " };
                let _ = writeln!(lines, "{off}{name} = {}", self.value(name));
            }
        }
        let explained = self.about.iter().flat_map(|about| about.settings.keys()).map(String::as_str);
        let rest: Vec<&str> = explained.chain(self.all.iter().map(String::as_str)).collect();
        for name in rest {
            if written.insert(name) {
                self.explain(name, "", &mut lines);
                let _ = writeln!(lines, "# {name} = {}", self.default(name));
            }
        }
        lines
    }

    fn explain(&self, name: &str, before: &str, lines: &mut String) {
        if let Some(line) = self.about.and_then(|about| about.settings.get(name)) {
            let _ = writeln!(lines, "# {before}{line}");
        }
    }

    fn value(&self, name: &str) -> String {
        if self.definition.is_secret_setting(name) {
            format!("{{ env = \"{}\" }}", variable(&self.definition.kind, name))
        } else if name.ends_with("url") {
            "\"https://…\"".to_owned()
        } else {
            "\"…\"".to_owned()
        }
    }

    fn default(&self, name: &str) -> String {
        let given = self.definition.settings.expose().get(name).filter(|_| !self.unset.contains(name));
        match given {
            Some(value) => value.to_string(),
            None if self.definition.is_secret_setting(name) => self.value(name),
            None => "…".to_owned(),
        }
    }
}

/// The environment variable that an example takes the setting `name` from.
fn variable(kind: &str, name: &str) -> String {
    format!("{kind}_{name}").to_uppercase().replace('-', "_")
}
