//! `postern-dispatcher`: the sending half of Postern, beside a shared broker.

use clap::Parser;
use postern_config::{Catalogue, Config, Selection};
use postern_dispatcher::{Dispatcher, backends::Engines};
use postern_service::program::{self, Arguments, Exit, Runtime};
use postern_shared::message::BackendName;
use std::{net::SocketAddr, process::ExitCode};

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
    let mut config = program::configuration(&command.arguments, &Catalogue::builtin())?;
    program::needs_shared_broker(&config, "postern-dispatcher")?;
    choose(&mut config, command.backends)?;
    let problems = postern_dispatcher::problems(&config, &Engines::builtin());
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(Exit::Config(lines.join("\n")));
    }
    let version = env!("CARGO_PKG_VERSION");
    let runtime = Runtime::start("postern-dispatcher", version, &command.arguments, &config, ADMIN).await?;
    let dispatcher = Dispatcher::new(&config, runtime.broker.clone(), &runtime.metrics, &Engines::builtin())
        .map_err(|error| Exit::Config(error.to_string()))?;
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
