//! Jasmin 0.11 with its queue, its Redis, and `smsc.py` as the telephone network.

mod console;
mod receive;
mod send;

use crate::python;
use console::Console;
use postern_tests::{Folder, Launch, Pair, Peer, Rabbit, Vhost, eventually, free_ports};
use serde::Deserialize;
use std::process::Command;

/// The application's API key.
const KEY: &str = "hush-key-of-the-application";

/// A Jasmin with one connection to a telephone network.
pub(crate) struct Jasmin {
    // Dropped in this order: Jasmin before the services that it uses.
    jasmind: Peer,
    network: Peer,
    _redis: Peer,
    _vhost: Vhost,
    _folder: Folder,
    http_port: u16,
    seen: usize,
}

/// A message that the telephone network got.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Submitted {
    from: String,
    to: String,
    /// The data coding of SMPP.
    coding: u8,
    /// The octets in hexadecimal digits, including the header if `udh` is true.
    hex: String,
    /// Whether the octets begin with a header, because this is a part of a long text.
    udh: bool,
}

impl Jasmin {
    /// Starts a Jasmin that passes messages to the backend `jasmin` of the ingress at `url`, as
    /// `shared/providers/jasmin.toml` says.
    pub(crate) async fn start(url: &str) -> Self {
        for _ in 0..5 {
            if let Some(jasmin) = Self::try_start(url).await {
                return jasmin;
            }
        }
        panic!("Jasmin found no free ports five times")
    }

    async fn try_start(url: &str) -> Option<Self> {
        let (folder, vhost) = (Folder::new(), Rabbit::shared().vhost());
        let [redis_port, network_port, http_port, console_port, others @ ..]: [u16; 8] = free_ports();
        let ports = [redis_port, http_port, console_port];
        folder.write("jasmin.cfg", &configuration(&vhost, ports, others));
        let mut redis = Command::new("/usr/bin/redis-server");
        redis.args([
            "--port",
            &redis_port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let mut redis = Peer::start("Redis", redis.current_dir(folder.path()));
        let mut network = python::script("jasmin/smsc.py");
        let network = network.arg(network_port.to_string()).current_dir(folder.path());
        let mut network = Peer::start("the SMSC", network);
        if !redis.listens(redis_port).await || !network.listens(network_port).await {
            return None;
        }
        let mut jasmind = python::Environment::Jasmin.script("jasmin/serve.py");
        let mut jasmind = Peer::start("Jasmin", jasmind.arg("jasmin.cfg").current_dir(folder.path()));
        if !jasmind.listens(console_port).await {
            return None;
        }
        jasmind.log().wait_for("jCli Started").await;
        // Jasmin continues without a part that it cannot start.
        if jasmind.log().text().contains("Cannot start") {
            return None;
        }
        Console::at(console_port).await.configures(url, network_port).await;
        network.log().wait_for("bound").await;
        Some(Self { jasmind, network, _redis: redis, _vhost: vhost, _folder: folder, http_port, seen: 0 })
    }

    /// Sends these octets in this data coding from a telephone.
    pub(crate) fn types(&mut self, from: &str, coding: u8, octets: &[u8]) {
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        self.network.types(&format!("{from} 1000 {coding} {hex}"));
    }

    /// The next `count` messages that the network got.
    pub(crate) async fn submits(&mut self, count: usize) -> Vec<Submitted> {
        let wanted = self.seen + count;
        let all = eventually(&format!("{wanted} messages at the SMSC"), async || {
            let lines = self.network.log().lines();
            let all: Vec<Submitted> =
                lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if all.len() >= wanted { Ok(all) } else { Err(all.len()) }
        })
        .await;
        self.seen = wanted;
        all[wanted - count..wanted].to_vec()
    }

    pub(crate) fn send_url(&self) -> String {
        format!("http://127.0.0.1:{}/send", self.http_port)
    }

    /// Jasmin's answer to a request of its user.
    async fn send(&self, parameters: &[(&str, &str)]) -> (u16, String) {
        let own =
            [("username", "postern"), ("password", "hush"), ("to", "+15550001"), ("content", "hi there")];
        let own = own.into_iter().filter(|(name, _)| parameters.iter().all(|(given, _)| given != name));
        let form: Vec<_> = own.chain(parameters.iter().copied()).collect();
        let request = postern_tests::http_client().post(self.send_url()).form(&form);
        let reply = postern_tests::fetch(request).await.unwrap();
        (reply.status, reply.text)
    }

    /// Checks that everything that Jasmin handed over was acknowledged in the form that it expects.
    fn was_acknowledged(&self) {
        let log = self.jasmind.log().text();
        assert!(!log.contains("did not acknowledge") && !log.contains("Throwing"), "{log}");
    }
}

fn configuration(vhost: &Vhost, [redis, http, console]: [u16; 3], others: [u16; 4]) -> String {
    let [smpp, smpp_control, clients, router] = others;
    let (amqp, name) = (vhost.port(), vhost.name());
    format!(
        "[smpp-server]\nbind = 127.0.0.1\nport = {smpp}\n\
         [smpp-server-pb]\nbind = 127.0.0.1\nport = {smpp_control}\n\
         [client-management]\nbind = 127.0.0.1\nport = {clients}\nstore_path = .\n\
         [router]\nbind = 127.0.0.1\nport = {router}\nstore_path = .\n\
         [jcli]\nbind = 127.0.0.1\nport = {console}\nauthentication = False\n\
         [http-api]\nbind = 127.0.0.1\nport = {http}\naccess_log = access.log\n\
         [amqp-broker]\nhost = 127.0.0.1\nport = {amqp}\nvhost = {name}\n\
         [redis-client]\nhost = 127.0.0.1\nport = {redis}\n\
         [dlr]\ndlr_lookup_retry_delay = 1\n\
         [deliversm-thrower]\nlog_file = stdout\nretry_delay = 1\nmax_retries = 100\n\
         [dlr-thrower]\nlog_file = stdout\nretry_delay = 1\nmax_retries = 100\n"
    )
}

/// Two backends with one Jasmin; messages are received through the first.
const CONFIG: &str = r#"
[ingress]
public_url = "PUBLIC"
# What came twice would be seen.
dedupe_window = 0
[[api.keys]]
name = "app"
key = "KEY"
backends = ["*"]
[retry]
delays = []

[backends.jasmin]
type = "jasmin"
[backends.jasmin.settings]
send_url = "JASMIN"
username = "postern"
password = "hush"
from = "1000"

[backends.mistyped]
type = "jasmin"
[backends.mistyped.settings]
send_url = "JASMIN"
username = "postern"
password = "mistyped"
"#;

/// An ingress and a dispatcher with a Jasmin that knows the ingress.
async fn around_jasmin() -> (Pair, Jasmin) {
    let vhost = Rabbit::shared().vhost();
    let config = |jasmin: &str, public: &str| {
        vhost.config(&CONFIG.replace("JASMIN", jasmin).replace("PUBLIC", public).replace("KEY", KEY))
    };
    let nowhere = "http://127.0.0.1:9";
    let ingress = Launch::ingress(&config(nowhere, nowhere)).start().await;
    let jasmin = Jasmin::start(&ingress.url()).await;
    let dispatcher = Launch::dispatcher(&config(&jasmin.send_url(), &ingress.url())).start().await;
    let tap = vhost.tap().await;
    (Pair { ingress, dispatcher, tap, vhost }, jasmin)
}
