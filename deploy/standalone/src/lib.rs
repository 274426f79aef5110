//! The whole gateway in one process, and the place to add backends and forms of one's own.
//!
//! ```no_run
//! use postern::Gateway;
//! use postern_dispatcher::backends::Engines;
//! use postern_ingress::forms::Forms;
//!
//! fn main() -> std::process::ExitCode {
//!     Gateway::new().with_engines(Engines::builtin()).with_forms(Forms::builtin()).main()
//! }
//! ```

mod dead;
mod greeting;
mod key;

use anyhow::Context;
use clap::{Parser, Subcommand};
use postern_config::{Catalogue, Config};
use postern_dispatcher::{Dispatcher, RunError, backends::Engines, program::Choice};
use postern_ingress::{Ingress, StartError, forms::Forms};
use postern_service::{
    program::{self, Arguments, Exit, Runtime},
    shutdown::Shutdown,
};
use std::{future::Future, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How much longer than the ingress accepts the dispatcher consumes, where requests are in flight.
const HEAD_START: Duration = Duration::from_secs(2);

/// A message gateway between people's messaging providers and your applications.
#[derive(Debug, Parser)]
#[command(name = "postern", version)]
struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Receive and send, in one process (also what happens without a command)
    Run,
    /// Validate the configuration without starting anything: exit 0, or 2 with every problem
    Check,
    /// Make a new API key, and print it with the lines that the configuration needs
    Key(key::KeyArguments),
    /// Receive only: takes messages over HTTP and publishes them to RabbitMQ, as postern-ingress does
    #[command(version)]
    Ingress,
    /// Send only: takes messages from RabbitMQ and sends them, as postern-dispatcher does
    #[command(version)]
    Dispatcher(Choice),
    /// Look at the messages that could not be sent, put them back, or drop them
    #[command(subcommand)]
    Dead(dead::Action),
}

/// A gateway with its senders and its forms.
#[derive(Debug)]
pub struct Gateway {
    engines: Engines,
    forms: Forms,
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}

impl Gateway {
    /// One with the built-in senders and forms.
    pub fn new() -> Self {
        Self { engines: Engines::builtin(), forms: Forms::builtin() }
    }

    /// The same with other senders. Each that is not built in is a backend type of its name.
    #[must_use]
    pub fn with_engines(self, engines: Engines) -> Self {
        Self { engines, ..self }
    }

    /// The same with other forms.
    #[must_use]
    pub fn with_forms(self, forms: Forms) -> Self {
        Self { forms, ..self }
    }

    /// Does what the command line says, until it is done or told to stop.
    pub fn main(self) -> ExitCode {
        let command = Command::parse();
        let arguments = &command.arguments;
        let outcome = match command.action.unwrap_or(Action::Run) {
            Action::Check => self.check(arguments),
            Action::Key(wanted) => {
                key::new(&wanted).and_then(|text| Ok(greeting::print(&text)?)).map_err(Exit::from)
            }
            Action::Run => in_runtime(self.run(arguments)),
            Action::Ingress => self
                .catalogue()
                .and_then(|known| in_runtime(postern_ingress::program::run(arguments, &known, &self.forms))),
            Action::Dispatcher(choice) => self.catalogue().and_then(|known| {
                in_runtime(postern_dispatcher::program::run(arguments, choice, &known, &self.engines))
            }),
            Action::Dead(action) => self.configuration(arguments).and_then(|config| {
                in_runtime(dead::run(action, &config, arguments.admin_listen.unwrap_or(ADMIN)))
            }),
        };
        program::report(outcome)
    }

    /// The backend types that the configuration may name.
    fn catalogue(&self) -> Result<Catalogue, Exit> {
        let mut catalogue = Catalogue::builtin();
        self.engines.add_to(&mut catalogue)?;
        self.forms.add_to(&mut catalogue)?;
        Ok(catalogue)
    }

    /// The configuration, if everything in it can be built.
    fn configuration(&self, arguments: &Arguments) -> Result<Config, Exit> {
        let config = program::configuration(arguments, &self.catalogue()?)?;
        let receiving = postern_ingress::problems(&config, &self.forms);
        let sending = postern_dispatcher::problems(&config, &self.engines);
        let receiving = receiving.iter().map(ToString::to_string);
        let problems: Vec<String> = receiving.chain(sending.iter().map(ToString::to_string)).collect();
        if problems.is_empty() { Ok(config) } else { Err(Exit::Config(problems.join("\n"))) }
    }

    fn check(&self, arguments: &Arguments) -> Result<(), Exit> {
        let config = self.configuration(arguments)?;
        Ok(greeting::print(&greeting::valid(arguments, &config))?)
    }

    async fn run(&self, arguments: &Arguments) -> Result<(), Exit> {
        let config = Arc::new(self.configuration(arguments)?);
        let runtime = Runtime::start("postern", VERSION, arguments, &config, ADMIN).await?;
        let (broker, metrics) = (runtime.broker.clone(), runtime.metrics.clone());
        let dispatcher = Dispatcher::new(&config, broker, &metrics, &self.engines)
            .map_err(|error| Exit::Config(error.to_string()))?;
        let accepting_broker = runtime.accepting_broker(&config).await?;
        let ingress = Ingress::bind(config.clone(), accepting_broker, metrics, &self.forms).map_err(
            |error| match error {
                StartError::Config(_) => Exit::Config(error.to_string()),
                StartError::Listen { .. } => Exit::Failed(error.into()),
            },
        )?;
        let addresses = greeting::Addresses {
            providers: ingress.address()?,
            applications: ingress.api_address()?,
            admin: runtime.admin,
        };
        greeting::print(&greeting::ready(VERSION, &addresses, &config))?;
        runtime.started();
        let (received, sent) = together(&runtime.shutdown, ingress, dispatcher).await;
        runtime.close().await;
        received?;
        Ok(sent?)
    }
}

/// Does `work` to its end, on threads of its own.
fn in_runtime(work: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    runtime.block_on(work)
}

/// Runs both halves until `shutdown`, or until one of them ends by itself; then the other drains. The
/// ingress drains first: consuming goes on until it has ended, but for no longer than the head start.
async fn together(
    shutdown: &Shutdown,
    ingress: Ingress,
    dispatcher: Dispatcher,
) -> (io::Result<bool>, Result<(), RunError>) {
    let (no_more_requests, receiving) = Shutdown::new();
    let (no_more_messages, sending) = Shutdown::new();
    let receive = async {
        let ended = ingress.run(receiving).await;
        no_more_messages.drain();
        ended
    };
    let send = async {
        let ended = dispatcher.run(sending).await;
        no_more_requests.drain();
        ended
    };
    let drain = async {
        shutdown.started().await;
        no_more_requests.drain();
        tokio::time::sleep(HEAD_START).await;
        no_more_messages.drain();
        std::future::pending().await
    };
    tokio::select! {
        ended = async { tokio::join!(receive, send) } => ended,
        never = drain => never,
    }
}
