//! The message log with RabbitMQ: what real programs write into it.

use postern_config::{Config, ProviderRegistry};
use postern_service::message_log::{MessageLog, OpenLog, open};
use postern_shared::{
    event::{Event, EventKind},
    message::{Identity, MessageId},
};
use postern_tests::{Answer, Launch, Pair, Program, Provider, Rabbit, SmallDisk, Vhost, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

const NUMBER: &str = "+15550002222";
/// A webhook secret of 32 bytes.
const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const KEY: &str = "a-key-for-the-clinics-application";

/// A pair with a message log, a provider that reports deliveries by its own id, and a webhook.
struct Logged {
    provider: Provider,
    application: Provider,
    vhost: Vhost,
    /// The folder of the log.
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl Logged {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let logged = Self::at(folder.path()).await;
        Self { _temporary: Some(folder), ..logged }
    }

    async fn at(folder: &Path) -> Self {
        let (provider, application) = (Provider::start().await, Provider::obliging().await);
        let (vhost, folder) = (Rabbit::shared().vhost(), folder.to_owned());
        Self { provider, application, vhost, folder, _temporary: None }
    }

    fn config(&self) -> String {
        self.vhost.config(&format!(
            "[log]\nurl = \"sqlite:{}\"\n[retry]\ndelays = [\"500ms\"]\n\
             [[api.keys]]\nname = \"clinic-app\"\nkey = \"{KEY}\"\nbackends = [\"*\"]\n\
             [application]\ntype = \"webhook\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\n\
             [backends.clinic]\ntype = \"http\"\n\
             [backends.clinic.send]\nurl = \"{}\"\nexternal_id = \"/id\"\n\
             form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n\
             [backends.clinic.status]\nparams = {{ external_id = \"sid\", state = \"status\" }}\n\
             states = {{ DELIVRD = \"delivered\" }}\n",
            self.folder.display(),
            self.application.url("/hook"),
            self.provider.url("/send"),
        ))
    }

    async fn log(&self) -> OpenLog {
        let config = Config::parse("test", Some(&self.config()), [], &ProviderRegistry::builtin()).unwrap();
        open(&config, None).await.unwrap().unwrap()
    }
}

async fn send(ingress: &Program, text: &str) -> MessageId {
    let body = json!({"backend": "clinic", "to": NUMBER, "text": text, "context": {"order": 17}});
    let request = ingress.request(Method::POST, "/v1/messages").bearer_auth(KEY).json(&body);
    let reply = ingress.fetch(request).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    reply.json()["id"].as_str().unwrap().parse().unwrap()
}

/// The message's events, once `last` is among them.
async fn history(log: &Arc<dyn MessageLog>, id: MessageId, last: EventKind) -> Vec<Event> {
    eventually("the message's history", async || {
        let message = log.message(id).await.map_err(|error| error.to_string())?;
        let events = message.map(|message| message.events).unwrap_or_default();
        let is_there = events.iter().any(|event| event.event == last);
        if is_there { Ok(events) } else { Err(format!("{:?}", kinds(&events))) }
    })
    .await
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.event.as_str()).collect()
}

/// The states of the message's recipients in the log, as JSON.
async fn state(log: &Arc<dyn MessageLog>, id: MessageId) -> Value {
    let message = log.message(id).await.unwrap().unwrap();
    json!(message.recipients.iter().map(|recipient| &recipient.state).collect::<Vec<_>>())
}

#[tokio::test]
async fn the_log_tells_each_messages_history_in_order() {
    let logged = Logged::new().await;
    let config = logged.config();
    let (ingress, dispatcher) = Pair::services(&config).await;
    let (OpenLog { log, .. }, tap) = (logged.log().await, logged.vhost.tap().await);

    // A person's message reaches the webhook.
    let form = [("identity", NUMBER), ("text", "ping")];
    assert_eq!(ingress.post_form("/backends/clinic", &form).await.status, 200);
    let inbound = logged.application.take().await.json()["id"].as_str().unwrap().parse().unwrap();
    let events = history(&log, inbound, EventKind::Forwarded).await;
    assert_eq!(kinds(&events), ["received", "forwarded"]);
    assert_eq!((events[1].http_status, events[1].attempt), (Some(200), Some(1)));
    let message = log.message(inbound).await.unwrap().unwrap();
    assert_eq!((message.text.as_deref(), state(&log, inbound).await), (Some("ping"), json!(["forwarded"])));

    // An application's message fails once, is sent, and is reported by the provider's id.
    let sent = Answer::json(200, &json!({"id": "SM1"}));
    logged.provider.script([Answer::status(503), sent]);
    let id = send(&ingress, "pong").await;
    history(&log, id, EventKind::Sent).await;
    let reported = [("sid", "SM1"), ("status", "DELIVRD")];
    assert_eq!(ingress.post_form("/backends/clinic/status", &reported).await.status, 200);
    let delivered = loop {
        let report = logged.application.take().await.json();
        if report["recipients"][0]["state"] == "delivered" {
            break report;
        }
    };
    assert_eq!(delivered["message_id"], json!(id), "the log knows whose it is");
    assert_eq!(delivered["recipients"][0]["identity"], NUMBER);
    let events = history(&log, id, EventKind::Delivered).await;
    assert_eq!(kinds(&events), ["accepted", "deferred", "sent", "delivered"]);
    let [accepted, deferred, sent, delivered] = &events[..] else { panic!("{events:?}") };
    assert_eq!(accepted.by.as_deref(), Some("clinic-app"));
    assert_eq!((deferred.attempt, deferred.code.as_deref()), (Some(1), Some("http_503")));
    assert_eq!((deferred.http_status, deferred.duration_ms.is_some()), (Some(503), true));
    assert_eq!((sent.attempt, sent.http_status), (Some(2), Some(200)));
    assert_eq!(sent.external_id.as_deref(), Some("SM1"));
    assert_eq!((delivered.attempt, delivered.external_id.as_deref()), (None, Some("SM1")));
    let message = log.message(id).await.unwrap().unwrap();
    assert_eq!((message.text.as_deref(), message.segments), (Some("pong"), Some(1)));
    assert_eq!(json!(message.fields), json!({"order": 17}));
    assert_eq!(state(&log, id).await, json!(["delivered"]));

    // Another message is dead-lettered, and an operator redrives it.
    logged.provider.script([Answer::status(400), Answer::json(200, &json!({"id": "SM2"}))]);
    let id = send(&ingress, "dead").await;
    let events = history(&log, id, EventKind::Dead).await;
    assert_eq!(kinds(&events), ["accepted", "failed", "dead"]);
    assert_eq!(state(&log, id).await, json!(["failed"]));
    let redrive = Launch::gateway().config(&config).arg("dead").arg("redrive").arg(&id.to_string());
    let ended = redrive.env("USER", "ann").run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let events = history(&log, id, EventKind::Sent).await;
    assert_eq!(kinds(&events), ["accepted", "failed", "dead", "redriven", "sent"]);
    assert!(events[3].by.as_deref().is_some_and(|by| by.contains('@')), "{:?}", events[3].by);
    assert_eq!(events[3].identity.as_ref().map(Identity::as_str), Some(NUMBER));
    assert_eq!(state(&log, id).await, json!(["sent"]));

    // Retries use no exchange that the log's queue is bound to, and the queue ends empty.
    tap.depth_becomes("postern.log", 0).await;
    let metrics = dispatcher.metrics().await;
    assert_eq!(metrics.value("postern_log_failures_total", &[]), 0.0);
    tokio::join!(ingress.ends_silent(&[NUMBER, "pong"]), dispatcher.ends_silent(&[NUMBER, "pong"]));
}

#[tokio::test]
async fn while_the_log_takes_nothing_all_goes_on_and_afterwards_all_is_there() {
    let logged = Logged::new().await;
    logged.provider.otherwise(|_| Answer::json(200, &json!({"id": "SM1"})));
    let (ingress, dispatcher) = Pair::services(&logged.config()).await;
    let OpenLog { log, .. } = logged.log().await;
    let before = send(&ingress, "before").await;
    history(&log, before, EventKind::Sent).await;

    let file = logged.folder.join("message-log.sqlite");
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(send(&ingress, &format!("meanwhile {number}")).await);
    }
    logged.provider.wait_for(21).await;
    dispatcher.metric_reaches("postern_log_failures_total", &[], 1.0).await;
    let ready = dispatcher.ready().await.unwrap();
    assert_eq!(ready.status, 200, "{}", ready.text);
    assert!(ready.text.contains("message log unavailable"), "{}", ready.text);
    assert_eq!(log.message(ids[0]).await.unwrap(), None);

    // A dispatcher that is killed with an unfinished batch loses none of it.
    drop(dispatcher.kill());
    other.execute_batch("ROLLBACK").unwrap();
    let dispatcher = Launch::dispatcher(&logged.config()).arg("--only-log").start().await;
    for id in ids {
        let events = history(&log, id, EventKind::Sent).await;
        assert_eq!(kinds(&events), ["accepted", "sent"]);
    }
    dispatcher.metric_reaches("postern_log_events_total", &[], 40.0).await;
    assert!(!dispatcher.ready().await.unwrap().text.contains("message log unavailable"));
}

#[tokio::test]
async fn an_event_that_the_log_does_not_accept_holds_up_no_other() {
    let logged = Logged::new().await;
    let ids = ["SM1", "refused", "SM2"];
    logged.provider.script(ids.map(|id| Answer::json(200, &json!({"id": id}))));
    let (ingress, dispatcher) = Pair::services(&logged.config()).await;
    let OpenLog { log, .. } = logged.log().await;
    let before = send(&ingress, "before").await;
    history(&log, before, EventKind::Sent).await;

    let tables = rusqlite::Connection::open(logged.folder.join("message-log.sqlite")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.external_id = 'refused' \
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    tables.execute_batch(refuse).unwrap();
    let refused = send(&ingress, "refused").await;
    dispatcher.metric_reaches("postern_log_failures_total", &[], 2.0).await;
    let after = send(&ingress, "after").await;
    assert_eq!(kinds(&history(&log, after, EventKind::Sent).await), ["accepted", "sent"]);
    assert_eq!(kinds(&history(&log, refused, EventKind::Accepted).await), ["accepted"]);
    assert!(!dispatcher.ready().await.unwrap().text.contains("message log unavailable"));
    logged.vhost.tap().await.depth_becomes("postern.log", 0).await;
}

#[tokio::test]
async fn on_a_full_disk_the_log_waits_and_nothing_else_does() {
    let disk = SmallDisk::mount(8).expect("a disk of its own, which only root may mount");
    let logged = Logged::at(disk.path()).await;
    logged.provider.otherwise(|_| Answer::json(200, &json!({"id": "SM1"})));
    let (ingress, dispatcher) = Pair::services(&logged.config()).await;
    let OpenLog { log, .. } = logged.log().await;
    let mut ids = vec![send(&ingress, "before").await];
    history(&log, ids[0], EventKind::Sent).await;

    disk.fill();
    // The free space inside the log's own file is used up first.
    while dispatcher.metrics().await.value("postern_log_failures_total", &[]) == 0.0 {
        ids.push(send(&ingress, &"meanwhile ".repeat(100)).await);
        assert!(ids.len() < 5_000, "the disk never refused");
    }
    let before = ids.len();
    for number in 0..20 {
        ids.push(send(&ingress, &format!("meanwhile {number}")).await);
    }
    let last = ids[before + 19];
    logged.provider.wait_for(before + 20).await;
    assert_eq!(log.message(last).await.unwrap(), None);
    assert_eq!(dispatcher.ready().await.unwrap().status, 200);

    disk.clear();
    for id in &ids {
        let events = history(&log, *id, EventKind::Sent).await;
        assert_eq!(kinds(&events), ["accepted", "sent"]);
    }
    // The process that could not write them does it now.
    dispatcher.metric_reaches("postern_log_events_total", &[], 2.0 * ids.len() as f64).await;
    assert!(!dispatcher.ready().await.unwrap().text.contains("message log unavailable"));
}

#[tokio::test]
async fn a_log_is_switched_on_and_off_on_a_node_that_is_in_use() {
    let logged = Logged::new().await;
    logged.provider.otherwise(|_| Answer::json(200, &json!({"id": "SM1"})));
    let without = logged.config().replace("[log]\nurl", "[log]\nmessages = false\nurl");
    let off = Launch::dispatcher(&without).start().await;
    let ready = off.ready().await.unwrap().text;
    assert!(!ready.contains("postern.log"), "{ready}");
    off.terminate().await;

    let (ingress, dispatcher) = Pair::services(&logged.config()).await;
    let OpenLog { log, .. } = logged.log().await;
    let id = send(&ingress, "pong").await;
    assert_eq!(kinds(&history(&log, id, EventKind::Sent).await), ["accepted", "sent"]);
    tokio::join!(ingress.terminate(), dispatcher.terminate());

    let off = Launch::dispatcher(&without).start().await;
    eventually("a remark", async || {
        let ready = off.ready().await.map_err(|error| error.to_string())?.text;
        if ready.contains("queue postern.log was made for a message log") { Ok(()) } else { Err(ready) }
    })
    .await;
}
