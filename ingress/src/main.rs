//! `postern-ingress`: the receiving half of Postern, beside a shared broker.

use clap::Parser;
use postern_config::ProviderRegistry;
use postern_ingress::{forms::Forms, program};
use postern_service::program::{Arguments, report};
use std::process::ExitCode;

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
    let Command { arguments } = Command::parse();
    report(program::run(&arguments, &ProviderRegistry::builtin(), &Forms::builtin()).await)
}
