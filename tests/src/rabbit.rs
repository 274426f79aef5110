//! A RabbitMQ node of the tests' own: it shares no port, cookie or folder with any other.
//!
//! The node's Erlang shell reads from a pipe, so that a virtual host takes milliseconds instead of
//! the seconds of `rabbitmqctl`, and the node ends when the pipe closes, even if the tests are killed.

mod node;

use crate::{
    epmd::Epmd,
    guard::{self, free_port, free_ports},
    vhost::Vhost,
};
use node::{ANSWER, Node, PROMETHEUS, SMALL_LOG, Shell, name};
use std::{
    ops::Deref,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Settings of the node that a test may change, and their defaults: the largest message in bytes; after how many
/// milliseconds an unacknowledged delivery closes its channel; how often that is checked, in milliseconds.
const SETTINGS: [(&str, u64); 3] =
    [("max_message_size", 134_217_728), ("consumer_timeout", 1_800_000), ("channel_tick_interval", 60_000)];

/// A condition in which a node accepts no publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Too little memory is free.
    Memory,
    /// Too little disk space is free.
    Disk,
}

impl Alarm {
    /// All alarms.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Disk];
}

/// A node that one test may stop, kill and block. It is running and unblocked again before the next test gets
/// it.
#[derive(Debug)]
pub struct HarmedRabbit {
    node: Rabbit,
    // Dropped after the node is back in the list of free ones.
    _turn: SemaphorePermit<'static>,
}

impl Deref for HarmedRabbit {
    type Target = Rabbit;

    fn deref(&self) -> &Rabbit {
        &self.node
    }
}

impl Drop for HarmedRabbit {
    fn drop(&mut self) {
        free_nodes().push(self.node.clone());
    }
}

fn free_nodes() -> MutexGuard<'static, Vec<Rabbit>> {
    static FREE: Mutex<Vec<Rabbit>> = Mutex::new(Vec::new());
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node. Clones are the same node.
#[derive(Debug, Clone)]
pub struct Rabbit(Arc<Node>);

impl Rabbit {
    /// The node that all tests of this binary share, each in a virtual host of its own. The first
    /// call starts it.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Rabbit> = OnceLock::new();
        SHARED.get_or_init(|| Self::boot(SMALL_LOG)).clone()
    }

    /// A node that the caller may stop, kill and block, and shares with nobody while the value lives. It is
    /// running and not blocked. There are two, so that tests wait less for each other.
    pub async fn to_harm() -> HarmedRabbit {
        static TWO: Semaphore = Semaphore::const_new(2);
        let turn = TWO.acquire().await.expect("nobody closes it");
        let free = free_nodes().pop();
        let node = match free {
            Some(node) => node,
            None => tokio::task::spawn_blocking(|| Self::boot(SMALL_LOG)).await.expect("start a node"),
        };
        let node = HarmedRabbit { node, _turn: turn };
        if node.running() {
            for alarm in Alarm::ALL {
                node.alarm(alarm, false);
            }
            for (setting, default) in SETTINGS {
                node.set(setting, default);
            }
        } else {
            node.start().await;
        }
        node
    }

    /// A node with RabbitMQ's own settings, for measuring.
    pub fn unchanged() -> Self {
        Self::boot("")
    }

    /// A node with the plugin that Prometheus scrapes, and the plugin's port on 127.0.0.1.
    pub fn scraped() -> (Self, u16) {
        let port = free_port();
        (Self::boot(&format!("{PROMETHEUS}.ip = 127.0.0.1\n{PROMETHEUS}.port = {port}\n")), port)
    }

    /// A new cluster of `size` nodes.
    pub fn cluster(size: usize) -> Vec<Self> {
        let mut problem = String::new();
        for _ in 0..3 {
            match Self::form(size) {
                Ok(nodes) => return nodes,
                Err(why) => problem = why,
            }
        }
        panic!("{problem}")
    }

    fn form(size: usize) -> Result<Vec<Self>, String> {
        let [epmd] = free_ports();
        let epmd = Arc::new(Epmd::start(epmd));
        let ports: Vec<[u16; 2]> = (0..size).map(|_| free_ports()).collect();
        let mut settings = format!("{SMALL_LOG}cluster_formation.peer_discovery_backend = classic_config\n");
        for (number, [amqp, _]) in ports.iter().enumerate() {
            let line = format!("cluster_formation.classic_config.nodes.{} = {}\n", number + 1, name(*amqp));
            settings.push_str(&line);
        }
        let nodes = ports.iter().map(|ports| Node::prepare(&settings, *ports, Arc::clone(&epmd)));
        let nodes: Vec<_> = nodes.map(|node| Self(Arc::new(node))).collect();
        // In parallel: RabbitMQ 4 waits for a second node before it reports that the first is up.
        std::thread::scope(|threads| {
            let launch = |node: &Self| node.0.launch().map(|shell| *node.shell() = Some(shell));
            let started: Vec<_> = nodes.iter().map(|node| threads.spawn(move || launch(node))).collect();
            started.into_iter().try_for_each(|node| node.join().expect("a node's start"))
        })?;
        let members = nodes[0].eval("length([node() | nodes()])");
        if members != size.to_string() {
            return Err(format!("one cluster has {members} of {size} nodes"));
        }
        Ok(nodes)
    }

    /// Whether it leads that queue. It must be running.
    pub fn leads(&self, vhost: &Vhost, queue: &str) -> bool {
        let queue = format!("rabbit_misc:r(<<\"{}\">>, queue, <<\"{queue}\">>)", vhost.name());
        self.eval(&format!(
            "element(2, amqqueue:get_pid(element(2, rabbit_amqqueue:lookup({queue})))) =:= node()"
        )) == "true"
    }

    /// A new virtual host.
    pub fn vhost(&self) -> Vhost {
        let name = format!("test-{}", self.0.vhosts.fetch_add(1, Ordering::Relaxed));
        let vhost = Vhost::new(self.clone(), name);
        vhost.make();
        vhost
    }

    /// Deletes that virtual host if the node is running. Does not wait for it.
    pub(crate) fn forget_vhost(&self, name: &str) {
        if let Some(shell) = self.shell().as_mut() {
            let delete = format!("rabbit_vhost:delete(<<\"{name}\">>, <<\"tests\">>)");
            // A stopped node needs no deletion.
            let _ = shell.send(&format!("spawn(fun() -> catch {delete} end)."));
        }
    }

    /// The value of an Erlang expression, evaluated on the node.
    ///
    /// # Panics
    /// If the node is not running.
    pub fn eval(&self, expression: &str) -> String {
        let mut shell = self.shell();
        let shell = shell.as_mut().expect("the node is stopped");
        shell.ask(expression, ANSWER).unwrap_or_else(|why| panic!("{expression}: {why}"))
    }

    /// Its version, such as `3.10.8`.
    pub fn version(&self) -> String {
        self.eval("element(2, application:get_key(rabbit, vsn))").trim_matches('"').to_owned()
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.eval("os:getpid()").trim_matches('"').parse().expect("a process id")
    }

    /// Raises the memory alarm or clears it. While it is raised, the node accepts no publishes.
    pub fn block(&self, blocked: bool) {
        self.alarm(Alarm::Memory, blocked);
    }

    /// Sets `max_message_size`, `consumer_timeout` or `channel_tick_interval` until the node restarts or another
    /// test gets it. RabbitMQ reads them when a channel opens; RabbitMQ 4 reads the first from a persistent
    /// term, which it writes at its start.
    pub fn set(&self, setting: &str, value: u64) {
        assert!(SETTINGS.iter().any(|(known, _)| *known == setting), "{setting} would not be set back");
        let set = format!(
            "persistent_term:put({setting}, {value}), application:set_env(rabbit, {setting}, {value})"
        );
        assert_eq!(self.eval(&set), "ok");
    }

    /// Accepts TLS connections, too, until the node stops, with this certificate and key in PEM. Returns the
    /// port.
    pub fn listen_with_tls(&self, cert: &Path, key: &Path) -> u16 {
        let (port, cert, key) = (crate::free_port(), cert.display(), key.display());
        let options = format!("[{{certfile, \"{cert}\"}}, {{keyfile, \"{key}\"}}]");
        let begun = self.eval(&format!(
            "{{ok, _}} = application:ensure_all_started(ssl), \
             rabbit_networking:start_ssl_listener({{\"127.0.0.1\", {port}}}, {options}, 1)"
        ));
        assert_eq!(begun, "ok", "listening with TLS");
        port
    }

    /// Raises an alarm or clears it.
    pub fn alarm(&self, alarm: Alarm, raised: bool) {
        let alarm = match alarm {
            Alarm::Memory => "{resource_limit, memory, node()}",
            Alarm::Disk => "{resource_limit, disk, node()}",
        };
        let change = match raised {
            true => format!("set_alarm({{{alarm}, []}})"),
            false => format!("clear_alarm({alarm})"),
        };
        // The change is only announced: the question after it is answered once every connection knows.
        let expression = format!("rabbit_alarm:{change}, is_list(rabbit_alarm:get_alarms())");
        assert_eq!(self.eval(&expression), "true");
    }

    /// Whether it is running.
    pub fn running(&self) -> bool {
        self.shell().is_some()
    }

    /// Ends it with SIGKILL, as a power cut would.
    ///
    /// RabbitMQ 3.10 writes the register of its quorum queues half a second after a declare, and its own tables
    /// at a time of its own. A younger queue or virtual host would be lost, and the tests are not about that, so
    /// both are written first.
    pub fn kill(&self) {
        self.eval("[dets:sync(T) || T <- dets:all()], mnesia:sync_log()");
        if let Some(mut shell) = self.shell().take() {
            guard::end(&mut shell.child);
        }
    }

    /// Stops it properly.
    pub async fn stop(&self) {
        let node = self.clone();
        let stop = tokio::task::spawn_blocking(move || {
            if let Some(mut shell) = node.shell().take() {
                shell.send("init:stop().").expect("the node reads its input");
                shell.child.wait().expect("wait for the node");
                guard::ended(shell.child.id());
            }
        });
        stop.await.expect("stop the node");
    }

    /// Starts it again, on the same ports, with what it had stored.
    pub async fn start(&self) {
        let node = self.clone();
        let start = tokio::task::spawn_blocking(move || {
            let mut shell = node.shell();
            assert!(shell.is_none(), "the node runs");
            *shell = Some(node.0.launch().unwrap_or_else(|why| panic!("{why}")));
        });
        start.await.expect("start the node");
    }

    /// The port of 127.0.0.1 that it accepts connections on.
    pub fn port(&self) -> u16 {
        self.0.amqp
    }

    fn shell(&self) -> MutexGuard<'_, Option<Shell>> {
        self.0.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `settings` are lines of its rabbitmq.conf.
    fn boot(settings: &str) -> Self {
        let mut problem = String::new();
        // Another process may take a port between our finding it free and the node's binding it.
        for _ in 0..3 {
            let [amqp, distribution, epmd] = free_ports();
            let node = Node::prepare(settings, [amqp, distribution], Arc::new(Epmd::start(epmd)));
            match node.launch() {
                Ok(shell) => {
                    *node.shell.lock().unwrap_or_else(PoisonError::into_inner) = Some(shell);
                    return Self(Arc::new(node));
                }
                Err(why) => problem = why,
            }
        }
        panic!("{problem}")
    }
}
