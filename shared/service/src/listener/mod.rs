//! HTTP listeners: every port of Postern is one (`ingress.listen`, `api.listen`, `admin.listen`), and
//! bounds what a client can take from it before it has proved anything. Below are actix-server and
//! actix-http, with a stream of our own between them.
//!
//! 1. `admission` gives a connection a slot, or closes it at once and counts it. There are as many slots
//!    as the limit of open files leaves room for (`descriptors`).
//! 2. TLS, if the port has it, under `ingress.read_timeout`, with HTTP/1.1 only: actix-http sets no limit
//!    to the streams of an HTTP/2 connection and to the size of their headers, and cannot be told to.
//!    Providers need HTTP/1.1 only.
//! 3. `socket` ends a connection whose client takes nothing of its answers for 20 seconds.
//! 4. `paced` reads for actix-http, at the pace at which requests are answered. What request is in flight
//!    it learns from `exchange`, which stands around the application. A handler that lets its client wait
//!    learns from `client_closed` that the client is gone. `request_line` percent-encodes what a sloppy
//!    client leaves raw in a target, where a request line certainly stands.
//! 5. The ingress reads bodies within the room that all large bodies have together.

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

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Bytes of answers that the kernel keeps for a client, twice over by its own count. By itself it
/// would keep megabytes for each client that does not read, and requests would be answered for them.
const SEND_BUFFER: u32 = 128 * 1024;

/// How long a connection stays open behind an answer that its client was not waiting for, so that
/// the client may read it. actix-http measures this by a clock that it looks at twice a second, if it
/// has the time: if the clock is later than this, the connection is never closed.
const LINGER: Duration = Duration::from_secs(3);

/// How long a connection stays open for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a client may take nothing of what is written to it.
const STALL: Duration = Duration::from_secs(20);

/// Connections that each worker may have beyond its part of the listener's: they are being closed.
const BEING_CLOSED: usize = 16;

/// Listens on `address`, alone. Within a Tokio runtime.
///
/// # Errors
/// The address cannot be used.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen(socket_for(address)?, address)
}

/// Listens on `address` beside other processes of the same user that do this, too (`SO_REUSEPORT`): the
/// kernel divides new connections between them. So a process can be replaced without a moment in which
/// nobody listens. Within a Tokio runtime.
///
/// # Errors
/// The address cannot be used.
pub fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket_for(address)?;
    socket.set_reuseport(true)?;
    listen(socket, address)
}

/// Why nothing listens on `address`, which `key` names, and what to do. `instead` is what sets another
/// address besides the key.
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
    // The connections have both from the port.
    socket.set_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A port that is listened on, and how it treats its clients.
#[derive(Debug)]
pub struct Listener {
    /// What metrics and log call it: one of a closed set.
    pub name: &'static str,
    /// The port.
    pub socket: TcpListener,
    /// Its TLS, if it has any.
    pub tls: Option<Tls>,
    /// How many connections it may have.
    pub connections: ConnectionLimits,
    /// How long a TLS handshake and the head of each request may take.
    pub read_timeout: Duration,
    /// Threads, at least 1.
    pub workers: usize,
    /// How long requests in flight may go on after a graceful stop. Whole seconds count.
    pub drain: Duration,
    /// Where its threads say that they are alive.
    pub heartbeats: Heartbeats,
}

impl Listener {
    /// The server that answers with what `app` makes, one for each worker; to be awaited or spawned.
    /// It speaks HTTP/1.1. Within a Tokio runtime, which follows the files of its TLS.
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
            // Here each thread begins.
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
                // The stream has the times of heads and of idle connections.
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

/// Makes of an accepted connection the stream that its requests are read from.
#[derive(Clone)]
struct ConnectionOpener {
    admission: Admission,
    tls: Option<TlsAcceptor>,
    read_timeout: Duration,
}

impl ConnectionOpener {
    /// The stream of a client that may come in.
    ///
    /// # Errors
    /// It may not, or does not do its part of the TLS handshake. There is nobody to be told.
    async fn open(self, stream: TcpStream) -> Result<(PacedStream, Protocol, Option<SocketAddr>), ()> {
        // A client that is gone already has no address any more.
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
        let pace = Pace { head: self.read_timeout, keep_alive: KEEP_ALIVE };
        Ok((PacedStream::new(transport, pace), Protocol::Http1, Some(peer)))
    }
}
