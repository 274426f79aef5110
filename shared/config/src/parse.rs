//! Turns a file and the environment into a [`Config`], or into the list of all problems.

use crate::{
    application::{self, ApplicationSection},
    backend::{
        BackendConfig, Definition, DefinitionTable,
        flow::{BreakerSection, RetrySection},
    },
    backend_check, compat,
    completed::Completed,
    config::Config,
    connector, cross_check,
    document::{Document, overlay},
    environment, flow_check,
    lines::join,
    loader::Loader,
    message_log,
    problem::InvalidConfig,
    provider_file::FilePlace,
    provider_folder,
    provider_registry::ProviderRegistry,
    reader::{Reader, take},
    section_check,
    section_names::SECTIONS,
    sections::{DispatcherSection, IngressSection},
    templates, warnings, weak_secrets,
};
use postern_shared::{message::BackendName, suggest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The built-in configuration, which runs without a file and documents every key.
pub const DEFAULT: &str = include_str!("../../../deploy/default.toml");

impl Loader<'_> {
    /// Reads `text`, or without one the built-in configuration, with `environment` laid over it.
    ///
    /// # Errors
    /// Every problem of the configuration.
    pub fn parse(
        self,
        source_name: &str,
        text: Option<&str>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, InvalidConfig> {
        let invalid = |problems| InvalidConfig { source_name: source_name.to_owned(), problems };
        let builtin = Document::parse(DEFAULT).map_err(&invalid)?;
        // The defaults for a file: the built-in configuration without its trial backend and application.
        let mut otherwise = builtin.tree.clone();
        otherwise.shift_remove("backends");
        if let Some(Value::Object(application)) = otherwise.get_mut("application") {
            application.insert("type".to_owned(), "none".into());
        }
        let (document, mut tree) = match text {
            None => (Document::default(), builtin.tree),
            Some(text) => {
                let document = Document::parse(text).map_err(&invalid)?;
                let mut tree = otherwise.clone();
                overlay(&mut tree, document.tree.clone());
                (document, tree)
            }
        };
        let environment: Vec<_> = environment.into_iter().collect();
        let set = environment::apply(&mut tree, environment.iter().cloned());
        let names = environment.iter().map(|(name, _)| name.as_str());
        let mistaken = environment::mistaken(&tree, names);
        let is_empty = document.tree.is_empty() && set.is_empty() && text.is_some();
        let mut reader = Reader::new(document.lines, otherwise, set, self.secrets);
        let variables = warnings::variables(&tree);
        let section = tree.shift_remove(provider_folder::KEY);
        let providers = provider_folder::with_folder(&mut reader, section, self.providers);
        let completed = Completed::of(&tree, &providers);
        let config = read_sections(&mut reader, tree, &providers);
        for (what, is_certain) in mistaken {
            if is_certain { reader.problem("", what) } else { reader.warning("", &what) }
        }
        match config {
            Some(config) if reader.problems.is_empty() => {
                weak_secrets::warn(&config, &mut reader);
                for (key, what) in variables {
                    reader.warning(&key, &what);
                }
                warnings::warn(&config, is_empty, &mut reader);
                reader.warnings.sort_by_key(|warning| warning.line);
                let (warnings, absent_secrets) = (reader.warnings, reader.absent);
                Ok(Config { warnings, absent_secrets, completed, ..config })
            }
            _ => {
                reader.problems.sort_by_key(|problem| problem.line);
                Err(invalid(reader.problems))
            }
        }
    }
}

fn read_sections(
    reader: &mut Reader,
    mut tree: Map<String, Value>,
    providers: &ProviderRegistry,
) -> Option<Config> {
    let broker = section(reader, &mut tree, "broker", section_check::broker);
    let ingress = section(reader, &mut tree, "ingress", section_check::ingress);
    let admin = section(reader, &mut tree, "admin", section_check::admin);
    let api = section(reader, &mut tree, "api", section_check::api);
    let compat = section(reader, &mut tree, "compat", compat::check);
    let dispatcher = section(reader, &mut tree, "dispatcher", section_check::dispatcher);
    let retry =
        section(reader, &mut tree, "retry", |retry, reader| flow_check::retry(retry, "retry", reader));
    let breaker =
        section(reader, &mut tree, "breaker", |own, reader| flow_check::breaker(*own, "breaker", reader));
    let application = application::read(reader, take(&mut tree, "application"), breaker);
    let log = section(reader, &mut tree, "log", section_check::log);
    let shutdown = section(reader, &mut tree, "shutdown", |_, _| {});
    let sections = (ingress.as_ref(), retry.as_ref(), dispatcher.as_ref(), breaker);
    let backends = read_backends(reader, take(&mut tree, "backends"), sections, providers);
    for key in tree.keys() {
        let what = match key.as_str() {
            "doors" => "unknown key: [doors] is now [compat]".to_owned(),
            _ => format!("unknown key; allowed here: {}{}", SECTIONS.join(", "), reader.placed(key)),
        };
        reader.problem(key, what);
    }
    let config = Config {
        broker: broker?,
        ingress: ingress?,
        admin: admin?,
        api: api?,
        application: application.unwrap_or(ApplicationSection::None),
        compat: compat?,
        dispatcher: dispatcher?,
        retry: retry?,
        breaker: breaker?,
        log: log?,
        shutdown: shutdown?,
        backends: backends?,
        warnings: Vec::new(),
        absent_secrets: BTreeSet::new(),
        places: reader.places(),
        from_environment: reader.from_environment.clone(),
        completed: Completed::default(),
    };
    cross_check::across(&config, reader);
    message_log::check(&config, reader);
    templates::check(&config, providers, reader);
    Some(config)
}

/// Reads the section `name`, and checks it beyond the types.
fn section<T: DeserializeOwned>(
    reader: &mut Reader,
    tree: &mut Map<String, Value>,
    name: &str,
    check: impl FnOnce(&T, &mut Reader),
) -> Option<T> {
    let section = reader.read(name, take(tree, name));
    if let Some(section) = &section {
        check(section, reader);
    }
    section
}

/// The backends of `tables` that can be read. `None` if a section that they depend on cannot be read.
fn read_backends(
    reader: &mut Reader,
    tables: Value,
    sections: (
        Option<&IngressSection>,
        Option<&RetrySection>,
        Option<&DispatcherSection>,
        Option<BreakerSection>,
    ),
    providers: &ProviderRegistry,
) -> Option<BTreeMap<BackendName, Arc<BackendConfig>>> {
    let Value::Object(tables) = tables else {
        reader.unreadable("backends", "must be a table of backends: [backends.NAME]");
        return None;
    };
    let read: Vec<_> = tables
        .into_iter()
        .filter_map(|(name, table)| read_backend(reader, &name, table, providers))
        .collect();
    let (Some(ingress), Some(retry), Some(dispatcher), Some(breaker)) = sections else { return None };
    let mut backends = BTreeMap::new();
    for (name, definition) in read {
        let path = join("backends", name.as_str());
        let retry = definition.retry.clone().unwrap_or_else(|| retry.clone());
        let concurrency = definition.concurrency.unwrap_or(dispatcher.concurrency);
        let most = definition.concurrency_max;
        if let Some(most) = most {
            backend_check::concurrency_max(most, concurrency, &path, reader);
        }
        let breaker = definition.breaker.map_or(breaker, |own| own.over(breaker));
        if definition.breaker.is_some() {
            flow_check::breaker(breaker, &join(&path, "breaker"), reader);
        }
        let public = ingress.public_url.as_ref().filter(|_| definition.status.is_some());
        let public = public.cloned();
        let mut backend = BackendConfig {
            name: name.clone(),
            definition,
            retry,
            concurrency: most.unwrap_or(concurrency),
            concurrency_min: concurrency,
            breaker,
            status_url: None,
        };
        let path = backend.status_path();
        backend.status_url = public.map(|public| format!("{public}{path}").into());
        backends.insert(name, Arc::new(backend));
    }
    Some(backends)
}

fn read_backend(
    reader: &mut Reader,
    name: &str,
    table: Value,
    providers: &ProviderRegistry,
) -> Option<(BackendName, Definition)> {
    let path = join("backends", name);
    let parsed = name.parse::<BackendName>().map_err(|rule| reader.unreadable(&path, rule.to_string())).ok();
    let Value::Object(table) = table else {
        reader.unreadable(&path, "must be a table");
        return None;
    };
    let known = || format!("allowed: {}", providers.known_types());
    let kind = match table.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(_) => {
            reader.unreadable(join(&path, "type"), format!("must be a string; {}", known()));
            return None;
        }
        None => {
            reader.unreadable(join(&path, "type"), format!("is missing; {}", known()));
            return None;
        }
    };
    let Some(mut table) = providers.complete(&kind, table) else {
        let hint = suggest::hint(&kind, providers.known_types().split(", "));
        let own = "; your own provider file must be in the folder of `providers = \"DIR\"`, a key that stands before \
                   the first [table]";
        reader.unreadable(join(&path, "type"), format!("unknown type; {}{hint}{own}", known()));
        return None;
    };
    if let Some(FilePlace { path: file, lines }) = providers.place(&kind) {
        reader.lies_over(&path, file, lines);
    }
    if table.shift_remove("engine").is_some() {
        reader.unreadable(join(&path, "engine"), "unknown key: engine is now connector");
    }
    if table.shift_remove("about").is_some() {
        reader.unreadable(join(&path, "about"), "unknown key: only a provider's file has a table [about]");
    }
    if table.shift_remove("base").is_some() {
        let what = "unknown key: only a provider's file can use it, to build on another type";
        reader.unreadable(join(&path, "base"), what);
    }
    let connector = connector::read(reader, &path, &table, providers);
    let definition: DefinitionTable = reader.read(&path, Value::Object(table))?;
    let definition = definition.with(connector?);
    backend_check::backend(&definition, &path, providers, reader);
    Some((parsed?, definition))
}
