//! The ingress as a whole: its listeners, its servers, its drain.

use crate::{
    certificates,
    forms::Forms,
    lasting::Lasting,
    metrics::IngressMetrics,
    reload::IngressReload,
    routes,
    state::{self, IngressState},
};
use actix_web::{
    App,
    dev::Server,
    web::{Data, ServiceConfig},
};
use futures_util::future::{join_all, select_all};
use postern_broker::Broker;
use postern_config::{Config, Problem};
use postern_service::{
    Monitoring,
    current::Current,
    heartbeat::Heartbeats,
    listener::{self, ConnectionLimits, Listener, Share},
    metrics::Metrics,
    program::Exit,
    shutdown::{Shutdown, within},
    tls::Tls,
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

/// The reason why the ingress cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong. Holds every problem.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// The ingress cannot listen on an address.
    #[error("{}", listener::cannot_listen(.key, *.address, .error, ""))]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        error: io::Error,
    },
    /// Another ingress of this process has declared its metrics.
    #[error("the ingress is started twice in one process: {0}")]
    Metrics(String),
}

impl StartError {
    /// The exit of a program whose ingress cannot start: status 2 if the configuration is wrong.
    pub fn into_exit(self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config(self.to_string()),
            Self::Listen { .. } | Self::Metrics(_) => Exit::Failed(self.into()),
        }
    }
}

/// A port that is listened on, its TLS if it has any, and how many connections it may have.
#[derive(Debug)]
struct Port {
    name: &'static str,
    listener: TcpListener,
    tls: Option<Tls>,
    connections: ConnectionLimits,
}

/// The problems that the ingress finds in `config` beyond those that [`Config`] itself finds: invalid
/// defaults, unknown regions and forms, invalid replies and certificates.
pub fn problems(config: &Config, forms: &Forms) -> Vec<Problem> {
    state::problems(config, forms).into_iter().chain(certificates::problems(config)).collect()
}

/// The ingress, listening; [`run`](Self::run) makes it answer.
#[derive(Debug)]
pub struct Ingress {
    lasting: Lasting,
    state: Current<IngressState>,
    metrics: Metrics,
    heartbeats: Heartbeats,
    public: Port,
    /// `api.listen`.
    api: Option<Port>,
}

impl Ingress {
    /// Prepares `config` and listens on `ingress.listen`, and on `api.listen` if it is set. Connections wait
    /// until [`run`](Self::run) is called. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn bind(
        config: Arc<Config>,
        broker: Arc<dyn Broker>,
        monitoring: Monitoring,
        forms: &Forms,
    ) -> Result<Self, StartError> {
        let (metrics, heartbeats) = (monitoring.metrics.clone(), monitoring.heartbeats.clone());
        let own =
            IngressMetrics::declare(&metrics).map_err(|error| StartError::Metrics(error.to_string()))?;
        let lasting = Lasting::new(&config, broker, own, monitoring);
        let state = IngressState::new(config, &lasting, None, forms).map_err(StartError::Config)?;
        state.announce();
        let wrong = |problem| StartError::Config(vec![problem]);
        let (ingress, api) = (&state.config.ingress, &state.config.api);
        let limits = |max: Option<usize>, share| ConnectionLimits {
            max,
            share,
            per_address: Some(ingress.max_connections_per_address),
            exempt: ingress.trusted_proxies.clone(),
        };
        // Only a process with the same shared broker may listen on the same address.
        let bind = if state.config.broker.is_embedded() { listener::bind } else { listener::bind_shared };
        let listen = |key, address| bind(address).map_err(|error| StartError::Listen { key, address, error });
        let share = if api.listen.is_some() { Share::Most } else { Share::Whole };
        let public = Port {
            name: "ingress",
            tls: certificates::load("ingress.tls", ingress.tls.as_ref()).map_err(wrong)?,
            listener: listen("ingress.listen", ingress.listen)?,
            connections: limits(ingress.max_connections, share),
        };
        let api = match api.listen {
            None => None,
            Some(address) => Some(Port {
                name: "api",
                tls: certificates::load("api.tls", api.tls.as_ref()).map_err(wrong)?,
                listener: listen("api.listen", address)?,
                connections: limits(api.max_connections, Share::Quarter),
            }),
        };
        Ok(Self { metrics, heartbeats, public, api, lasting, state: Current::new(state) })
    }

    /// The handle with which another configuration is applied to the ingress while it runs.
    pub fn reload(&self) -> IngressReload {
        IngressReload { lasting: self.lasting.clone(), state: self.state.clone() }
    }

    /// The address at which providers reach the ingress.
    ///
    /// # Errors
    /// The operating system cannot tell the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.public.listener.local_addr()
    }

    /// The address at which applications reach the ingress.
    ///
    /// # Errors
    /// The operating system cannot tell the address.
    pub fn api_address(&self) -> io::Result<SocketAddr> {
        self.api.as_ref().unwrap_or(&self.public).listener.local_addr()
    }

    /// Serves until `shutdown` starts and every request in flight is answered, or until `shutdown.deadline`
    /// has passed. Returns `true` if all were answered. Idle connections are closed.
    ///
    /// # Errors
    /// A server could not start or ended by itself.
    pub async fn run(self, shutdown: Shutdown) -> io::Result<bool> {
        let deadline = self.state.get().config.shutdown.deadline.0;
        // This cannot fail: an ingress runs only once.
        let _ = self.lasting.shutdown.set(shutdown.clone());
        tracing::info!(address = %self.address()?, tls = self.public.tls.is_some(), "ingress listening");
        let servers = match self.api {
            None => {
                let all =
                    [routes::providers as Routes, routes::compat, routes::applications, routes::everyone];
                vec![self.public.serve(&self.state, (&self.metrics, &self.heartbeats), all.to_vec())?]
            }
            Some(api) => {
                tracing::info!(address = %api.listener.local_addr()?, tls = api.tls.is_some(), "API listening");
                let providers = vec![routes::providers as Routes, routes::compat, routes::everyone];
                let applications = vec![routes::applications as Routes, routes::everyone];
                vec![
                    self.public.serve(&self.state, (&self.metrics, &self.heartbeats), providers)?,
                    api.serve(&self.state, (&self.metrics, &self.heartbeats), applications)?,
                ]
            }
        };
        let handles: Vec<_> = servers.iter().map(Server::handle).collect();
        let mut running: Vec<_> = servers.into_iter().map(tokio::spawn).collect();
        tokio::select! {
            (ended, ..) = select_all(&mut running) => {
                ended.map_err(io::Error::other)??;
                return Err(io::Error::other("an HTTP server stopped unexpectedly"));
            }
            () = shutdown.started() => {}
        }
        tracing::info!("draining: no more requests are accepted");
        self.lasting.log.stop_waiting();
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

impl Port {
    /// Starts the port's server, which answers on `routes`.
    fn serve(
        self,
        current: &Current<IngressState>,
        (metrics, heartbeats): (&Metrics, &Heartbeats),
        routes: Vec<Routes>,
    ) -> io::Result<Server> {
        let Self { name, listener, tls, connections } = self;
        let state = current.get();
        let config = &state.config;
        let workers = match config.ingress.workers {
            0 => thread::available_parallelism()?.get(),
            workers => workers,
        };
        let listener = Listener {
            name,
            socket: listener,
            tls,
            connections,
            read_timeout: config.ingress.read_timeout.0,
            workers,
            // Longer than our own deadline, so that ours decides.
            drain: config.shutdown.deadline.0 + Duration::from_secs(2),
            heartbeats: heartbeats.clone(),
        };
        let current = Data::new(current.clone());
        listener.serve(metrics, move || {
            let app = App::new().app_data(current.clone());
            routes.iter().fold(app, |app, routes| app.configure(|config| routes(&state, config)))
        })
    }
}
