//! The program `postern-dispatcher`, which also runs as `postern dispatcher`.

use crate::{
    connectors::ConnectorRegistry,
    dispatcher::Dispatcher,
    reload::DispatcherReload,
    validated::{Validated, validate},
};
use clap::{Args, Subcommand};
use postern_config::{ApplicationSection, Config, Problem, ProviderRegistry};
use postern_service::{
    health_check::{self, HealthArguments},
    program::{self, Arguments, Exit, Program, Runtime},
    reload::Reload,
};
use postern_shared::{message::BackendName, suggest, value::BackendSelection};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

const PROGRAM: Program = Program {
    name: "postern-dispatcher",
    version: env!("CARGO_PKG_VERSION"),
    admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082),
    spare_admin_ports: 16,
};

/// The arguments that only the dispatcher takes.
#[derive(Debug, Clone, Args)]
pub struct DispatcherArguments {
    /// Serve only these backends, instead of dispatcher.backends; '!NAME' for all but NAME
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backends: Vec<String>,
    /// Only write the message log: serve no backend, no application and no callbacks
    #[arg(long, conflicts_with = "backends")]
    only_log: bool,
}

/// What the dispatcher does if it is not to send.
#[derive(Debug, Clone, Subcommand)]
pub enum DispatcherAction {
    /// Ask a running dispatcher whether it is ready: exit 0, or exit 1 with one line that says why not
    Health(HealthArguments),
}

/// Sends messages from the shared broker until a signal ends it, then drains. `providers` says which
/// backend types the configuration may name, `connectors` what sends for them.
///
/// # Errors
/// [`Exit::Config`] with every problem of the arguments and the configuration, [`Exit::Failed`] for
/// anything else.
pub async fn run(
    arguments: &Arguments,
    choice: DispatcherArguments,
    providers: &ProviderRegistry,
    connectors: &ConnectorRegistry,
) -> Result<(), Exit> {
    let mut config = program::configuration(arguments, providers)?;
    program::needs_shared_broker(&config, PROGRAM.name)?;
    narrow(&mut config, &choice).map_err(Exit::Config)?;
    let validated = validate(Arc::new(config), connectors);
    let validated = validated.map_err(|problems| Exit::problems(arguments, problems))?;
    let config = validated.config().clone();
    let (runtime, reloads) = Runtime::start(PROGRAM, arguments, &config).await?;
    let dispatcher = Dispatcher::new(validated, runtime.broker.clone(), &runtime.monitoring)?;
    let reload =
        ReloadableDispatcher { arguments, choice, providers, connectors, dispatcher: dispatcher.reload() };
    runtime.started();
    let ended = tokio::select! {
        ended = dispatcher.run(runtime.shutdown.clone()) => ended,
        never = reloads.serve(config, &reload) => match never {},
    };
    runtime.close(ended.map_err(Exit::from)).await
}

/// Applies a changed configuration to the running dispatcher.
struct ReloadableDispatcher<'p> {
    arguments: &'p Arguments,
    choice: DispatcherArguments,
    providers: &'p ProviderRegistry,
    connectors: &'p ConnectorRegistry,
    dispatcher: DispatcherReload,
}

impl Reload for ReloadableDispatcher<'_> {
    type Read = Validated;

    fn read(&self) -> Result<Validated, Vec<Problem>> {
        let mut config = program::load(self.arguments, self.providers)?;
        narrow(&mut config, &self.choice)
            .map_err(|what| vec![Problem { key: String::new(), line: None, what }])?;
        validate(Arc::new(config), self.connectors)
    }

    fn config(validated: &Validated) -> &Arc<Config> {
        validated.config()
    }

    async fn apply(&self, validated: Validated) -> Result<(), String> {
        self.dispatcher.apply(validated).await.map_err(|error| error.to_string())
    }
}

/// Removes from `config` what the command line does not want served.
///
/// # Errors
/// What is wrong with the command line.
fn narrow(config: &mut Config, choice: &DispatcherArguments) -> Result<(), String> {
    if choice.only_log {
        only_log(config)?;
    }
    choose(config, choice.backends.clone())
}

/// Removes everything from `config` except the message log.
fn only_log(config: &mut Config) -> Result<(), String> {
    if config.message_log().is_none() {
        let why = "--only-log: there is no message log: set log.url, or log.messages = true";
        return Err(why.to_owned());
    }
    config.dispatcher.backends = BackendSelection::Some(Vec::new());
    config.application = ApplicationSection::None;
    (config.compat.kannel, config.compat.vumi) = (None, None);
    Ok(())
}

/// Asks a running dispatcher whether it is ready. `providers` says which backend types the configuration may
/// name.
///
/// # Errors
/// [`Exit::Failed`] if it is not ready.
pub async fn health(
    arguments: &Arguments,
    wanted: &HealthArguments,
    providers: &ProviderRegistry,
) -> Result<(), Exit> {
    health_check::check(PROGRAM, arguments, wanted, providers).await
}

fn choose(config: &mut Config, backends: Vec<String>) -> Result<(), String> {
    if backends.is_empty() {
        return Ok(());
    }
    let chosen = BackendSelection::try_from(backends).map_err(|why| format!("--backends: {why}"))?;
    if let Some(unknown) = chosen.mentioned().iter().find(|name| !config.backends.contains_key(*name)) {
        let known = config.backends.keys().map(BackendName::as_str).collect::<Vec<_>>().join(", ");
        let hint = suggest::hint(unknown.as_str(), config.backends.keys().map(BackendName::as_str));
        return Err(format!("--backends: unknown backend `{unknown}`; configured: {known}{hint}"));
    }
    config.dispatcher.backends = chosen;
    Ok(())
}
