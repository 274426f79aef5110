//! One connection to RabbitMQ: its address, how it is opened, and how it is closed.

use futures_util::StreamExt;
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Error, ErrorKind, Event,
    runtime::default_runtime,
    tcp::TLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use postern_broker::BrokerError;
use std::{
    fmt, io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;
use url::{Host, Url};

/// How long opening a connection or a channel may take if `broker.url` has no `connection_timeout`.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection or a channel may take to close before it is cut.
const PARTING: Duration = Duration::from_secs(1);
/// The heartbeat interval, in seconds, if `broker.url` has no `heartbeat`: a silent peer is given up after
/// two intervals. The broker may shorten it.
const HEARTBEAT: u16 = 10;
/// How often a connection is checked while it reports no event.
const GLANCE: Duration = Duration::from_millis(500);

/// AMQP's `ACCESS_REFUSED`.
pub(super) const ACCESS_REFUSED: u16 = 403;
/// AMQP's `NOT_FOUND`.
pub(super) const NOT_FOUND: u16 = 404;
/// AMQP's `PRECONDITION_FAILED`.
pub(super) const PRECONDITION_FAILED: u16 = 406;
/// AMQP's `NOT_ALLOWED`.
const NOT_ALLOWED: u16 = 530;

/// A broker's address. `Display` and `Debug` show host, port and virtual host, never a password.
#[derive(Clone)]
pub(super) struct Endpoint {
    uri: AMQPUri,
    patience: Duration,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { authority, vhost, .. } = &self.uri;
        write!(f, "{}:{} (virtual host {vhost})", authority.host, authority.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl Endpoint {
    /// Parses `url`.
    ///
    /// # Errors
    /// [`BrokerError::Url`], which does not quote the URL.
    pub(super) fn new(url: &str) -> Result<Self, BrokerError> {
        // The parsers' own errors are not passed on: one quotes the whole URL, password included.
        let malformed =
            || BrokerError::Url("not of the form amqp://USER:PASSWORD@HOST:5672/VHOST".to_owned());
        let parsed = Url::parse(url).map_err(|_| malformed())?;
        let mut uri: AMQPUri = url.parse().map_err(|_| malformed())?;
        match parsed.host() {
            // The AMQP parser does not see an IPv6 address as a host, and takes no host for `localhost`.
            Some(Host::Ipv6(address)) => uri.authority.host = address.to_string(),
            Some(Host::Domain("")) | None => return Err(BrokerError::Url("no host".to_owned())),
            Some(_) => {}
        }
        // By the letter of the AMQP URI specification, a final slash with nothing after it names the empty
        // virtual host. People who write it mean the default one.
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let patience = uri.query.connection_timeout.map_or(PATIENCE, Duration::from_millis);
        Ok(Self { uri, patience })
    }

    /// How long opening a connection or a channel may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Opens a connection that the broker shows as `name`, with frames of at most `frame` bytes, or fewer if the
    /// URL has a smaller `frame_max`.
    ///
    /// # Errors
    /// What went wrong and what can be done, for [`BrokerStatus::Connecting`](postern_broker::BrokerStatus).
    #[expect(clippy::disallowed_methods, reason = "the broker's name is the configuration's")]
    pub(super) async fn open(&self, name: &str, frame: u32) -> Result<Link, String> {
        // The process uses one provider of cryptography; another part may have chosen it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let socket = Socket::default();
        let (handle, patience) = (Arc::clone(&socket.0), self.patience);
        let mut uri = self.uri.clone();
        uri.query.frame_max = Some(uri.query.frame_max.map_or(frame, |wanted| wanted.min(frame)));
        let connecting = Connection::connector(
            uri,
            default_runtime().map_err(|error| self.explain(&error))?,
            async move |uri, runtime| {
                let dialling = async {
                    let mut failure = io::Error::from(io::ErrorKind::NotFound);
                    let host = uri.authority.host.as_str();
                    for address in tokio::net::lookup_host((host, uri.authority.port)).await? {
                        match AsyncTcpStream::connect(&runtime, address).await {
                            Ok(AsyncTcpStream::Plain(plain)) => {
                                Socket::keep(&handle, plain.get_ref().as_fd())?;
                                let stream = AsyncTcpStream::Plain(plain);
                                if uri.scheme == AMQPScheme::AMQP {
                                    return Ok(stream);
                                }
                                let roots = further_roots().await?;
                                let config = TLSConfig { cert_chain: roots.as_deref(), identity: None };
                                return stream.into_tls(host, config).await;
                            }
                            Ok(_) => failure = io::ErrorKind::Unsupported.into(),
                            Err(error) => failure = error,
                        }
                    }
                    Err(failure)
                };
                match timeout(patience, dialling).await {
                    Ok(dialled) => dialled.map_err(Error::from),
                    Err(_) => Err(late()),
                }
            },
            ConnectionProperties::default().with_connection_name(name.into()),
        );
        match timeout(self.patience, connecting).await {
            Ok(Ok(connection)) => Ok(Link { connection, _socket: socket }),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(format!("{self} does not answer within {:?}; check broker.url", self.patience)),
        }
    }

    /// `error` as a text that names the address and, if it may help, the key to look at.
    pub(super) fn explain(&self, error: &Error) -> String {
        match (code(error), error.kind()) {
            (Some(ACCESS_REFUSED), _) => format!(
                "ACCESS_REFUSED by {self}: check the user and the password in broker.url, and the user's permissions"
            ),
            (Some(NOT_ALLOWED), _) => format!(
                "NOT_ALLOWED by {self}: check the virtual host in broker.url, and the user's permissions"
            ),
            (_, ErrorKind::ProtocolError(error)) => format!("{self} says {}", error.get_message()),
            (_, ErrorKind::IOError(error)) if error.kind() == io::ErrorKind::InvalidData => {
                format!("{self}: {error}; SSL_CERT_FILE may name the certificate of a private CA")
            }
            (_, ErrorKind::IOError(error)) => format!("{self}: {error}; check broker.url"),
            _ => format!("{self}: {error}"),
        }
    }
}

/// The AMQP reply code of `error`.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Further trusted root certificates, in PEM, from the file that the environment variable `SSL_CERT_FILE`
/// names, as with OpenSSL. This is the way to trust a private CA.
#[expect(clippy::disallowed_methods, reason = "OpenSSL's variable, not one of ours")]
async fn further_roots() -> io::Result<Option<String>> {
    match std::env::var_os("SSL_CERT_FILE") {
        Some(path) => Ok(Some(tokio::fs::read_to_string(path).await?)),
        None => Ok(None),
    }
}

/// A second handle of a connection's socket, used to cut it.
///
/// While the broker blocks a connection (an alarm), lapin writes nothing on it, not even the close, and a peer
/// that never answers keeps the connection and its thread open indefinitely. Shutting the socket down ends both.
#[derive(Debug, Default)]
struct Socket(Arc<Mutex<Handle>>);

#[derive(Debug, Default)]
enum Handle {
    #[default]
    Dialling,
    Open(TcpStream),
    GivenUp,
}

impl Socket {
    fn keep(handle: &Mutex<Handle>, stream: impl AsFd) -> io::Result<()> {
        let mut handle = locked(handle);
        if matches!(*handle, Handle::GivenUp) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *handle = Handle::Open(TcpStream::from(stream.as_fd().try_clone_to_owned()?));
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Handle::Open(stream) = std::mem::replace(&mut *locked(&self.0), Handle::GivenUp) {
            // It fails if the connection has ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn locked(handle: &Mutex<Handle>) -> MutexGuard<'_, Handle> {
    handle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open connection. Dropping it cuts it.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    _socket: Socket,
}

impl Link {
    /// Whether the connection still works, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker takes no publishes on this connection.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Opens a channel.
    pub(super) async fn channel(&self) -> lapin::Result<Channel> {
        // If the connection ends meanwhile, lapin never answers.
        timeout(PATIENCE, self.connection.create_channel()).await.unwrap_or_else(|_| Err(late()))
    }

    /// Waits until the connection is lost, and returns why. Calls `blocked` at each alarm, and with `None` at its
    /// end.
    pub(super) async fn lost(&self, endpoint: &Endpoint, mut blocked: impl FnMut(Option<String>)) -> String {
        let mut events = std::pin::pin!(self.connection.events_listener());
        // Events before this moment are gone.
        if self.is_blocked() {
            blocked(Some("an alarm".to_owned()));
        }
        let mut why = None;
        while self.is_up() {
            match timeout(GLANCE, events.next()).await {
                Ok(Some(Event::ConnectionBlocked(reason))) => blocked(Some(reason)),
                Ok(Some(Event::ConnectionUnblocked)) => blocked(None),
                Ok(Some(Event::Error(error))) => why = Some(endpoint.explain(&error)),
                Ok(None) => tokio::time::sleep(GLANCE).await,
                Ok(Some(_)) | Err(_) => {}
            }
        }
        why.unwrap_or_else(|| format!("the connection to {endpoint} was lost"))
    }

    /// Closes the connection in order if that can be done soon, else cuts it.
    pub(super) async fn close(&self) {
        if !self.is_blocked() {
            let _ = timeout(PARTING, self.connection.close(200, "OK".into())).await;
        }
    }
}

/// Closes `channel` with everything on it. When the broker confirms that, it has seen everything that was sent
/// before. Gives up soon.
pub(super) async fn close_channel(channel: &Channel) {
    let _ = timeout(PARTING, channel.close(200, "OK".into())).await;
}

/// The error for an answer that did not come in time.
pub(super) fn late() -> Error {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_hides_its_password() {
        let endpoint = Endpoint::new("amqp://someone:hush@rabbit.example:5673/shop").unwrap();
        assert_eq!(endpoint.to_string(), "rabbit.example:5673 (virtual host shop)");
        assert!(!format!("{endpoint:?}").contains("hush"));
        let wrong = Endpoint::new("amqp://someone:hush@rabbit.example:port/").unwrap_err();
        assert!(!wrong.to_string().contains("hush"), "{wrong}");
    }

    #[test]
    fn no_virtual_host_is_the_default_one() {
        for url in ["amqp://h", "amqp://h/", "amqp://h/%2f", "amqp://h:5672//"] {
            assert_eq!(Endpoint::new(url).unwrap().uri.vhost, "/", "{url}");
        }
    }

    #[test]
    fn an_ipv6_address_is_a_host_and_nothing_is_none() {
        assert_eq!(Endpoint::new("amqp://[::1]:5672/").unwrap().uri.authority.host, "::1");
        assert!(matches!(Endpoint::new("amqp:///"), Err(BrokerError::Url(_))));
    }

    #[test]
    fn what_the_url_says_about_heartbeats_holds() {
        assert_eq!(Endpoint::new("amqp://h").unwrap().uri.query.heartbeat, Some(HEARTBEAT));
        assert_eq!(Endpoint::new("amqp://h?heartbeat=3").unwrap().uri.query.heartbeat, Some(3));
    }
}
