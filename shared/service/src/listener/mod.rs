//! HTTP listeners: every port of Postern is one (`ingress.listen`, `api.listen`, `admin.listen`). A
//! listener limits what a client can use before it has proved anything. It consists of actix-server and
//! actix-http, with a stream of our own between them.
//!
//! 1. `admission` gives a connection a slot, or closes it at once and counts it. There are as many slots as
//!    the limit of open files leaves room for (`descriptors`).
//! 2. The TLS handshake, if the port has TLS, must end within `ingress.read_timeout`. Only HTTP/1.1 is
//!    offered: actix-http does not limit the streams of an HTTP/2 connection or the size of their headers,
//!    and has no setting for it. Providers need only HTTP/1.1.
//! 3. `socket` ends a connection whose client reads nothing of its answers for 20 seconds.
//! 4. `paced` reads for actix-http, at the pace at which requests are answered. It learns from `exchange`,
//!    which wraps the application, which request is in flight. A handler that makes its client wait learns
//!    from `client_closed` that the client is gone. `request_line` percent-encodes what a sloppy client
//!    leaves raw in a target, if that is certainly part of a request line.
//! 5. The ingress reads bodies within the memory that all large bodies share.

mod admission;
mod blank_lines;
mod client_closed;
mod descriptors;
mod exchange;
mod paced;
mod request_line;
mod socket;
#[cfg(test)]
mod tests;

pub use admission::ConnectionLimits;
pub use client_closed::ClientClosed;
pub use descriptors::Share;

use crate::{heartbeat::Heartbeats, metrics::Metrics, tls::Tls};
use actix_http::{HttpService, KeepAlive, Protocol, Request};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service,
    map_config,
};
use actix_web::{
    Error,
    dev::{AppConfig, ServiceResponse},
    rt,
};
use admission::Admission;
use exchange::{Exchange, RequestInFlight};
use paced::{Pace, PacedStream};
use socket::{ClientSocket, Transport};
use std::{
    fmt,
    future::pending,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How many bytes of answers the kernel keeps for a client; it counts them twice. By default it would keep
/// megabytes for each client that does not read, and requests would be answered for nobody.
const SEND_BUFFER: u32 = 128 * 1024;

/// How long a connection stays open after an answer that its client did not wait for, so that the client
/// can read the answer. actix-http measures this by a clock that it updates twice a second, if it has the
/// time: if an update is later than this, the connection is never closed.
const LINGER: Duration = Duration::from_secs(3);

/// How long a connection stays open for its next request. A request that comes just when its connection is
/// closed gets no answer, so that the client should be the one that closes it: nginx and AWS's load balancers
/// keep an unused connection for 60 seconds, Go and reqwest for 90, Caddy for 120.
const KEEP_ALIVE: Duration = Duration::from_secs(125);

/// The same if half of the connections that the client's address or the listener may have are open.
const KEEP_ALIVE_CROWDED: Duration = Duration::from_secs(5);

/// How long a client may read nothing of what is written to it.
const STALL: Duration = Duration::from_secs(20);

/// How many connections each worker may have in addition to its part of the listener's: they are being closed.
const BEING_CLOSED: usize = 16;

/// Listens on `address`, which no other process can share. Must be called within a Tokio runtime.
///
/// # Errors
/// The address cannot be used.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen(socket_for(address)?, address)
}

/// Listens on `address` together with other processes of the same user that do this, too (`SO_REUSEPORT`):
/// the kernel divides new connections between them. So a process can be replaced without a moment in which
/// nobody listens. Must be called within a Tokio runtime.
///
/// # Errors
/// The address cannot be used.
pub fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket_for(address)?;
    socket.set_reuseport(true)?;
    listen(socket, address)
}

/// Says why nothing can listen on `address`, which the key `key` sets, and what to do. `instead` names
/// another way to set the address.
pub fn cannot_listen(key: &str, address: SocketAddr, error: &io::Error, instead: &str) -> String {
    let port = address.port();
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            ": another program uses this port, perhaps a gateway that is already running (`ss -ltnp sport = \
             :{port}` shows which); stop it, or set {key} to another port{instead}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                ": this machine does not have this address; \"0.0.0.0:{port}\" means all addresses of the \
                 machine"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            ": ports below 1024 are privileged: set {key} to another port{instead}, or give the program \
             CAP_NET_BIND_SERVICE"
        ),
        _ => String::new(),
    };
    format!("{key}: cannot listen on {address}: {error}{advice}")
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

fn listen(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    // Each connection inherits both settings from the port.
    socket.set_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A port that is listened on, and how it treats its clients.
#[derive(Debug)]
pub struct Listener {
    /// The name in metrics and log, from a closed set.
    pub name: &'static str,
    /// The port.
    pub socket: TcpListener,
    /// The port's TLS, if it has any.
    pub tls: Option<Tls>,
    /// How many connections it may have.
    pub connections: ConnectionLimits,
    /// How long a TLS handshake and the head of each request may take.
    pub read_timeout: Duration,
    /// The number of threads, at least 1.
    pub workers: usize,
    /// How long requests in flight may go on after a graceful stop, in whole seconds.
    pub drain: Duration,
    /// Where the port's threads report that they are alive.
    pub heartbeats: Heartbeats,
}

impl Listener {
    /// The server, to be awaited or spawned; `app` makes the application, one for each worker. It speaks
    /// HTTP/1.1. Must be called within a Tokio runtime, in which a task follows the files of the port's
    /// TLS.
    ///
    /// # Errors
    /// The port cannot be used.
    pub fn serve<F, I, S>(self, metrics: &Metrics, app: F) -> io::Result<Server>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse, Error = Error> + 'static,
        S::Future: 'static,
        S::InitError: fmt::Debug,
        S::Service: 'static,
        <S::Service as Service<Request>>::Future: 'static,
    {
        let Self { name, socket, tls, connections, read_timeout, workers, drain, heartbeats } = self;
        let most = descriptors::most(connections.max, connections.share);
        if let Some(wanted) = connections.max
            && wanted > most
        {
            tracing::warn!(
                listener = name,
                wanted,
                most,
                "fewer connections than configured: the limit of open files is too low; raise it (ulimit -n)"
            );
        }
        let opener = ConnectionOpener {
            admission: Admission::new(name, connections, metrics.connections().clone()),
            tls: tls.as_ref().map(acceptor).transpose()?,
            read_timeout,
        };
        if let Some(tls) = tls {
            let shown = |end| {
                let ends = metrics.tls_not_after(name);
                ends.set(end);
                ends
            };
            let ends = tls.not_after().map(shown);
            tokio::spawn(tls.follow(ends));
        }
        let builder = Server::build()
            .workers(workers)
            .max_concurrent_connections(most.div_ceil(workers) + BEING_CLOSED)
            .disable_signals()
            .shutdown_timeout(drain.as_secs());
        let stop = builder.graceful_shutdown_signal();
        let builder = builder.listen(name, socket, move || {
            let heartbeats = heartbeats.clone();
            // Each thread begins here.
            rt::spawn(async move { heartbeats.keep(format!("{name} listener"), pending::<()>()).await });
            let app = app().into_factory().map_err(|error: Error| error.error_response());
            let app = map_config(app, |()| AppConfig::default());
            let app = apply_fn_factory(app, |mut request: Request, app: &_| {
                let exchange = request.conn_data::<Rc<Exchange>>().cloned();
                let in_flight = exchange.map(|exchange| exchange.begin(&mut request));
                let answer = Service::call(app, request);
                async move {
                    let answer = actix_http::Response::from(answer.await?);
                    Ok(answer.map_body(|_, body| RequestInFlight::until_written(in_flight, body)))
                }
            });
            let stop = stop.clone();
            let http = HttpService::build()
                // The stream limits the times of heads and of idle connections itself.
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .client_disconnect_timeout(LINGER)
                .graceful_shutdown_signal(move || {
                    let stop = stop.clone();
                    async move { stop.notified().await }
                })
                .on_connect_ext(|stream: &PacedStream, data| {
                    data.insert::<Rc<Exchange>>(stream.exchange());
                    data.insert::<ClientClosed>(stream.client_closed());
                })
                .finish(app);
            let opener = opener.clone();
            fn_service(move |stream: TcpStream| opener.clone().open(stream)).and_then(http.map_err(drop))
        })?;
        Ok(builder.run())
    }
}

fn acceptor(tls: &Tls) -> io::Result<TlsAcceptor> {
    Ok(TlsAcceptor::from(Arc::new(tls.server().map_err(io::Error::other)?)))
}

/// Turns an accepted connection into the stream that its requests are read from.
#[derive(Clone)]
struct ConnectionOpener {
    admission: Admission,
    tls: Option<TlsAcceptor>,
    read_timeout: Duration,
}

impl ConnectionOpener {
    /// The stream of a client that is admitted.
    ///
    /// # Errors
    /// The client is not admitted, or does not complete the TLS handshake. There is nobody to be told.
    async fn open(self, stream: TcpStream) -> Result<(PacedStream, Protocol, Option<SocketAddr>), ()> {
        // A client that has gone already has no address.
        let peer = stream.peer_addr().map_err(drop)?;
        let slot = self.admission.admit(peer.ip()).ok_or(())?;
        let socket = ClientSocket::new(stream, slot, STALL);
        let transport = match self.tls {
            None => Transport::Plain(socket),
            Some(tls) => {
                let handshake = timeout(self.read_timeout, tls.accept(socket)).await;
                Transport::Tls(Box::new(handshake.map_err(drop)?.map_err(drop)?))
            }
        };
        let pace =
            Pace { head: self.read_timeout, keep_alive: KEEP_ALIVE, keep_alive_crowded: KEEP_ALIVE_CROWDED };
        Ok((PacedStream::new(transport, pace), Protocol::Http1, Some(peer)))
    }
}
