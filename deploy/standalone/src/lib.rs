//! The whole gateway in one process, and where custom connectors and forms are added.
//!
//! ```no_run
//! use postern::Gateway;
//! use postern_dispatcher::connectors::ConnectorRegistry;
//! use postern_ingress::forms::Forms;
//!
//! fn main() -> std::process::ExitCode {
//!     Gateway::new().with_connectors(ConnectorRegistry::builtin()).with_forms(Forms::builtin()).main()
//! }
//! ```

mod admin_client;
mod admin_target;
mod check;
mod confirm;
mod dead;
mod given_by;
mod greeting;
mod holder;
mod key;
mod log;
mod operator;
mod provider;
mod reload;
mod reloadable;
mod store;

use anyhow::Context;
use clap::{Parser, Subcommand};
use postern_config::{Config, Loader, NeededSecrets, Problem, ProviderRegistry};
use postern_dispatcher::{
    Dispatcher, RunError, Validated,
    connectors::ConnectorRegistry,
    program::{DispatcherAction, DispatcherArguments},
};
use postern_ingress::{Ingress, StartError, forms::Forms, program::IngressAction};
use postern_service::{
    health_check::{self, HealthArguments},
    program::{self, Arguments, Exit, Program, Runtime},
    shutdown::Shutdown,
};
use reloadable::ReloadableGateway;
use std::{future::Future, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

const PROGRAM: Program = Program {
    name: "postern",
    version: env!("CARGO_PKG_VERSION"),
    admin: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081),
    spare_admin_ports: 0,
};
/// The secrets of commands that only reach the broker, or the admin port of a running gateway.
const OPERATOR_SECRETS: NeededSecrets = NeededSecrets::Of(&["broker.url", "admin.token"]);
/// The secrets of a command that only needs to know which folder the store is in.
const STORE_SECRETS: NeededSecrets = NeededSecrets::Of(&["broker.url"]);
/// The secrets of commands that only reach the message log.
const LOG_SECRETS: NeededSecrets = NeededSecrets::Of(&["broker.url", "log.url", "log.hash_key"]);
/// How long the dispatcher goes on consuming, at most, while the draining ingress finishes its requests.
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
    /// Receive and send in one process (the default without a command)
    Run,
    /// Validate the configuration without starting anything: exit 0, or exit 2 with every mistake
    Check(check::CheckArguments),
    /// Create an API key, and print it with the lines for the configuration
    Key(key::KeyArguments),
    /// Receive only: accept messages over HTTP and publish them to RabbitMQ, like postern-ingress
    #[command(version)]
    Ingress {
        #[command(subcommand)]
        action: Option<IngressAction>,
    },
    /// Send only: consume messages from RabbitMQ and send them, like postern-dispatcher
    #[command(version)]
    Dispatcher {
        #[command(flatten)]
        choice: DispatcherArguments,
        #[command(subcommand)]
        action: Option<DispatcherAction>,
    },
    /// Ask a running gateway whether it is ready: exit 0, or exit 1 with one line that says why not
    Health(HealthArguments),
    /// List the messages that could not be sent (dead letters), redrive them, or drop them
    #[command(subcommand)]
    Dead(dead::DeadAction),
    /// Stop sending through a backend, in all processes and across restarts, until it is resumed
    ///
    /// The backend's messages wait in their queue. Requests in flight finish.
    Pause(operator::BackendArguments),
    /// Resume sending through a paused backend
    Resume(operator::BackendArguments),
    /// Cancel messages that wait for a backend: they are not sent, and are reported as cancelled
    ///
    /// Each recipient is reported as failed, or unknown if an attempt was not answered, with the code
    /// cancelled. The cancellation applies to all processes and across restarts, and includes messages that
    /// wait for a retry. Messages accepted after the command are not affected. To stop a campaign: pause the
    /// backend, cancel, resume.
    Cancel(operator::CancelArguments),
    /// List the queues, move the messages of one backend to another, or purge a queue
    #[command(subcommand)]
    Queue(operator::QueueCommand),
    /// Reload the configuration of a running gateway, and apply what changed
    ///
    /// If the configuration has mistakes, nothing is changed and every mistake is printed. If a change needs
    /// a restart, nothing is changed and the keys are printed.
    Reload(reload::ReloadArguments),
    /// Check the embedded store or the spool, back it up, or show its sizes, even while the gateway runs
    #[command(subcommand)]
    Store(store::StoreAction),
    /// Show providers, or add one
    #[command(subcommand)]
    Provider(provider::ProviderAction),
    /// Query the message log: what happened to messages and what people wrote. Export it, or erase a person
    /// from it
    #[command(subcommand)]
    Log(log::LogAction),
}

/// A gateway: its connectors and its forms.
#[derive(Debug)]
pub struct Gateway {
    connectors: ConnectorRegistry,
    forms: Forms,
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}

impl Gateway {
    /// A gateway with the built-in connectors and forms.
    pub fn new() -> Self {
        Self { connectors: ConnectorRegistry::builtin(), forms: Forms::builtin() }
    }

    /// Replaces the connectors. A connector that is not built in is a backend type of the same name.
    #[must_use]
    pub fn with_connectors(self, connectors: ConnectorRegistry) -> Self {
        Self { connectors, ..self }
    }

    /// Replaces the forms.
    #[must_use]
    pub fn with_forms(self, forms: Forms) -> Self {
        Self { forms, ..self }
    }

    /// Runs the command of the command line until it is done or the process is told to stop.
    pub fn main(self) -> ExitCode {
        let command = Command::parse();
        let arguments = &command.arguments;
        let outcome = match command.action.unwrap_or(Action::Run) {
            Action::Check(wanted) => wanted.run(&self, arguments),
            Action::Key(wanted) => {
                key::new(&wanted).and_then(|text| Ok(greeting::print(&text)?)).map_err(Exit::from)
            }
            Action::Run => in_runtime(self.run(arguments)),
            Action::Ingress { action } => self.ingress(action.as_ref(), arguments),
            Action::Dispatcher { choice, action } => self.dispatcher(choice, action.as_ref(), arguments),
            Action::Health(wanted) => self
                .providers()
                .and_then(|known| in_runtime(health_check::check(PROGRAM, arguments, &wanted, &known))),
            Action::Pause(arguments) => {
                self.operate(operator::OperatorCommand::Pause(arguments), &command.arguments)
            }
            Action::Resume(arguments) => {
                self.operate(operator::OperatorCommand::Resume(arguments), &command.arguments)
            }
            Action::Cancel(arguments) => {
                self.operate(operator::OperatorCommand::Cancel(arguments), &command.arguments)
            }
            Action::Queue(action) => {
                self.operate(operator::OperatorCommand::Queue(action), &command.arguments)
            }
            Action::Reload(wanted) => self
                .configuration_and_admin_url(arguments)
                .and_then(|(_, admin_url)| in_runtime(reload::run(wanted, &admin_url))),
            Action::Store(action) => {
                let config = self.configuration_of(arguments, STORE_SECRETS);
                config.and_then(|config| store::run(&action, &config))
            }
            Action::Provider(action) => {
                self.providers().and_then(|known| in_runtime(provider::run(&action, known, &self.forms)))
            }
            Action::Log(action) => self
                .configuration_of(arguments, LOG_SECRETS)
                .and_then(|config| in_runtime(log::run(action, &config))),
            Action::Dead(action) => self
                .configuration_and_admin_url(arguments)
                .and_then(|(config, admin_url)| in_runtime(dead::run(action, &config, &admin_url))),
        };
        program::report(outcome)
    }

    /// The backend types that the configuration may name.
    fn providers(&self) -> Result<ProviderRegistry, Exit> {
        let mut providers = ProviderRegistry::builtin();
        self.connectors.add_to(&mut providers)?;
        self.forms.add_to(&mut providers)?;
        Ok(providers)
    }

    /// The configuration with what was built from it, if everything in it can be built.
    fn configuration(&self, arguments: &Arguments) -> Result<Validated, Exit> {
        let config = Arc::new(program::configuration(arguments, &self.providers()?)?);
        let mut problems = postern_ingress::problems(&config, &self.forms);
        match postern_dispatcher::validate(config, &self.connectors) {
            Ok(validated) if problems.is_empty() => Ok(validated),
            sending => {
                problems.extend(sending.err().unwrap_or_default());
                Err(Exit::problems(arguments, problems))
            }
        }
    }

    /// Runs `postern ingress`, which is the same as `postern-ingress`.
    fn ingress(&self, action: Option<&IngressAction>, arguments: &Arguments) -> Result<(), Exit> {
        let known = self.providers()?;
        match action {
            Some(IngressAction::Health(wanted)) => {
                in_runtime(postern_ingress::program::health(arguments, wanted, &known))
            }
            None => in_runtime(postern_ingress::program::run(arguments, &known, &self.forms)),
        }
    }

    /// Runs `postern dispatcher`, which is the same as `postern-dispatcher`.
    fn dispatcher(
        &self,
        choice: DispatcherArguments,
        action: Option<&DispatcherAction>,
        arguments: &Arguments,
    ) -> Result<(), Exit> {
        let known = self.providers()?;
        match action {
            Some(DispatcherAction::Health(wanted)) => {
                in_runtime(postern_dispatcher::program::health(arguments, wanted, &known))
            }
            None => in_runtime(postern_dispatcher::program::run(arguments, choice, &known, &self.connectors)),
        }
    }

    fn operate(&self, command: operator::OperatorCommand, arguments: &Arguments) -> Result<(), Exit> {
        let (config, admin_url) = self.configuration_and_admin_url(arguments)?;
        in_runtime(operator::run(command, &config, &admin_url))
    }

    /// The configuration for a command that reaches the broker or a running gateway, and the URL of the gateway's
    /// admin port.
    fn configuration_and_admin_url(&self, arguments: &Arguments) -> Result<(Config, String), Exit> {
        let config = self.configuration_of(arguments, OPERATOR_SECRETS)?;
        let admin_url = arguments.admin_url(&config, PROGRAM.admin);
        Ok((config, admin_url))
    }

    /// The configuration for a command that builds nothing from it and needs only these `secrets`.
    fn configuration_of(&self, arguments: &Arguments, secrets: NeededSecrets) -> Result<Config, Exit> {
        let providers = self.providers()?;
        program::configuration_by(Loader::new(&providers).needing(secrets), arguments)
    }

    /// One problem for each part of `config` that cannot be built.
    fn problems(&self, config: &Arc<Config>) -> Vec<Problem> {
        let sending = postern_dispatcher::validate(Arc::clone(config), &self.connectors).err();
        let receiving = postern_ingress::problems(config, &self.forms);
        receiving.into_iter().chain(sending.unwrap_or_default()).collect()
    }

    async fn run(&self, arguments: &Arguments) -> Result<(), Exit> {
        let validated = self.configuration(arguments)?;
        let config = validated.config().clone();
        let (runtime, reloads) = Runtime::start(PROGRAM, arguments, &config).await?;
        let monitoring = runtime.monitoring.clone();
        let dispatcher = Dispatcher::new(validated, runtime.broker.clone(), &monitoring)?;
        let accepting_broker = runtime.accepting_broker(&config).await?;
        let ingress = Ingress::bind(config.clone(), accepting_broker, monitoring, &self.forms)
            .map_err(StartError::into_exit)?;
        let addresses = greeting::Addresses {
            providers: ingress.address()?,
            applications: ingress.api_address()?,
            admin: runtime.admin,
        };
        greeting::print(&greeting::ready(PROGRAM.version, &addresses, &config))?;
        let reload = ReloadableGateway {
            connectors: &self.connectors,
            forms: &self.forms,
            arguments,
            providers: self.providers()?,
            ingress: ingress.reload(),
            dispatcher: dispatcher.reload(),
        };
        runtime.started();
        let (received, sent) = tokio::select! {
            ended = together(&runtime.shutdown, ingress, dispatcher) => ended,
            never = reloads.serve(config, &reload) => match never {},
        };
        let ended = received.map_err(Exit::from).and_then(|received| Ok(sent? && received));
        runtime.close(ended).await
    }
}

/// Runs `work` to its end, in a new tokio runtime.
fn in_runtime(work: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    runtime.block_on(work)
}

/// Runs both halves until `shutdown`, or until one of them ends by itself; then the other drains. The
/// ingress drains first: the dispatcher goes on consuming until the ingress has ended, but at most for
/// [`HEAD_START`].
async fn together(
    shutdown: &Shutdown,
    ingress: Ingress,
    dispatcher: Dispatcher,
) -> (io::Result<bool>, Result<bool, RunError>) {
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
