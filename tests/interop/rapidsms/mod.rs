//! RapidSMS: Postern hands it what people send, and its own backends for Kannel and Vumi send
//! through Postern's doors.

use crate::{
    kannel::{Kannel, delivery},
    python,
};
use postern_tests::{
    Answer, Folder, Launch, Pair, Peer, Provider, Rabbit, Reply, eventually, fetch, free_port, http_client,
};
use serde_json::{Value, json};

const NUMBER: &str = "+15551234567";

/// The project in this folder, served as RapidSMS's documentation begins.
struct RapidSms {
    // Dropped before its folder.
    server: Peer,
    _folder: Folder,
    port: u16,
}

impl RapidSms {
    /// One whose backends send through the gateway at `gateway`.
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

    /// Sends to several through one of its backends.
    async fn broadcasts(&self, backend: &str, to: &[&str], text: &str) {
        let mut query: Vec<_> = to.iter().map(|to| ("to", *to)).collect();
        query.push(("text", text));
        self.get(&format!("/test/broadcast/{backend}/"), &query).await;
    }

    /// Waits until it has stored `count` delivery reports that say delivered, and answers all.
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

/// A gateway between RapidSMS and providers.
const CONFIG: &str = r#"
[ingress]
public_url = "PUBLIC"
[application]
type = "webhook"
format = "form"
url = "WEBHOOK"

[doors.callbacks]
allow = ["127.0.0.1"]
[doors.kannel]
[[doors.kannel.users]]
username = "rapidsms"
password = "hush-hush"
backend = "kannel"
[doors.vumi]
[[doors.vumi.users]]
username = "rapidsms"
password = "hush-hush"
backend = "vumi"

[backends.kannel]
type = "kannel"
[backends.kannel.settings]
sendsms_url = "PROVIDER"
sendsms_params = { username = "tester", password = "hush" }
[backends.vumi]
type = "vumi"
[backends.vumi.settings]
sendsms_url = "PROVIDER"
"#;

/// Postern with RapidSMS behind it, whose view for messages is at `view`, and the provider that
/// `make` makes of the ingress's address: its own, and where it takes messages.
async fn around<T>(view: &str, make: impl AsyncFnOnce(String) -> (T, String)) -> (Pair, RapidSms, T) {
    let vhost = Rabbit::shared().vhost();
    let config = |webhook: &str, provider: &str, public: &str| {
        vhost.config(
            &CONFIG.replace("WEBHOOK", webhook).replace("PROVIDER", provider).replace("PUBLIC", public),
        )
    };
    let nowhere = "http://127.0.0.1:9";
    let ingress = Launch::ingress(&config(nowhere, nowhere, nowhere)).start().await;
    let url = ingress.url();
    let ((provider, takes), rapidsms) = tokio::join!(make(ingress.url()), RapidSms::start(&url));
    let dispatcher = Launch::dispatcher(&config(&rapidsms.url(view), &takes, &url)).start().await;
    let tap = vhost.tap().await;
    (Pair { ingress, dispatcher, tap, vhost }, rapidsms, provider)
}

const TEXTS: [&str; 3] = ["hello", "café", "all well 😀"];

#[tokio::test]
async fn a_text_goes_through_kannel_to_rapidsms_and_its_answer_back_and_its_report_to_rapidsms() {
    let (pair, rapidsms, mut kannel) = around("/backend/kannel/", async |ingress| {
        let mut kannel = Kannel::start(&ingress, "").await;
        kannel.connect().await;
        let takes = kannel.sendsms_url();
        (kannel, takes)
    })
    .await;
    for text in TEXTS {
        kannel.types(NUMBER, "text", &format!("echo {text}"));
        assert_eq!(kannel.delivers(1).await, [delivery("2000", NUMBER, text)]);
    }
    let (both, many) = (["+15550001", "+15550002"], "to both: é 😀");
    rapidsms.broadcasts("kannel", &both, many).await;
    let mut delivered = kannel.delivers(2).await;
    delivered.sort();
    assert_eq!(delivered, both.map(|number| delivery("2000", number, many)));
    for report in rapidsms.reports(TEXTS.len() + both.len()).await {
        // RapidSMS takes neither an empty text nor a date that is none.
        assert_ne!(report["status_text"], "");
        let date: jiff::Timestamp = report["date_sent"].as_str().unwrap().parse().unwrap();
        assert!((jiff::Timestamp::now().as_second() - date.as_second()).abs() < 3600, "{report}");
        assert_eq!(report["smsc"], "kannel");
        let (to, status) = (report["identity"].as_str().unwrap(), report["status"].as_u64().unwrap());
        assert!(to == NUMBER || both.contains(&to), "{report}");
        assert!([1, 8].contains(&status), "{report}");
    }
    kannel.delivered_no_more().await;
    pair.tap.depth_becomes("postern.dead", 0).await;
    pair.assert_silent(&[NUMBER, "café", "all well", "hush"]);
}

#[tokio::test]
async fn a_text_goes_through_vumi_to_rapidsms_and_its_answer_back() {
    let (pair, rapidsms, vumi) = around("/backend/vumi/", async |_| {
        let vumi = Provider::start().await;
        vumi.otherwise(|_| Answer::json(200, &json!({"message_id": "v1"})));
        let takes = vumi.url("/messages.json");
        (vumi, takes)
    })
    .await;
    for (at, text) in TEXTS.iter().enumerate() {
        let message = json!({"message_id": format!("m{at}"), "from_addr": NUMBER, "to_addr": "2000",
            "transport_name": "t", "transport_type": "sms", "content": format!("echo {text}")});
        let reply = pair.ingress.post_json("/backends/vumi", &message).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""));
        let asked = vumi.take().await.json();
        assert_eq!((&asked["content"], &asked["to_addr"]), (&json!(text), &json!([NUMBER])));
    }
    rapidsms.broadcasts("vumi", &["+15550001", "+15550002"], "to both: é 😀").await;
    let asked = vumi.take().await.json();
    assert_eq!(
        (&asked["content"], &asked["to_addr"]),
        (&json!("to both: é 😀"), &json!(["+15550001", "+15550002"]))
    );
    pair.tap.depth_becomes("postern.dead", 0).await;
    assert_eq!(vumi.requests().len(), 0);
    pair.assert_silent(&[NUMBER, "café", "all well", "hush"]);
}
