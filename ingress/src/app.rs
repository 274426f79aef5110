//! The ingress as a whole: its listeners, its servers, its drain.

use crate::{
    forms::Forms,
    metrics::IngressMetrics,
    routes,
    state::{self, IngressState},
};
use actix_web::{
    App, HttpServer,
    dev::Server,
    web::{Data, ServiceConfig},
};
use futures_util::future::{join_all, select_all};
use postern_broker::Broker;
use postern_config::{Config, Problem, TlsFiles};
use postern_service::{
    Monitoring,
    program::Exit,
    shutdown::{Shutdown, within},
    tls::Tls,
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpSocket;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long a connection stays open behind an answer that its client was not waiting for, so that
/// it may read it. actix-http measures this by a clock that it looks at twice a second, if it has
/// the time: where the clock is later than this, the connection is never closed.
const LINGER: Duration = Duration::from_secs(3);

/// Why the ingress cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration says something that the ingress cannot do: every problem.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// It cannot listen.
    #[error("{key}: cannot listen on {address}: {error}")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What stands in its way.
        error: io::Error,
    },
    /// Another ingress of this process has declared its metrics.
    #[error("the ingress is started twice in one process: {0}")]
    Metrics(String),
}

impl StartError {
    /// How a program ends that cannot start: with status 2 if the configuration is wrong.
    pub fn into_exit(self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config(self.to_string()),
            Self::Listen { .. } | Self::Metrics(_) => Exit::Failed(self.into()),
        }
    }
}

/// A listener, and its TLS where it has one.
#[derive(Debug)]
struct Port {
    listener: TcpListener,
    tls: Option<Tls>,
}

/// What the ingress finds wrong with `config`, beyond what [`Config`] itself checks: defaults that
/// do not clean, unknown regions and forms, replies that are none, certificates that are none.
pub fn problems(config: &Config, forms: &Forms) -> Vec<Problem> {
    let tls = [("ingress.tls", &config.ingress.tls), ("api.tls", &config.api.tls)];
    let tls = tls.into_iter().filter_map(|(section, files)| load(section, files.as_ref()).err());
    state::problems(config, forms).into_iter().chain(tls).collect()
}

/// The ingress, listening; [`run`](Self::run) makes it answer.
#[derive(Debug)]
pub struct Ingress {
    state: Data<IngressState>,
    public: Port,
    /// `api.listen`.
    api: Option<Port>,
}

impl Ingress {
    /// Makes `config` ready and listens on `ingress.listen`, and on `api.listen` where it is set.
    /// Connections wait until [`run`](Self::run). Within a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn bind(
        config: Arc<Config>,
        broker: Arc<dyn Broker>,
        monitoring: Monitoring,
        forms: &Forms,
    ) -> Result<Self, StartError> {
        let Monitoring { metrics, health } = monitoring;
        let metrics =
            IngressMetrics::declare(&metrics).map_err(|error| StartError::Metrics(error.to_string()))?;
        let state =
            IngressState::new(config, broker, (metrics, health), forms).map_err(StartError::Config)?;
        let wrong = |problem| StartError::Config(vec![problem]);
        let (ingress, api) = (&state.config.ingress, &state.config.api);
        let public = Port {
            tls: load("ingress.tls", ingress.tls.as_ref()).map_err(wrong)?,
            listener: listen("ingress.listen", ingress.listen)?,
        };
        let api = match api.listen {
            None => None,
            Some(address) => Some(Port {
                tls: load("api.tls", api.tls.as_ref()).map_err(wrong)?,
                listener: listen("api.listen", address)?,
            }),
        };
        Ok(Self { state: Data::new(state), public, api })
    }

    /// Where providers reach it.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.public.listener.local_addr()
    }

    /// Where applications reach it.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn api_address(&self) -> io::Result<SocketAddr> {
        self.api.as_ref().unwrap_or(&self.public).listener.local_addr()
    }

    /// Serves until `shutdown` starts and every request in flight is answered, or the deadline of
    /// `shutdown.deadline` has passed: `true` when all were answered. Idle connections are closed.
    ///
    /// # Errors
    /// A server could not start or ended by itself.
    pub async fn run(self, shutdown: Shutdown) -> io::Result<bool> {
        let deadline = self.state.config.shutdown.deadline.0;
        tracing::info!(address = %self.address()?, tls = self.public.tls.is_some(), "ingress listens");
        let servers = match self.api {
            None => {
                let all =
                    [routes::providers as Routes, routes::compat, routes::applications, routes::everyone];
                vec![server(&self.state, self.public, all.to_vec())?]
            }
            Some(api) => {
                tracing::info!(address = %api.listener.local_addr()?, tls = api.tls.is_some(), "API listens");
                let providers = vec![routes::providers as Routes, routes::compat, routes::everyone];
                let applications = vec![routes::applications as Routes, routes::everyone];
                vec![server(&self.state, self.public, providers)?, server(&self.state, api, applications)?]
            }
        };
        let handles: Vec<_> = servers.iter().map(Server::handle).collect();
        let mut running: Vec<_> = servers.into_iter().map(tokio::spawn).collect();
        tokio::select! {
            (ended, ..) = select_all(&mut running) => {
                ended.map_err(io::Error::other)??;
                return Err(io::Error::other("a server ended by itself"));
            }
            () = shutdown.started() => {}
        }
        tracing::info!("no more requests are accepted");
        let answered = async {
            join_all(handles.iter().map(|handle| handle.stop(true))).await;
        };
        let finished = within(deadline, "requests in flight", answered).await;
        // Dropping a server that still drains closes its connections.
        running.iter().for_each(tokio::task::JoinHandle::abort);
        join_all(running).await;
        Ok(finished)
    }
}

type Routes = fn(&IngressState, &mut ServiceConfig);

/// The files of its certificate are followed as long as the runtime runs.
fn server(state: &Data<IngressState>, port: Port, routes: Vec<Routes>) -> io::Result<Server> {
    let config = Arc::clone(&state.config);
    let state = state.clone();
    let server = HttpServer::new(move || {
        let app = App::new().app_data(state.clone());
        routes.iter().fold(app, |app, routes| app.configure(|config| routes(&state, config)))
    });
    let workers = match config.ingress.workers {
        0 => std::thread::available_parallelism()?.get(),
        workers => workers,
    };
    // Its own deadline is in whole seconds, and longer than ours: ours counts.
    let deadline = config.shutdown.deadline.0.as_secs() + 2;
    let server = server
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(deadline)
        .client_request_timeout(config.ingress.read_timeout.0)
        .client_disconnect_timeout(LINGER)
        .tls_handshake_timeout(config.ingress.read_timeout.0)
        .tcp_nodelay(true);
    let server = match port.tls {
        None => server.listen(port.listener)?,
        Some(tls) => {
            let server = server.listen_rustls_0_23(port.listener, tls.server().map_err(io::Error::other)?)?;
            tokio::spawn(tls.follow());
            server
        }
    };
    Ok(server.run())
}

fn load(section: &'static str, files: Option<&TlsFiles>) -> Result<Option<Tls>, Problem> {
    let loaded = files.map(|files| Tls::load(section, files)).transpose();
    loaded.map_err(|wrong| Problem { key: format!("{section}.{}", wrong.key), line: None, what: wrong.what })
}

fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    bind().map_err(|error| StartError::Listen { key, address, error })
}
