//! `postern-ingress`: the receiving half of Postern, with a shared broker.

use clap::Parser;
use postern_config::ProviderRegistry;
use postern_ingress::{
    forms::Forms,
    program::{self, IngressAction},
};
use postern_service::program::{Arguments, report};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes messages from providers and applications over HTTP and publishes them to RabbitMQ.
#[derive(Debug, Parser)]
#[command(name = "postern-ingress", version)]
struct Command {
    #[command(subcommand)]
    action: Option<IngressAction>,
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command { action, arguments } = Command::parse();
    let providers = ProviderRegistry::builtin();
    report(match action {
        Some(IngressAction::Health(wanted)) => program::health(&arguments, &wanted, &providers).await,
        None => program::run(&arguments, &providers, &Forms::builtin()).await,
    })
}
