//! The program `postern-dispatcher`, which `postern dispatcher` is too.

use crate::{connectors::ConnectorRegistry, dispatcher::Dispatcher, validated::validate};
use clap::{Args, Subcommand};
use postern_config::{ApplicationSection, Config, ProviderRegistry, Selection};
use postern_service::{
    health_check::{self, HealthArguments},
    program::{self, Arguments, Exit, Program, Runtime},
};
use postern_shared::{message::BackendName, suggest};
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
pub struct Choice {
    /// Serve only these backends, in place of dispatcher.backends; '!NAME' for all but NAME
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backends: Vec<String>,
    /// Serve no backend, no application and no callbacks: only write the message log
    #[arg(long, conflicts_with = "backends")]
    only_log: bool,
}

/// What the dispatcher does if it is not to send.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Ask a running dispatcher whether it is ready: exit 0, or 1 with one line that says why not
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
    choice: Choice,
    providers: &ProviderRegistry,
    connectors: &ConnectorRegistry,
) -> Result<(), Exit> {
    let mut config = program::configuration(arguments, providers)?;
    program::needs_shared_broker(&config, PROGRAM.name)?;
    if choice.only_log {
        only_log(&mut config)?;
    }
    choose(&mut config, choice.backends)?;
    let validated = validate(Arc::new(config), connectors).map_err(|problems| Exit::problems(&problems))?;
    let runtime = Runtime::start(PROGRAM, arguments, validated.config()).await?;
    let dispatcher = Dispatcher::new(validated, runtime.broker.clone(), &runtime.monitoring)?;
    runtime.started();
    let ended = dispatcher.run(runtime.shutdown.clone()).await;
    runtime.close().await;
    Ok(ended?)
}

/// Leaves nothing to do but the message log.
fn only_log(config: &mut Config) -> Result<(), Exit> {
    if config.message_log().is_none() {
        let why = "--only-log: there is no message log: set log.url, or log.messages = true";
        return Err(Exit::Config(why.to_owned()));
    }
    config.dispatcher.backends = Selection::Some(Vec::new());
    config.application = ApplicationSection::None;
    (config.compat.kannel, config.compat.vumi) = (None, None);
    Ok(())
}

/// Asks a running dispatcher whether it is ready. `providers` says which backend types the configuration may
/// name.
///
/// # Errors
/// [`Exit::Failed`]: it is not.
pub async fn health(
    arguments: &Arguments,
    wanted: &HealthArguments,
    providers: &ProviderRegistry,
) -> Result<(), Exit> {
    health_check::check(PROGRAM, arguments, wanted, providers).await
}

fn choose(config: &mut Config, backends: Vec<String>) -> Result<(), Exit> {
    if backends.is_empty() {
        return Ok(());
    }
    let chosen = Selection::try_from(backends).map_err(|why| Exit::Config(format!("--backends: {why}")))?;
    if let Some(unknown) = chosen.names().iter().find(|name| !config.backends.contains_key(*name)) {
        let known = config.backends.keys().map(BackendName::as_str).collect::<Vec<_>>().join(", ");
        let hint = suggest::hint(unknown.as_str(), config.backends.keys().map(BackendName::as_str));
        return Err(Exit::Config(format!(
            "--backends: unknown backend `{unknown}`; configured are: {known}{hint}"
        )));
    }
    config.dispatcher.backends = chosen;
    Ok(())
}
