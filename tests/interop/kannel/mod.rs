//! Kannel 1.4: `bearerbox`, `smsbox`, and `fakesmsc` as the telephone network.

mod receive;
mod send;

use postern_tests::{Folder, Launch, Pair, Peer, Rabbit, eventually, free_ports};
use std::{path::Path, process::Command};

/// The path of `fakesmsc` in Debian's package kannel-extras.
const FAKESMSC: &str = "/usr/lib/kannel/test/fakesmsc";

/// A Kannel with one connection to a telephone network, `fakesmsc`.
pub(crate) struct Kannel {
    // Dropped in this order: the network first, the box before the gateway.
    network: Option<Peer>,
    smsbox: Peer,
    bearerbox: Peer,
    folder: Folder,
    network_port: u16,
    sendsms_port: u16,
    seen: usize,
}

/// A message that a telephone got: sender, recipient, and the text as fakesmsc writes it.
pub(crate) type Delivered = (String, String, String);

impl Kannel {
    /// Starts a Kannel that passes messages to the backend `kannel` of the ingress at `url`, as
    /// `shared/providers/kannel.toml` says. `more` is the end of its group `smsbox`.
    pub(crate) async fn start(url: &str, more: &str) -> Self {
        for _ in 0..5 {
            if let Some(kannel) = Self::try_start(url, more).await {
                return kannel;
            }
        }
        panic!("Kannel found no free ports five times")
    }

    async fn try_start(url: &str, more: &str) -> Option<Self> {
        let folder = Folder::new();
        let [admin, boxes, network_port, sendsms_port] = free_ports();
        folder.write("kannel.conf", &configuration(url, [admin, boxes, network_port, sendsms_port], more));
        let boxed = |name: &str| {
            Peer::start(name, Command::new(name).args(["-v", "1", "kannel.conf"]).current_dir(folder.path()))
        };
        let mut bearerbox = boxed("/usr/sbin/bearerbox");
        if !bearerbox.listens(boxes).await {
            return None;
        }
        bearerbox.log().wait_for("Start-up done").await;
        let mut smsbox = boxed("/usr/sbin/smsbox");
        if !smsbox.listens(sendsms_port).await {
            return None;
        }
        smsbox.log().wait_for("Connected to bearerbox").await;
        // Kannel continues without some of its ports.
        if [&bearerbox, &smsbox].iter().any(|boxed| boxed.log().text().contains("bind failed")) {
            return None;
        }
        Some(Self { network: None, smsbox, bearerbox, folder, network_port, sendsms_port, seen: 0 })
    }

    /// Connects the telephone network.
    pub(crate) async fn connect(&mut self) {
        assert!(Path::new(FAKESMSC).exists(), "{FAKESMSC} is in Debian's package kannel-extras");
        let connected = |log: &str| log.matches("Fakesmsc client connected").count();
        let before = connected(&self.bearerbox.log().text());
        let port = self.network_port.to_string();
        let mut command = Command::new(FAKESMSC);
        command.args(["-H", "127.0.0.1", "-r", &port]).current_dir(self.folder.path());
        self.network = Some(Peer::start("fakesmsc", &mut command));
        eventually("bearerbox to see fakesmsc", async || {
            let log = self.bearerbox.log().text();
            if connected(&log) > before { Ok(()) } else { Err("it does not") }
        })
        .await;
        self.seen = 0;
    }

    fn network(&mut self) -> &mut Peer {
        self.network.as_mut().expect("the network is connected")
    }

    /// Sends a message from a telephone; `kind` says how the network encodes the text (`text`, `ucs2`, `data`).
    pub(crate) fn types(&mut self, from: &str, kind: &str, text: &str) {
        // fakesmsc reads lines of 255 bytes.
        let line = format!("{from} 1000 {kind} {text}");
        assert!(line.len() < 255, "{line}");
        self.network().types(&line);
    }

    /// The next `count` messages that telephones got.
    pub(crate) async fn delivers(&mut self, count: usize) -> Vec<Delivered> {
        let wanted = self.seen + count;
        let log = self.network().log().clone();
        let all = eventually(&format!("{wanted} messages at fakesmsc"), async || {
            let all = delivered(&log.lines());
            if all.len() >= wanted { Ok(all) } else { Err(all.len()) }
        })
        .await;
        self.seen = wanted;
        all[wanted - count..wanted].to_vec()
    }

    /// Checks that telephones got no more messages than [`delivers`](Self::delivers) has returned: sends a
    /// further one through Kannel, which must be the next.
    pub(crate) async fn delivered_no_more(&mut self) {
        let reply = self.sendsms(&[("to", "1999"), ("text", "the end")]).await;
        assert_eq!(reply.0, 202, "{}", reply.1);
        assert_eq!(self.delivers(1).await, [delivery("13013", "1999", "the end")]);
    }

    pub(crate) fn sendsms_url(&self) -> String {
        format!("http://127.0.0.1:{}/cgi-bin/sendsms", self.sendsms_port)
    }

    /// Kannel's answer to a request of its user.
    async fn sendsms(&self, parameters: &[(&str, &str)]) -> (u16, String) {
        let query = [("username", "tester"), ("password", "hush")]
            .into_iter()
            .filter(|(name, _)| parameters.iter().all(|(given, _)| given != name));
        let query: Vec<_> = query.chain(parameters.iter().copied()).collect();
        let request = postern_tests::http_client().get(self.sendsms_url()).query(&query);
        let reply = postern_tests::fetch(request).await.unwrap();
        (reply.status, reply.text)
    }
}

fn configuration(url: &str, [admin, boxes, network, sendsms]: [u16; 4], more: &str) -> String {
    format!(
        r#"group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = hush
smsbox-port = {boxes}
smsbox-interface = 127.0.0.1
sms-resend-freq = 1
sms-outgoing-queue-limit = 50

group = smsc
smsc = fake
smsc-id = net
port = {network}
connect-allow-ip = 127.0.0.1
denied-prefix = 99

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {boxes}
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
global-sender = 13013
http-request-retry = 60
http-queue-delay = 1
{more}

group = sendsms-user
username = tester
password = hush
max-messages = 10
concatenation = true

group = sms-service
keyword = default
denied-prefix = "+1666"
get-url = "{url}/backends/kannel?id=%p&text=%b&charset=%C&coding=%c&external_id=%I"
catch-all = true
max-messages = 0

group = sms-service
keyword = default
allowed-prefix = "+1666"
post-url = "{url}/backends/kannel?id=%p&charset=%C&coding=%c&external_id=%I"
catch-all = true
max-messages = 0
"#
    )
}

pub(crate) fn delivery(from: &str, to: &str, text: &str) -> Delivered {
    (from.to_owned(), to.to_owned(), text.to_owned())
}

/// Reads the lines `… Got message 7: <from to text the words>`, with `ucs-2` and `data` urlencoded. For a part
/// of a long text, `udh` and the header precede `data`, and the text is left unchanged.
fn delivered(log: &[String]) -> Vec<Delivered> {
    let messages = log.iter().filter_map(|line| line.split_once("Got message ")?.1.split_once(": <"));
    messages
        .map(|(_, message)| {
            let message = message.strip_suffix('>').unwrap_or(message);
            let mut words = message.splitn(4, ' ');
            let [from, to, kind, rest] = [(); 4].map(|()| words.next().unwrap_or_default());
            let text = match kind {
                "text" => rest.to_owned(),
                "ucs-2" => utf16(&urldecoded(rest)),
                _ => format!("{kind} {rest}"),
            };
            delivery(from, to, &text)
        })
        .collect()
}

fn urldecoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).collect()
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
    String::from_utf16(&units).unwrap()
}

/// The application's API key.
const KEY: &str = "hush-key-of-the-application";

/// Three backends with one Kannel; messages are received through the first.
const CONFIG: &str = r#"
[ingress]
public_url = "PUBLIC"
[[api.keys]]
name = "app"
key = "KEY"
backends = ["*"]
[retry]
delays = []

[backends.kannel]
type = "kannel"
[backends.kannel.settings]
sendsms_url = "KANNEL"
sendsms_params = { username = "tester", password = "hush" }

# As for a Kannel without iconv.
[backends.bare]
type = "kannel"
[backends.bare.settings]
sendsms_url = "KANNEL"
sendsms_params = { username = "tester", password = "hush", from = "2000" }
charset = ""

[backends.mistyped]
type = "kannel"
[backends.mistyped.settings]
sendsms_url = "KANNEL"
sendsms_params = { username = "tester", password = "mistyped" }
"#;

/// An ingress and a dispatcher with a Kannel that knows the ingress. `more` is the end of its group `smsbox`.
/// The network is not connected yet.
async fn around_kannel(more: &str) -> (Pair, Kannel) {
    let vhost = Rabbit::shared().vhost();
    let config = |kannel: &str, public: &str| {
        vhost.config(&CONFIG.replace("KANNEL", kannel).replace("PUBLIC", public).replace("KEY", KEY))
    };
    let nowhere = "http://127.0.0.1:9";
    let ingress = Launch::ingress(&config(nowhere, nowhere)).start().await;
    let kannel = Kannel::start(&ingress.url(), more).await;
    let dispatcher = Launch::dispatcher(&config(&kannel.sendsms_url(), &ingress.url())).start().await;
    let tap = vhost.tap().await;
    (Pair { ingress, dispatcher, tap, vhost }, kannel)
}
