//! What every program of Postern does around its own work, from the arguments to the exit status.

use crate::{
    Configured, Monitoring,
    admin::{self, AdminPort, Readiness},
    broker::{self, OpenBroker},
    control::{Operator, Unconfigured},
    current::Current,
    dead::DeadLetters,
    depths::QueueDepths,
    health_log, message_log,
    metrics::Metrics,
    reload::{self, ReloadParts, Reloads},
    shutdown::Shutdown,
    systemd,
    telemetry::{self, LogGuard, TelemetryError},
    tls::Tls,
    traces::{TracedBroker, Traces, TracesError},
};
use clap::Args;
use postern_broker::{Broker, BrokerError, BrokerStatus};
use postern_config::{Config, InvalidConfig, Loader, Problem, ProviderRegistry, source_name};
use postern_store::spool::{self, Spool};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

/// How long telling the other processes that this one no longer serves any backend may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The arguments that every program takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// The configuration file (TOML); the built-in configuration if absent
    #[arg(long, value_name = "FILE", env = "POSTERN_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// The address of the admin port (/metrics, /livez, /readyz), instead of admin.listen
    #[arg(long, value_name = "ADDRESS", global = true, value_parser = postern_config::listen_address)]
    pub admin_listen: Option<SocketAddr>,
}

impl Arguments {
    /// The URL of the admin port of a program with these arguments and with `config`, as the same machine reaches
    /// it. `default` is the port's address if neither names one.
    pub fn admin_url(&self, config: &Config, default: SocketAddr) -> String {
        let address = self.admin_listen.or(config.admin.listen).unwrap_or(default);
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
    }
}

/// Why a program ends without a clean drain.
#[derive(Debug)]
pub enum Exit {
    /// The configuration is wrong: status 2. The text has one line for each problem.
    Config(String),
    /// Anything else: status 1.
    Failed(anyhow::Error),
}

impl Exit {
    /// The exit because of `problems` in the configuration that `arguments` name.
    pub fn problems(arguments: &Arguments, problems: Vec<Problem>) -> Self {
        let source_name = source_name(arguments.config.as_deref());
        Self::Config(InvalidConfig { source_name, problems }.to_string())
    }
}

impl<E: Into<anyhow::Error>> From<E> for Exit {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Turns the outcome of a program's work into its exit status, and writes the reason to stderr.
pub fn report(outcome: Result<(), Exit>) -> ExitCode {
    let (status, why) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Exit::Config(problems)) => (2, problems),
        Err(Exit::Failed(error)) => (1, format!("error: {error:#}")),
    };
    // If stderr is closed, there is nobody to tell.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{why}\n").as_bytes());
    ExitCode::from(status)
}

/// Reads the configuration, which must have all of its secrets.
///
/// # Errors
/// [`Exit::Config`] with every problem.
pub fn configuration(arguments: &Arguments, providers: &ProviderRegistry) -> Result<Config, Exit> {
    configuration_by(Loader::new(providers), arguments)
}

/// Reads the configuration again, with all of its secrets.
///
/// # Errors
/// Every problem.
pub fn load(arguments: &Arguments, providers: &ProviderRegistry) -> Result<Config, Vec<Problem>> {
    Loader::new(providers).load(arguments.config.as_deref()).map_err(|invalid| invalid.problems)
}

/// Reads the configuration with `loader`.
///
/// # Errors
/// [`Exit::Config`] with every problem.
pub fn configuration_by(loader: Loader<'_>, arguments: &Arguments) -> Result<Config, Exit> {
    loader.load(arguments.config.as_deref()).map_err(|invalid| Exit::Config(invalid.to_string()))
}

/// Refuses the embedded broker for one half of the gateway: two processes cannot share it.
///
/// # Errors
/// [`Exit::Config`]
pub fn needs_shared_broker(config: &Config, program: &str) -> Result<(), Exit> {
    if config.broker.is_embedded() {
        return Err(Exit::Config(format!(
            "broker.url: {program} is one half of the gateway and shares its broker with the other half, \
             which is not possible with the embedded broker: set broker.url to amqp://…, or run both halves \
             in one process with `postern`"
        )));
    }
    Ok(())
}

/// A program, and the default address of its admin port.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, which the broker and the metrics show.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The address of its admin port if neither `--admin-listen` nor `admin.listen` names one.
    pub admin: SocketAddr,
    /// How many ports above that are tried then, if another program uses it.
    pub spare_admin_ports: u16,
}

/// What a program runs on: its broker, metrics, admin port and shutdown.
#[derive(Debug)]
pub struct Runtime {
    /// The broker; RabbitMQ may still be connecting.
    pub broker: Arc<dyn Broker>,
    /// What the admin port shows.
    pub monitoring: Monitoring,
    /// Started by SIGTERM and SIGINT.
    pub shutdown: Shutdown,
    /// The address of the admin port.
    pub admin: SocketAddr,
    started: Arc<AtomicBool>,
    spool: Arc<OnceLock<Arc<Spool>>>,
    /// Tells other processes which backends do not send. `None`: this process does not share its broker.
    telling: Option<JoinHandle<()>>,
    /// Writes the last lines when it is dropped.
    _log: LogGuard,
}

impl Runtime {
    /// Starts the log, signals, the broker and the admin port of `program`. The caller must
    /// [serve](Reloads::serve) the reloads once the program has begun its work.
    ///
    /// # Errors
    /// [`Exit::Config`] if another configuration would help, else [`Exit::Failed`].
    pub async fn start(
        program: Program,
        arguments: &Arguments,
        config: &Config,
    ) -> Result<(Self, Reloads), Exit> {
        let Program { name, version, admin, spare_admin_ports } = program;
        let mut monitoring = Monitoring::new(Metrics::new(name, version)?);
        monitoring.heartbeats = systemd::heartbeats();
        let log = telemetry::init(&config.log, &monitoring.metrics).map_err(|error| match error {
            TelemetryError::Level => Exit::Config(error.to_string()),
            other => Exit::Failed(other.into()),
        })?;
        telemetry::log_panics();
        reload::log_warnings(config);
        let broker =
            if config.broker.is_embedded() { TracedBroker::Embedded } else { TracedBroker::RabbitMq };
        let traces = Traces::start((name, version), broker, &monitoring.metrics);
        monitoring.traces = traces.map_err(|error| match error {
            TracesError::Variable(what) => Exit::Config(what),
            other @ TracesError::Metric(_) => Exit::Failed(other.into()),
        })?;
        raise_open_files();
        let hang_up = Arc::new(Notify::new());
        let shutdown = Shutdown::on_signals(log.buffer().clone(), hang_up.clone())?;
        let (key, address, spare) = match (arguments.admin_listen, config.admin.listen) {
            (Some(address), _) => ("--admin-listen", address, 0),
            (None, Some(address)) => ("admin.listen", address, 0),
            (None, None) => ("admin.listen", admin, spare_admin_ports),
        };
        if let Some(why) = config.admin.exposes(address) {
            return Err(Exit::Config(format!("{key}: {why}")));
        }
        let tls = config.admin.tls.as_ref().map(|files| Tls::load("admin.tls", files)).transpose();
        let tls = tls.map_err(|problem| Exit::Config(problem.of("admin.tls")))?;
        let listener = match spare {
            0 => admin::bind(key, address),
            spare => admin::bind_first(address, spare),
        };
        let listener = listener.map_err(anyhow::Error::msg)?;
        let configured = Current::new(Configured::of(config));
        let topology = configured.get().topology.clone();
        let log_route = topology.log;
        let options = postern_broker::BrokerOptions {
            topology,
            publish_timeout: config.broker.publish_timeout.0,
            client_name: format!("{name} {version}"),
            min_free_disk: config.broker.min_free_disk,
            max_deliveries: config.dispatcher.max_deliveries,
        };
        let message_log = config.message_log();
        let opened = broker::connect(config.broker.url.expose(), options, message_log.as_ref()).await;
        let OpenBroker { broker, embedded } = opened.map_err(|error| match error {
            BrokerError::Url(_) => Exit::Config(error.to_string()),
            other => Exit::Failed(other.into()),
        })?;
        monitoring.log = message_log::open(config, embedded.as_deref())
            .await
            .map_err(|error| Exit::Failed(anyhow::anyhow!("[log]: {error}")))?;
        if let Some(log) = &monitoring.log {
            tokio::spawn(log.clone().watch());
        }
        let admin = listener.local_addr()?;
        let started = Arc::new(AtomicBool::new(false));
        let spool = Arc::new(OnceLock::new());
        let unconfigured = Unconfigured::default();
        let readiness = Readiness {
            started: started.clone(),
            broker: Arc::clone(&broker),
            spool: Arc::clone(&spool),
            shutdown: shutdown.clone(),
            health: monitoring.health.clone(),
            publish: monitoring.metrics.publish().clone(),
            control: monitoring.control.clone(),
            configured: configured.clone(),
            unconfigured: unconfigured.clone(),
            log: monitoring.log.clone(),
            recording: embedded.filter(|broker| broker.message_log().is_some()),
        };
        tokio::spawn(monitoring.control.follow(broker.clone()));
        let telling = (!config.broker.is_embedded())
            .then(|| health_log::exchange(monitoring.health.clone(), broker.clone(), shutdown.clone()));
        let (metrics, waiting) = (&monitoring.metrics, monitoring.waiting.clone());
        tokio::spawn(QueueDepths::declare(metrics, broker.clone(), configured.clone(), waiting)?.watch());
        let operator =
            Arc::new(Operator::new(broker.clone(), monitoring.control.clone(), configured.clone()));
        tokio::spawn(unconfigured.watch(operator.clone()));
        let letters = DeadLetters::new(broker.clone(), log_route);
        let parts = ReloadParts {
            hang_up,
            started: started.clone(),
            shutdown: shutdown.clone(),
            broker: broker.clone(),
            spool: spool.clone(),
            configured,
        };
        let (reloads, reload) = Reloads::new(parts, &monitoring.metrics)?;
        systemd::follow(readiness.clone(), monitoring.heartbeats.clone(), config.shutdown.deadline.0);
        let port = AdminPort {
            metrics: monitoring.metrics.clone(),
            heartbeats: monitoring.heartbeats.clone(),
            readiness,
            letters,
            operator,
            reload,
            token: config.admin.token,
            tls,
        };
        tokio::spawn(admin::serve(listener, port)?);
        tracing::info!(program = name, version, %admin, "starting");
        Ok((Self { broker, monitoring, shutdown, admin, started, spool, telling, _log: log }, reloads))
    }

    /// The broker for the parts that accept messages from outside: with the configured spool in front of
    /// it, which this opens. The embedded broker needs no spool: if it cannot write, a spool could not
    /// write either.
    ///
    /// # Errors
    /// [`Exit::Failed`]: the folder cannot be used.
    pub async fn accepting_broker(&self, config: &Config) -> Result<Arc<dyn Broker>, Exit> {
        let broker = Arc::clone(&self.broker);
        let section = &config.ingress.spool;
        if config.broker.is_embedded() {
            if section.is_chosen() {
                tracing::warn!("ingress.spool is not used: the embedded broker keeps its messages itself");
            }
            return Ok(broker);
        }
        let Some(dir) = section.dir() else { return Ok(broker) };
        let options = spool::SpoolOptions {
            dir: dir.into(),
            limits: spool::SpoolLimits { messages: section.max_messages, bytes: section.max_bytes },
            backends: config.backends.keys().cloned().collect(),
            publish_timeout: config.broker.publish_timeout.0,
            min_free_disk: config.broker.min_free_disk,
        };
        let used_before = postern_store::is_used(&options.dir);
        let mut status = broker.status();
        match Spool::open(options, broker.clone()).await {
            Ok(spool) => {
                // A message that arrives before the first connection succeeds or fails would be spooled,
                // and under a heavy load all messages after it, too. Wait as long as a publish would.
                let known = status.wait_for(|status| !matches!(status, BrokerStatus::Starting(_)));
                let _ = timeout(config.broker.publish_timeout.0, known).await;
                let spool = Arc::new(spool);
                // Nothing is in it yet: this is called once.
                let _ = self.spool.set(Arc::clone(&spool));
                tracing::info!(dir, "spool ready");
                Ok(spool)
            }
            Err(BrokerError::Locked { path }) => Err(Exit::Failed(anyhow::anyhow!(
                "ingress.spool: {path} is in use by another process; stop it, or set ingress.spool to another folder"
            ))),
            // Nobody asked for the spool, and nothing is in it.
            Err(error) if !section.is_chosen() && !used_before => {
                tracing::warn!(
                    %error,
                    "no spool: while the broker accepts no messages, requests are answered with 503; set \
                     ingress.spool to a writable folder, or to false"
                );
                Ok(broker)
            }
            Err(error) => Err(Exit::Failed(anyhow::anyhow!("ingress.spool: {error}"))),
        }
    }

    /// Notes that every part has begun its work: from now on, `/readyz` depends on the broker and the drain.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
        tracing::info!("started");
    }

    /// Closes everything, as the last step of a program that has `ended`, with whether everything in progress was
    /// finished before `shutdown.deadline`.
    ///
    /// # Errors
    /// The error with which it ended; or something was not finished, and may come, or be sent, a second time.
    pub async fn close(self, ended: Result<bool, Exit>) -> Result<(), Exit> {
        if let Some(spool) = self.spool.get() {
            spool.close().await;
        }
        if let Some(telling) = self.telling {
            let _ = timeout(LAST_WORD, telling).await;
        }
        self.broker.close().await;
        if let Some(open) = &self.monitoring.log {
            open.log.close().await;
        }
        self.monitoring.traces.close().await;
        if !ended? {
            return Err(Exit::Failed(anyhow::anyhow!(
                "shutdown.deadline has cut off what was in progress: requests that got no answer are repeated by \
                 their senders, and requeued messages may be sent again. Raise shutdown.deadline, or look for `not \
                 finished before the drain deadline` in the log, which says what hangs"
            )));
        }
        tracing::info!("drained");
        Ok(())
    }
}
/// Raises the limit of open files to what the system allows this process: each connection is one, and the
/// limit is often 1,024 at first, for the sake of programs that use `select`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, limit = limit.current, "the limit of open files cannot be raised; fewer connections can be open at once");
    }
}
