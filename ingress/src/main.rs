//! `postern-ingress`: the receiving half of Postern, beside a shared broker.

use clap::Parser;
use postern_config::ProviderRegistry;
use postern_ingress::{Ingress, StartError, forms::Forms};
use postern_service::program::{self, Arguments, Exit, Runtime};
use std::{net::SocketAddr, process::ExitCode, sync::Arc};

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes messages from providers and applications over HTTP and publishes them to RabbitMQ.
#[derive(Debug, Parser)]
#[command(name = "postern-ingress", version)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    program::report(run(&Command::parse().arguments).await)
}

async fn run(arguments: &Arguments) -> Result<(), Exit> {
    let forms = Forms::builtin();
    let config = Arc::new(program::configuration(arguments, &ProviderRegistry::builtin())?);
    program::needs_shared_broker(&config, "postern-ingress")?;
    let problems = postern_ingress::problems(&config, &forms);
    if !problems.is_empty() {
        return Err(Exit::problems(&problems));
    }
    let version = env!("CARGO_PKG_VERSION");
    let runtime = Runtime::start("postern-ingress", version, arguments, &config, ADMIN).await?;
    let accepting_broker = runtime.accepting_broker(&config).await?;
    let ingress = Ingress::bind(config, accepting_broker, runtime.monitoring.clone(), &forms);
    let ingress = ingress.map_err(|error| match error {
        StartError::Config(_) => Exit::Config(error.to_string()),
        StartError::Listen { .. } => Exit::Failed(error.into()),
    })?;
    runtime.started();
    ingress.run(runtime.shutdown.clone()).await?;
    runtime.close().await;
    Ok(())
}
