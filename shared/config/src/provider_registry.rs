//! The backend types that a program knows.

use super::{
    about::About,
    backend::connector::{BUILT_IN, ConnectorDirection},
    problem::{InvalidConfig, Problem},
    provider_file::{FilePlace, ProviderFile, laid_over},
    type_settings,
};
use postern_shared::suggest;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::OnceLock,
};

/// Every `shared/providers/*.toml`, by name.
const PROVIDERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/providers.rs"));

/// The backend types, connectors and forms that a program knows and a configuration may name.
///
/// The built-in ones are there from the start; a custom program adds others explicitly, by name. Each name can be
/// registered only once.
#[derive(Debug, Clone)]
pub struct ProviderRegistry {
    types: BTreeMap<String, ProviderType>,
    /// The connector kinds that are registered in Rust.
    connectors: BTreeMap<String, ConnectorDirection>,
    forms: BTreeSet<String>,
}

/// A backend type. The file of a built-in type is read on demand: a configuration names only a few of them, and
/// reading all would take most of the time of a start.
#[derive(Debug, Clone)]
enum ProviderType {
    BuiltIn(&'static str, OnceLock<Box<ProviderFile>>),
    Added(Box<ProviderFile>),
}

impl ProviderType {
    fn file(&self) -> &ProviderFile {
        match self {
            Self::BuiltIn(text, file) => file.get_or_init(|| Box::new(built_in(text))),
            Self::Added(file) => file,
        }
    }
}

/// The built-in file with this `text`, laid over the built-in file that it builds on.
fn built_in(text: &str) -> ProviderFile {
    let (file, base) = ProviderFile::built_in(text);
    match base.and_then(|base| text_of(&base)) {
        Some(base) => file.over(&ProviderFile::built_in(base).0),
        None => file,
    }
}

fn text_of(name: &str) -> Option<&'static str> {
    PROVIDERS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The error for a name that is registered already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} `{name}` is registered twice; known: {known}")]
pub struct NameTaken {
    what: &'static str,
    name: String,
    known: String,
}

impl ProviderRegistry {
    /// The types of `shared/providers/` and the form `http`.
    pub fn builtin() -> Self {
        let unread = |&(name, text): &(&str, &'static str)| {
            (name.to_owned(), ProviderType::BuiltIn(text, OnceLock::new()))
        };
        let types = PROVIDERS.iter().map(unread).collect();
        Self { types, connectors: BTreeMap::new(), forms: ["http".to_owned()].into() }
    }

    /// Adds a kind of connector that is registered in Rust, and a type of the same name whose backends
    /// send through it. It receives as `http` does.
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn add_connector(&mut self, name: &str, direction: ConnectorDirection) -> Result<(), NameTaken> {
        if self.types.contains_key(name) {
            return Err(NameTaken { what: "backend type", name: name.to_owned(), known: self.known_types() });
        }
        let tree = [("connector".to_owned(), name.into())].into_iter().collect();
        self.add(name, ProviderFile { tree, ..ProviderFile::default() });
        self.connectors.insert(name.to_owned(), direction);
        Ok(())
    }

    /// Adds the type in the file at `path` as `name`, or replaces the type `name` by it. The file may build on
    /// the types of `bases`.
    ///
    /// # Errors
    /// Every problem with the file.
    pub(super) fn add_file(&mut self, name: &str, path: &Path, bases: &Self) -> Result<(), Vec<Problem>> {
        self.add(name, ProviderFile::read(path, |named| bases.base(named))?);
        Ok(())
    }

    fn add(&mut self, name: &str, file: ProviderFile) {
        self.types.insert(name.to_owned(), ProviderType::Added(Box::new(file)));
    }

    /// The type that `named`, the value of a file's key `base`, refers to.
    fn base(&self, named: &Value) -> Result<&ProviderFile, String> {
        let known = || self.types().filter(|name| self.file(name).is_some_and(|file| !file.has_base));
        let allowed = || format!("allowed: {}", known().collect::<Vec<_>>().join(", "));
        let Some(name) = named.as_str() else { return Err(format!("must be a string; {}", allowed())) };
        match self.file(name) {
            Some(file) if file.has_base => {
                Err(format!("{name} itself builds on another type; {}", allowed()))
            }
            Some(file) => Ok(file),
            None => Err(format!("unknown type; {}{}", allowed(), suggest::hint(name, known()))),
        }
    }

    /// The file of the type `kind`. `None` if the type is unknown.
    fn file(&self, kind: &str) -> Option<&ProviderFile> {
        self.types.get(kind).map(ProviderType::file)
    }

    /// The registry with the type in the file at `path`, which is added or replaces one of the same name. Also
    /// returns the type's name, which is the file's name without `.toml`.
    ///
    /// # Errors
    /// Every problem with the file.
    pub fn with_file(mut self, path: &Path) -> Result<(Self, String), InvalidConfig> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let source_name = path.display().to_string();
        let bases = self.clone();
        self.add_file(&name, path, &bases).map_err(|problems| InvalidConfig { source_name, problems })?;
        Ok((self, name))
    }

    /// Adds a form that is registered in Rust, for `receive.form`.
    ///
    /// # Errors
    /// [`NameTaken`]
    pub fn add_form(&mut self, name: &str) -> Result<(), NameTaken> {
        if !self.forms.insert(name.to_owned()) {
            return Err(NameTaken { what: "form", name: name.to_owned(), known: self.known_forms() });
        }
        Ok(())
    }

    /// The names of the types, in order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// Whether there is a type `name`.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.types.contains_key(name)
    }

    /// The place of the file of the type `kind`. `None` if the type is compiled in or unknown.
    pub(super) fn place(&self, kind: &str) -> Option<&FilePlace> {
        self.file(kind)?.place.as_ref()
    }

    /// The types, comma-separated.
    pub fn known_types(&self) -> String {
        self.types().collect::<Vec<_>>().join(", ")
    }

    /// The kinds of connectors, comma-separated.
    pub fn known_connectors(&self) -> String {
        let registered = self.connectors.keys().map(String::as_str);
        BUILT_IN.into_iter().chain(registered).collect::<Vec<_>>().join(", ")
    }

    /// The forms, comma-separated.
    pub fn known_forms(&self) -> String {
        self.forms.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Whether the registered kind `connector` can send. `None` if the kind is unknown.
    pub(super) fn direction(&self, connector: &str) -> Option<ConnectorDirection> {
        self.connectors.get(connector).copied()
    }

    pub(super) fn has_form(&self, name: &str) -> bool {
        self.forms.contains(name)
    }

    /// The settings that the file of the type `kind` has, requires or uses.
    pub fn settings_of(&self, kind: &str) -> BTreeSet<String> {
        self.file(kind).map(|file| type_settings::settings_in(&file.tree)).unwrap_or_default()
    }

    /// The settings that the file of the type `kind` requires or uses, but gives no value.
    pub fn unset_settings_of(&self, kind: &str) -> BTreeSet<String> {
        self.file(kind).map(|file| type_settings::unset_in(&file.tree)).unwrap_or_default()
    }

    /// The table `[about]` of the type `kind`. `None` for an unknown type, and for one that is registered in Rust.
    pub fn about(&self, kind: &str) -> Option<&About> {
        self.file(kind)?.about.as_ref()
    }

    /// `table` laid over the file of the type `kind`. `None` if the type is unknown. A `receive.auth` in
    /// `table` replaces the file's as a whole: a request proves itself in only one way.
    pub(super) fn complete(&self, kind: &str, table: Map<String, Value>) -> Option<Map<String, Value>> {
        Some(laid_over(&self.file(kind)?.tree, table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use postern_shared::read;

    #[test]
    fn every_provider_file_can_be_read_and_is_listed() {
        for (name, text) in PROVIDERS {
            let tree = Document::parse(text).unwrap().tree;
            assert!(tree.contains_key("connector") != tree.contains_key("base"), "{name}");
            let (_, base) = ProviderFile::built_in(text);
            let base = base.map(|base| text_of(&base).map(ProviderFile::built_in));
            assert!(
                base.is_none_or(|base| base.is_some_and(|(_, none)| none.is_none())),
                "{name}: a base that is none"
            );
        }
        let builtin = ProviderRegistry::builtin();
        assert!(builtin.known_types().contains("console, http"));
        assert_eq!(builtin.types.len(), PROVIDERS.len(), "a base that is none");
    }

    #[test]
    fn every_provider_file_says_what_it_is_and_what_each_of_its_settings_is() {
        let providers = ProviderRegistry::builtin();
        for (name, text) in PROVIDERS {
            let about = Document::parse(text).unwrap().tree.get("about").cloned();
            let about = about.unwrap_or_else(|| panic!("{name}.toml has no table [about]"));
            if let Err(mistake) = read::from_value::<About>(&about) {
                panic!("{name}.toml: about.{mistake}");
            }
            let wrong = providers.about(name).unwrap().problems(&providers.settings_of(name));
            assert_eq!(wrong, [], "{name}.toml: [about]");
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut providers = ProviderRegistry::builtin();
        providers.add_connector("pigeon", ConnectorDirection::Sends).unwrap();
        let why = providers.add_connector("pigeon", ConnectorDirection::Sends).unwrap_err().to_string();
        assert!(why.contains("twice") && why.contains(", pigeon, "), "{why}");
        assert!(providers.add_form("http").is_err());
    }
}
