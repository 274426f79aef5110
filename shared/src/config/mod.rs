//! What a configuration says, checked: a [`Config`] is one that can be run.
//!
//! `deploy/default.toml` lies below every file and documents every key; the file lies over it,
//! the environment over both.

mod application;
mod catalogue;
mod cross_check;
mod digest;
mod document;
mod doors;
mod environment;
mod networks;
mod problem;
mod reader;
mod secret;
mod sections;
mod spool;
#[cfg(test)]
mod tests;
mod values;

pub use application::{ApplicationSection, SigningKey, SigningKeys, Webhook, WebhookFormat, WebhookUrl};
pub use catalogue::{Catalogue, NameTaken};
pub use digest::SecretDigest;
pub use doors::{CONVERSATION, CallbacksSection, DoorUser, DoorsSection, KannelDoor, VumiDoor};
pub use networks::Networks;
pub use problem::{InvalidConfig, Problem};
pub use secret::{Secret, Secrets, Settings};
pub use sections::{
    AddressLimit, AdminSection, ApiKey, ApiSection, BreakerSection, BrokerSection, ClientHeader,
    DispatcherSection, IngressSection, LogFormat, LogSection, RetrySection, Selection, ShutdownSection,
    TlsFiles,
};
pub use spool::SpoolSection;
pub use values::{MAX_CONCURRENCY, Moment, OneOrMany, Rate, Span, Window};

use crate::{
    backend::{BackendConfig, Definition},
    broker::Topology,
    message::BackendName,
};
use document::{Document, join, overlay};
use reader::{Reader, take};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The built-in configuration: what runs without a file, and the reference of every key.
pub const DEFAULT: &str = include_str!("../../../deploy/default.toml");

/// Waits that a provider may ask for (`Retry-After`), in seconds; each has its wait queue besides
/// those of the configured delays.
const STANDARD_DELAYS: [u64; 11] = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600];

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
    /// `[doors]`
    pub doors: DoorsSection,
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
    pub backends: BTreeMap<BackendName, BackendConfig>,
}

impl Config {
    /// Reads `file`, or where there is none the built-in configuration, under the environment.
    ///
    /// # Errors
    /// Every problem that there is.
    pub fn load(file: Option<&Path>, catalogue: &Catalogue) -> Result<Self, InvalidConfig> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let Some(path) = file else {
            return Self::parse("the built-in configuration", None, environment, catalogue);
        };
        let source_name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&source_name, Some(&text), environment, catalogue),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                Err(InvalidConfig {
                    source_name,
                    problems: vec![Problem { key: String::new(), line: None, what }],
                })
            }
        }
    }

    /// Reads `text`, or where there is none the built-in configuration, under `environment`.
    ///
    /// # Errors
    /// Every problem that there is.
    pub fn parse(
        source_name: &str,
        text: Option<&str>,
        environment: impl IntoIterator<Item = (String, String)>,
        catalogue: &Catalogue,
    ) -> Result<Self, InvalidConfig> {
        let invalid = |problems| InvalidConfig { source_name: source_name.to_owned(), problems };
        let builtin = Document::parse(DEFAULT).map_err(|problem| invalid(vec![problem]))?;
        // What a file leaves out; it has no use for the trial's backend and application.
        let mut otherwise = builtin.tree.clone();
        otherwise.shift_remove("backends");
        if let Some(Value::Object(application)) = otherwise.get_mut("application") {
            application.insert("type".to_owned(), "none".into());
        }
        let (document, mut tree) = match text {
            None => (Document::default(), builtin.tree),
            Some(text) => {
                let document = Document::parse(text).map_err(|problem| invalid(vec![problem]))?;
                let mut tree = otherwise.clone();
                overlay(&mut tree, document.tree.clone());
                (document, tree)
            }
        };
        let set = environment::apply(&mut tree, environment);
        let mut reader = Reader::new(&document, otherwise, set);
        let config = read_sections(&mut reader, tree, catalogue);
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => {
                reader.problems.sort_by_key(|problem| problem.line);
                Err(invalid(reader.problems))
            }
        }
    }

    /// Everything that the broker must have.
    pub fn topology(&self) -> Topology {
        let webhook = matches!(self.application, ApplicationSection::Webhook(_));
        let general = (webhook || self.doors.call_back()).then_some(&self.retry).into_iter();
        let retries = self.backends.values().map(|backend| &backend.retry).chain(general);
        let configured = retries.flat_map(|retry| &retry.delays).map(|delay| delay.0);
        Topology {
            backends: self.backends.keys().cloned().collect(),
            delays: configured.chain(STANDARD_DELAYS.map(Duration::from_secs)).collect(),
            max_reports: self.broker.max_reports,
            max_messages: self.broker.max_messages,
        }
    }
}

fn read_sections(
    reader: &mut Reader<'_>,
    mut tree: Map<String, Value>,
    catalogue: &Catalogue,
) -> Option<Config> {
    let broker = section(reader, &mut tree, "broker", cross_check::broker);
    let ingress = section(reader, &mut tree, "ingress", cross_check::ingress);
    let admin = section(reader, &mut tree, "admin", cross_check::admin);
    let api = section(reader, &mut tree, "api", cross_check::api);
    let application = application::read(reader, take(&mut tree, "application"));
    let doors = section(reader, &mut tree, "doors", doors::check);
    let dispatcher = section(reader, &mut tree, "dispatcher", cross_check::dispatcher);
    let retry =
        section(reader, &mut tree, "retry", |retry, reader| cross_check::retry(retry, "retry", reader));
    let breaker =
        section(reader, &mut tree, "breaker", |own, reader| cross_check::breaker(*own, "breaker", reader));
    let log = section(reader, &mut tree, "log", cross_check::log);
    let shutdown = section(reader, &mut tree, "shutdown", |_, _| {});
    let sections = (ingress.as_ref(), retry.as_ref(), dispatcher.as_ref(), breaker);
    let backends = read_backends(reader, take(&mut tree, "backends"), sections, catalogue);
    for key in tree.keys() {
        let known = "broker, ingress, admin, api, application, doors, dispatcher, retry, breaker, backends, \
                     log, shutdown";
        reader.problem(key, format!("unknown key; allowed here: {known}"));
    }
    let config = Config {
        broker: broker?,
        ingress: ingress?,
        admin: admin?,
        api: api?,
        application: application.unwrap_or(ApplicationSection::None),
        doors: doors?,
        dispatcher: dispatcher?,
        retry: retry?,
        breaker: breaker?,
        log: log?,
        shutdown: shutdown?,
        backends: backends?,
    };
    cross_check::across(&config, reader);
    Some(config)
}

/// Reads the section `name` and checks what its types cannot say.
fn section<T: DeserializeOwned>(
    reader: &mut Reader<'_>,
    tree: &mut Map<String, Value>,
    name: &str,
    check: impl FnOnce(&T, &mut Reader<'_>),
) -> Option<T> {
    let section = reader.read(name, take(tree, name));
    if let Some(section) = &section {
        check(section, reader);
    }
    section
}

/// Those of them that can be read; `None` where a section that they rest on cannot.
fn read_backends(
    reader: &mut Reader<'_>,
    tables: Value,
    sections: (
        Option<&IngressSection>,
        Option<&RetrySection>,
        Option<&DispatcherSection>,
        Option<BreakerSection>,
    ),
    catalogue: &Catalogue,
) -> Option<BTreeMap<BackendName, BackendConfig>> {
    let Value::Object(tables) = tables else {
        reader.unreadable("backends", "must be a table of backends: [backends.NAME]");
        return None;
    };
    let read: Vec<_> = tables
        .into_iter()
        .filter_map(|(name, table)| read_backend(reader, &name, table, catalogue))
        .collect();
    let (Some(ingress), Some(retry), Some(dispatcher), Some(breaker)) = sections else { return None };
    let mut backends = BTreeMap::new();
    for (name, definition) in read {
        let path = join("backends", name.as_str());
        let retry = definition.retry.clone().unwrap_or_else(|| retry.clone());
        let concurrency = definition.concurrency.unwrap_or(dispatcher.concurrency);
        let most = definition.concurrency_max;
        if let Some(most) = most {
            cross_check::concurrency_max(most, concurrency, &path, reader);
        }
        let breaker = definition.breaker.map_or(breaker, |own| own.over(breaker));
        if definition.breaker.is_some() {
            cross_check::breaker(breaker, &join(&path, "breaker"), reader);
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
        backends.insert(name, backend);
    }
    Some(backends)
}

fn read_backend(
    reader: &mut Reader<'_>,
    name: &str,
    table: Value,
    catalogue: &Catalogue,
) -> Option<(BackendName, Definition)> {
    let path = join("backends", name);
    let parsed = name.parse::<BackendName>().map_err(|rule| reader.unreadable(&path, rule.to_string())).ok();
    let Value::Object(table) = table else {
        reader.unreadable(&path, "must be a table");
        return None;
    };
    let known = || format!("allowed: {}", catalogue.known_types());
    let kind = match table.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(_) => {
            reader.unreadable(join(&path, "type"), format!("must be a text; {}", known()));
            return None;
        }
        None => {
            reader.unreadable(join(&path, "type"), format!("is missing; {}", known()));
            return None;
        }
    };
    let Some(table) = catalogue.complete(&kind, table) else {
        reader.unreadable(join(&path, "type"), format!("unknown type; {}", known()));
        return None;
    };
    let definition = reader.read(&path, Value::Object(table))?;
    cross_check::backend(&definition, &path, catalogue, reader);
    Some((parsed?, definition))
}
