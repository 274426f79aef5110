//! A TCP proxy that treats connections as networks do: it delays, goes silent without closing, closes one
//! direction, cuts, refuses.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// The direction in which bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

/// What is done to the bytes, and how often something was done to the connections.
#[derive(Debug, Clone, Copy, Default)]
struct Network {
    frozen: bool,
    delay: Duration,
    refusing: bool,
    cuts: usize,
    closed_up: usize,
    closed_down: usize,
}

/// How many more bytes may go up, over all connections; `None` means any number.
type UpLeft = Arc<watch::Sender<Option<u64>>>;

impl Network {
    fn closed(&self, direction: Direction) -> usize {
        match direction {
            Direction::Up => self.closed_up,
            Direction::Down => self.closed_down,
        }
    }
}

/// A proxy in front of a port of 127.0.0.1. It passes everything on until it is told otherwise. Dropping it
/// stops it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    up_left: UpLeft,
    open: Arc<watch::Sender<usize>>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of `target`, on a free port.
    pub async fn to(target: u16) -> Self {
        Self::to_any(&[target]).await
    }

    /// Starts one in front of several targets, on a free port. The targets take turns at being tried first, and
    /// a connection goes to the first that accepts it.
    pub async fn to_any(targets: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port of 127.0.0.1");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (network, told) = watch::channel(Network::default());
        let up_left = UpLeft::default();
        let open = Arc::new(watch::Sender::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        let shared = (told, Arc::clone(&up_left), Arc::clone(&open));
        let accepting = tokio::spawn(accept(listener, targets.to_vec(), shared, counted));
        Self { port, network, up_left, open, accepted, accepting }
    }

    /// The port of 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections go through it now.
    pub fn connections(&self) -> usize {
        *self.open.borrow()
    }

    /// How many connections it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Stops passing bytes on in both directions, and closes nothing: the peers' bytes wait in their buffers, as
    /// with an unplugged cable. New connections are accepted and treated the same.
    pub fn freeze(&self) {
        self.network.send_modify(|network| network.frozen = true);
    }

    /// Passes bytes on again, beginning with those that have waited.
    pub fn thaw(&self) {
        self.network.send_modify(|network| network.frozen = false);
    }

    /// Lets only `bytes` more go up, over all connections; after that the client seems to have stopped in the
    /// middle. `None` lifts the limit.
    pub fn pass_up(&self, bytes: Option<u64>) {
        self.up_left.send_replace(bytes);
    }

    /// Whether all bytes that may go up have gone up.
    pub fn has_passed_all(&self) -> bool {
        *self.up_left.borrow() == Some(0)
    }

    /// Delays each piece of data by `delay` from now on.
    pub fn delay(&self, delay: Duration) {
        self.network.send_modify(|network| network.delay = delay);
    }

    /// Closes all open connections.
    pub fn cut(&self) {
        self.network.send_modify(|network| network.cuts += 1);
    }

    /// Closes new connections at once, or accepts them again.
    pub fn refuse(&self, refusing: bool) {
        self.network.send_modify(|network| network.refusing = refusing);
    }

    /// Closes one direction of all open connections: the end of data is passed on, and later data is not. The
    /// other direction stays open.
    pub fn half_close(&self, direction: Direction) {
        self.network.send_modify(|network| match direction {
            Direction::Up => network.closed_up += 1,
            Direction::Down => network.closed_down += 1,
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    mut targets: Vec<u16>,
    (network, up_left, open): (watch::Receiver<Network>, UpLeft, Arc<watch::Sender<usize>>),
    accepted: Arc<AtomicUsize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let network = network.clone();
        if network.borrow().refusing {
            continue;
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        targets.rotate_left(1);
        let (up_left, open, targets) = (Arc::clone(&up_left), Arc::clone(&open), targets.clone());
        tokio::spawn(async move {
            open.send_modify(|open| *open += 1);
            connect(client, &targets, network, up_left).await;
            open.send_modify(|open| *open -= 1);
        });
    }
}

/// One connection, until both directions have ended or it is cut.
async fn connect(client: TcpStream, targets: &[u16], network: watch::Receiver<Network>, up_left: UpLeft) {
    let mut told = network.clone();
    let now = *told.borrow_and_update();
    let cut = async {
        // An error means that the proxy is gone.
        let _ = told.wait_for(|network| network.cuts > now.cuts).await;
    };
    let both = async {
        let Some(server) = first(targets).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(
            pump(from_client, to_server, (Direction::Up, up_left), network.clone(), now),
            pump(from_server, to_client, (Direction::Down, UpLeft::default()), network.clone(), now),
        );
    };
    tokio::select! {
        () = both => {}
        () = cut => {}
    }
}

/// A connection to the first target that accepts one.
async fn first(targets: &[u16]) -> Option<TcpStream> {
    for target in targets {
        if let Ok(server) = TcpStream::connect(("127.0.0.1", *target)).await {
            return Some(server);
        }
    }
    None
}

/// Passes `bytes` on, each time as many as may go up.
async fn pass(mut bytes: &[u8], to: &mut OwnedWriteHalf, left: &UpLeft) -> io::Result<()> {
    let mut told = left.subscribe();
    while !bytes.is_empty() {
        let _ = told.wait_for(|left| *left != Some(0)).await;
        let mut now = bytes.len();
        left.send_modify(|left| {
            if let Some(left) = left {
                now = now.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= now as u64;
            }
        });
        to.write_all(&bytes[..now]).await?;
        bytes = &bytes[now..];
    }
    Ok(())
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (direction, left): (Direction, UpLeft),
    mut network: watch::Receiver<Network>,
    begun: Network,
) {
    let mut told = network.clone();
    let closed = async {
        let _ = told.wait_for(|network| network.closed(direction) > begun.closed(direction)).await;
    };
    let copied = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read) = from.read(&mut buffer).await {
            let Ok(now) = network.wait_for(|network| !network.frozen).await.map(|now| *now) else { break };
            tokio::time::sleep(now.delay).await;
            if read == 0 || pass(&buffer[..read], &mut to, &left).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = copied => {}
        () = closed => {}
    }
    let _ = to.shutdown().await;
    // Read until the connection ends: dropping it would reset the other direction.
    let mut rest = vec![0; 64 * 1024];
    while from.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}
