//! RapidSMS: Postern passes people's messages to it, and its own backends for Kannel and Vumi send through
//! Postern's compatibility listeners.

use crate::{
    kannel::{Kannel, delivery},
    python,
};
use postern_tests::{
    Answer, Folder, Launch, Pair, Peer, Provider, Rabbit, Reply, eventually, fetch, free_port, http_client,
};
use serde_json::{Value, json};

const NUMBER: &str = "+15551234567";

/// The project in this folder, served as at the beginning of RapidSMS's documentation.
struct RapidSms {
    // Dropped before its folder.
    server: Peer,
    _folder: Folder,
    port: u16,
}

impl RapidSms {
    /// Starts a RapidSMS whose backends send through the gateway at `gateway`.
    async fn start(gateway: &str) -> Self {
        for _ in 0..5 {
            let (folder, port) = (Folder::new(), free_port());
            let mut command = python::script("rapidsms/serve.py");
            command.arg(port.to_string()).current_dir(folder.path());
            command.env("GATEWAY", gateway).env("OWN", format!("http://127.0.0.1:{port}"));
            let database = folder.path().join("database");
            let mut server = Peer::start("RapidSMS", command.env("DATABASE", database));
            if server.listens(port).await {
                return Self { server, _folder: folder, port };
            }
            let log = server.log().text();
            assert!(log.contains("already in use"), "RapidSMS ended: {log}");
        }
        panic!("RapidSMS found no free port five times")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Reply {
        let reply = fetch(http_client().get(self.url(path)).query(query)).await.unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", self.server.log().text());
        reply
    }

    /// Sends to several recipients through one of its backends.
    async fn broadcasts(&self, backend: &str, to: &[&str], text: &str) {
        let mut query: Vec<_> = to.iter().map(|to| ("to", *to)).collect();
        query.push(("text", text));
        self.get(&format!("/test/broadcast/{backend}/"), &query).await;
    }

    /// Waits until it has stored `count` delivery reports with the state delivered, and returns them.
    async fn reports(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} reports at RapidSMS"), async || {
            let all: Vec<Value> =
                serde_json::from_value(self.get("/test/reports/", &[]).await.json()).unwrap();
            let delivered = all.iter().filter(|report| report["status"] == 1).count();
            if delivered >= count { Ok(all) } else { Err(json!(all)) }
        })
        .await
    }
}

/// The configuration of a gateway between RapidSMS and providers.
const CONFIG: &str = r#"
[ingress]
public_url = "PUBLIC"
[api]
listen = "127.0.0.1:0"
[application]
type = "webhook"
format = "form"
url = "WEBHOOK"

[compat.callbacks]
allow = ["127.0.0.1"]
[compat.kannel]
[[compat.kannel.users]]
username = "rapidsms"
password = "hush-hush"
backend = "kannel"
[compat.vumi]
[[compat.vumi.users]]
username = "rapidsms"
password = "hush-hush"
backend = "vumi"

[backends.kannel]
type = "kannel"
[backends.kannel.settings]
sendsms_url = "KANNEL"
sendsms_params = { username = "tester", password = "hush" }
[backends.vumi]
type = "vumi"
[backends.vumi.settings]
sendsms_url = "VUMI"
"#;

/// Postern between RapidSMS and both a Kannel and a Vumi. What comes in goes to RapidSMS's backend of the same
/// name.
struct Around {
    pair: Pair,
    rapidsms: RapidSms,
    kannel: Kannel,
    vumi: Provider,
}

impl Around {
    async fn start() -> Self {
        let vhost = Rabbit::shared().vhost();
        let vumi = Provider::start().await;
        vumi.otherwise(|_| Answer::json(200, &json!({"message_id": "v1"})));
        let config = |webhook: &str, kannel: &str, public: &str| {
            let config = CONFIG.replace("WEBHOOK", webhook).replace("KANNEL", kannel);
            vhost.config(&config.replace("VUMI", &vumi.url("/messages.json")).replace("PUBLIC", public))
        };
        let nowhere = "http://127.0.0.1:9";
        let ingress = Launch::ingress(&config(nowhere, nowhere, nowhere)).start().await;
        let url = ingress.url();
        let (mut kannel, rapidsms) = tokio::join!(Kannel::start(&url, ""), RapidSms::start(&url));
        kannel.connect().await;
        let config = config(&rapidsms.url("/backend/{{ backend }}/"), &kannel.sendsms_url(), &url);
        let dispatcher = Launch::dispatcher(&config).start().await;
        let tap = vhost.tap().await;
        Self { pair: Pair { ingress, dispatcher, tap, vhost }, rapidsms, kannel, vumi }
    }

    /// Brings a person's message `text` through Vumi.
    async fn vumi_brings(&self, id: &str, text: &str) {
        let message = json!({"message_id": id, "from_addr": NUMBER, "to_addr": "2000",
            "transport_name": "t", "transport_type": "sms", "content": text});
        let reply = self.pair.ingress.post_json("/backends/vumi", &message).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    }

    /// The text and recipient of the next message that is sent to Vumi.
    async fn vumi_takes(&self) -> (Value, Value) {
        let asked = self.vumi.take().await.json();
        (asked["content"].clone(), asked["to_addr"].clone())
    }

    /// Checks that nothing was given up, sent twice or logged.
    async fn ends(mut self) {
        self.kannel.delivered_no_more().await;
        self.pair.tap.depth_becomes("postern.dead", 0).await;
        assert_eq!(self.vumi.requests().len(), 0);
        self.pair.ends_silent(&[NUMBER, "café", "all well", "hush"]).await;
    }
}

const TEXTS: [&str; 3] = ["hello", "café", "all well 😀"];

#[tokio::test]
async fn a_text_goes_through_kannel_to_rapidsms_and_its_answer_back_and_its_report_to_rapidsms() {
    let mut around = Around::start().await;
    for text in TEXTS {
        around.kannel.types(NUMBER, "text", &format!("echo {text}"));
        assert_eq!(around.kannel.delivers(1).await, [delivery("2000", NUMBER, text)]);
    }
    let (both, many) = (["+15550001", "+15550002"], "to both: é 😀");
    around.rapidsms.broadcasts("kannel", &both, many).await;
    let mut delivered = around.kannel.delivers(2).await;
    delivered.sort();
    assert_eq!(delivered, both.map(|number| delivery("2000", number, many)));
    for report in around.rapidsms.reports(TEXTS.len() + both.len()).await {
        // RapidSMS accepts neither an empty text nor an invalid date.
        assert_ne!(report["status_text"], "");
        let date: jiff::Timestamp = report["date_sent"].as_str().unwrap().parse().unwrap();
        assert!((jiff::Timestamp::now().as_second() - date.as_second()).abs() < 3600, "{report}");
        assert_eq!(report["smsc"], "kannel");
        let (to, status) = (report["identity"].as_str().unwrap(), report["status"].as_u64().unwrap());
        assert!(to == NUMBER || both.contains(&to), "{report}");
        assert!([1, 8].contains(&status), "{report}");
    }
    around.ends().await;
}

#[tokio::test]
async fn a_text_goes_through_vumi_to_rapidsms_and_its_answer_back() {
    let around = Around::start().await;
    for (at, text) in TEXTS.iter().enumerate() {
        around.vumi_brings(&format!("m{at}"), &format!("echo {text}")).await;
        assert_eq!(around.vumi_takes().await, (json!(text), json!([NUMBER])));
    }
    around.rapidsms.broadcasts("vumi", &["+15550001", "+15550002"], "to both: é 😀").await;
    assert_eq!(around.vumi_takes().await, (json!("to both: é 😀"), json!(["+15550001", "+15550002"])));
    around.ends().await;
}

/// Each RapidSMS backend gets what came through the Postern backend of the same name, and answers through it.
#[tokio::test]
async fn one_rapidsms_has_both_backends_on_one_pair() {
    let mut around = Around::start().await;
    for (at, text) in TEXTS.iter().enumerate() {
        let (by_kannel, by_vumi) = (format!("{text}, by Kannel"), format!("{text}, by Vumi"));
        around.kannel.types(NUMBER, "text", &format!("echo {by_kannel}"));
        around.vumi_brings(&format!("m{at}"), &format!("echo {by_vumi}")).await;
        assert_eq!(around.kannel.delivers(1).await, [delivery("2000", NUMBER, &by_kannel)]);
        assert_eq!(around.vumi_takes().await, (json!(by_vumi), json!([NUMBER])));
    }
    around.ends().await;
}
