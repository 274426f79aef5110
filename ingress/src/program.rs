//! The program `postern-ingress`, which is also `postern ingress`.

use crate::{
    app::{Ingress, StartError, problems},
    forms::Forms,
    reload::{IngressReload, PreparedIngress},
};
use clap::Subcommand;
use postern_config::{Config, Problem, ProviderRegistry};
use postern_service::{
    health_check::{self, HealthArguments},
    program::{self, Arguments, Exit, Program, Runtime},
    reload::Reload,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

const PROGRAM: Program = Program {
    name: "postern-ingress",
    version: env!("CARGO_PKG_VERSION"),
    admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081),
    spare_admin_ports: 0,
};

/// What the ingress does instead of receiving.
#[derive(Debug, Clone, Subcommand)]
pub enum IngressAction {
    /// Ask a running ingress whether it is ready: exit 0, or exit 1 with one line that says why not
    Health(HealthArguments),
}

/// Asks a running ingress whether it is ready. `providers` has the backend types that the configuration may
/// name.
///
/// # Errors
/// [`Exit::Failed`] if it is not ready.
pub async fn health(
    arguments: &Arguments,
    wanted: &HealthArguments,
    providers: &ProviderRegistry,
) -> Result<(), Exit> {
    health_check::check(PROGRAM, arguments, wanted, providers).await
}

/// Receives messages and publishes them to the shared broker until a signal ends it, then drains. `providers`
/// has the backend types that the configuration may name, `forms` the forms.
///
/// # Errors
/// [`Exit::Config`] with every problem of the configuration, [`Exit::Failed`] for anything else.
pub async fn run(arguments: &Arguments, providers: &ProviderRegistry, forms: &Forms) -> Result<(), Exit> {
    let config = Arc::new(program::configuration(arguments, providers)?);
    program::needs_shared_broker(&config, PROGRAM.name)?;
    let problems = problems(&config, forms);
    if !problems.is_empty() {
        return Err(Exit::problems(arguments, problems));
    }
    let (runtime, reloads) = Runtime::start(PROGRAM, arguments, &config).await?;
    let accepting_broker = runtime.accepting_broker(&config).await?;
    let monitoring = runtime.monitoring.clone();
    let ingress =
        Ingress::bind(config.clone(), accepting_broker, monitoring, forms).map_err(StartError::into_exit)?;
    let reload = ReloadableIngress { arguments, providers, forms, ingress: ingress.reload() };
    runtime.started();
    let ended = tokio::select! {
        ended = ingress.run(runtime.shutdown.clone()) => ended,
        never = reloads.serve(config, &reload) => match never {},
    };
    runtime.close(Ok(ended?)).await
}

/// The running ingress, which applies a changed configuration.
struct ReloadableIngress<'p> {
    arguments: &'p Arguments,
    providers: &'p ProviderRegistry,
    forms: &'p Forms,
    ingress: IngressReload,
}

impl Reload for ReloadableIngress<'_> {
    type Read = (Arc<Config>, PreparedIngress);

    fn read(&self) -> Result<Self::Read, Vec<Problem>> {
        let config = Arc::new(program::load(self.arguments, self.providers)?);
        Ok((Arc::clone(&config), self.ingress.prepare(config, self.forms)?))
    }

    fn config((config, _): &Self::Read) -> &Arc<Config> {
        config
    }

    async fn apply(&self, (_, prepared): Self::Read) -> Result<(), String> {
        self.ingress.apply(prepared);
        Ok(())
    }
}
