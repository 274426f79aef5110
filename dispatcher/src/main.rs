//! `postern-dispatcher`: the sending half of Postern, with a shared broker.

use clap::Parser;
use postern_config::ProviderRegistry;
use postern_dispatcher::{
    connectors::ConnectorRegistry,
    program::{self, DispatcherAction, DispatcherArguments},
};
use postern_service::program::{Arguments, report};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes outbound messages from RabbitMQ and sends them through their backends.
#[derive(Debug, Parser)]
#[command(name = "postern-dispatcher", version)]
struct Command {
    #[command(subcommand)]
    action: Option<DispatcherAction>,
    #[command(flatten)]
    arguments: Arguments,
    #[command(flatten)]
    choice: DispatcherArguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command { action, arguments, choice } = Command::parse();
    let providers = ProviderRegistry::builtin();
    report(match action {
        Some(DispatcherAction::Health(wanted)) => program::health(&arguments, &wanted, &providers).await,
        None => program::run(&arguments, choice, &providers, &ConnectorRegistry::builtin()).await,
    })
}
