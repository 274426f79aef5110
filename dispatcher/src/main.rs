//! `postern-dispatcher`: the sending half of Postern, beside a shared broker.

use clap::Parser;
use postern_config::{Config, ProviderRegistry, Selection};
use postern_dispatcher::{Dispatcher, connectors::ConnectorRegistry};
use postern_service::program::{self, Arguments, Exit, Runtime};
use postern_shared::message::BackendName;
use std::{net::SocketAddr, process::ExitCode, sync::Arc};

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8082);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes outbound messages from RabbitMQ and sends them through their backends.
#[derive(Debug, Parser)]
#[command(name = "postern-dispatcher", version)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
    /// Serve only these backends, in place of dispatcher.backends
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backends: Vec<BackendName>,
}

#[tokio::main]
async fn main() -> ExitCode {
    program::report(run(Command::parse()).await)
}

async fn run(command: Command) -> Result<(), Exit> {
    let mut config = program::configuration(&command.arguments, &ProviderRegistry::builtin())?;
    program::needs_shared_broker(&config, "postern-dispatcher")?;
    choose(&mut config, command.backends)?;
    let validated = postern_dispatcher::validate(Arc::new(config), &ConnectorRegistry::builtin());
    let validated = validated.map_err(|problems| Exit::problems(&problems))?;
    let version = env!("CARGO_PKG_VERSION");
    let runtime =
        Runtime::start("postern-dispatcher", version, &command.arguments, validated.config(), ADMIN).await?;
    let dispatcher = Dispatcher::new(validated, runtime.broker.clone(), &runtime.monitoring);
    runtime.started();
    let ended = dispatcher.run(runtime.shutdown.clone()).await;
    runtime.close().await;
    Ok(ended?)
}

fn choose(config: &mut Config, backends: Vec<BackendName>) -> Result<(), Exit> {
    if let Some(unknown) = backends.iter().find(|name| !config.backends.contains_key(*name)) {
        let known = config.backends.keys().map(BackendName::as_str).collect::<Vec<_>>().join(", ");
        return Err(Exit::Config(format!(
            "--backends: unknown backend `{unknown}`; configured are: {known}"
        )));
    }
    if !backends.is_empty() {
        config.dispatcher.backends = Selection::Some(backends);
    }
    Ok(())
}
