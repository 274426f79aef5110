//! What the ingress accepts while the broker accepts nothing: stored on its disk, forwarded later.

use postern_tests::{
    Alarm, Launch, Message, Program, Proxy, Rabbit, Reply, Tap, assert_silent, eventually, free_port,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A backend that receives, sends and has delivery reports.
const BACKEND: &str = "[backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"http://127.0.0.1:9/\"\n\
                       [backends.x.status]\nstates = { ok = \"delivered\" }\n";

fn config(url: &str, ingress: &str) -> String {
    format!("[broker]\nurl = \"{url}\"\n[ingress]\n{ingress}\n{BACKEND}")
}

/// Like [`config`], with a `publish_timeout`.
fn config_with(publish_timeout: &str, url: &str) -> String {
    config(url, "").replace("[ingress]", &format!("publish_timeout = \"{publish_timeout}\"\n[ingress]"))
}

/// An address at which there is no broker.
fn nowhere() -> String {
    format!("amqp://127.0.0.1:{}/", free_port())
}

async fn receive(ingress: &Program, text: &str) -> Reply {
    ingress.post_form("/backends/x", &[("identity", "+15557654321"), ("text", text)]).await
}

/// Posts the messages `numbers`, one after the other, and checks that all are accepted.
async fn receive_all(ingress: &Program, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let reply = receive(ingress, &format!("text {n}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
}

fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("text {n}")).collect()
}

fn text(message: &Message) -> String {
    message.json()["text"].as_str().unwrap_or_default().to_owned()
}

/// Takes from `postern.inbound` until all of `expected` have come. They must come in order; one that comes again
/// must have the same id.
async fn arrive_in_order(tap: &Tap, expected: &[String]) {
    let mut seen: Vec<(String, Value)> = Vec::new();
    while seen.len() < expected.len() {
        let message = tap.take("postern.inbound").await;
        let (text, id) = (text(&message), message.json()["id"].clone());
        match seen.iter().find(|(known, _)| *known == text) {
            Some((_, known)) => assert_eq!(*known, id, "{text} came again as another message"),
            None => seen.push((text, id)),
        }
    }
    let seen: Vec<_> = seen.into_iter().map(|(text, _)| text).collect();
    assert_eq!(seen, expected);
}

async fn ready(program: &Program, status: u16, needle: &str) {
    eventually(&format!("/readyz to answer {status} with {needle:?}"), async || {
        match program.ready().await {
            Ok(reply) if reply.status == status && reply.text.contains(needle) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
}

async fn spool_becomes(program: &Program, messages: f64) {
    program.metric_becomes("postern_spool_messages", &[], messages).await;
}

/// What applications, providers and their delivery reports bring while the broker is stopped is on the disk,
/// survives a kill, and arrives once and in order.
#[tokio::test]
async fn what_is_accepted_while_the_broker_is_away_survives_a_kill_and_arrives_once_in_order() {
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    let launch = Launch::ingress(&config(&vhost.url(), ""));
    let ingress = launch.start_connected().await;
    receive_all(&ingress, 0..1).await;
    rabbit.kill();
    ingress.metric_becomes("postern_broker_connected", &[], 0.0).await;
    receive_all(&ingress, 1..31).await;
    let sent = json!({"backend": "x", "to": "+15557654321", "text": "for sending"});
    assert_eq!(ingress.post_json("/v1/messages", &sent).await.status, 202);
    let report = [("external_id", "e1"), ("state", "ok")];
    assert_eq!(ingress.post_form("/backends/x/status", &report).await.status, 200);
    spool_becomes(&ingress, 32.0).await;
    ready(&ingress, 200, "postern-spool").await;
    ingress.metric_reaches("postern_spool_oldest_seconds", &[], 0.001).await;
    let metrics = ingress.metrics().await;
    assert!(metrics.value("postern_spool_bytes", &[]) > 32.0 * 100.0);
    assert_eq!(metrics.value("postern_spool_stored_total", &[]), 32.0);
    let log = ingress.kill();
    assert_silent(&log.lines(), &["+15557654321", "text 7", "for sending", "guest:guest"]);

    // The next process starts without a broker, is ready, and continues.
    let ingress = launch.start().await;
    spool_becomes(&ingress, 32.0).await;
    receive_all(&ingress, 31..34).await;
    let backends = ingress.get("/v1/backends").await;
    assert!(backends.text.contains("\"spooling\""), "{}", backends.text);
    rabbit.start().await;
    spool_becomes(&ingress, 0.0).await;
    ready(&ingress, 200, "ready").await;
    assert_eq!(ingress.metrics().await.value("postern_spool_forwarded_total", &[]), 35.0);
    let before = ingress.metrics().await.value("postern_spool_stored_total", &[]);
    receive_all(&ingress, 34..36).await;
    assert_eq!(ingress.metrics().await.value("postern_spool_stored_total", &[]), before, "directly again");
    let tap = vhost.tap().await;
    let arrived = tap.take_all("postern.inbound", 36).await;
    assert_eq!(arrived.iter().map(text).collect::<Vec<_>>(), texts(0..36));
    for message in &arrived {
        assert_eq!(message.json()["id"].as_str(), message.message_id.as_deref());
        let ours = message.headers.keys().filter(|name| name.starts_with("x-postern")).count();
        assert_eq!((ours, message.headers.contains_key("traceparent")), (0, true), "{:?}", message.headers);
    }
    assert_eq!(text(&tap.take("postern.outbound.x").await), "for sending");
    assert_eq!(tap.take("postern.reports").await.json()["recipients"][0]["state"], "delivered");
    for queue in ["postern.inbound", "postern.outbound.x", "postern.reports", "postern.dead"] {
        tap.depth_becomes(queue, 0).await;
    }
    assert_eq!(ingress.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_blocked_broker_is_no_reason_to_refuse() {
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    let ingress = Launch::ingress(&config_with("5s", &vhost.url())).start_connected().await;
    receive_all(&ingress, 0..1).await;
    rabbit.alarm(Alarm::Disk, true);
    receive_all(&ingress, 1..2).await;
    ingress.metric_becomes("postern_broker_blocked", &[], 1.0).await;
    ready(&ingress, 200, "blocked").await;
    ingress.log().wait_for("broker blocked, nothing is published").await;
    // The broker is known to be blocked, so nothing waits for it.
    let start = Instant::now();
    receive_all(&ingress, 2..22).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "20 requests took {took:?}, each was to wait for nothing");
    spool_becomes(&ingress, 21.0).await;
    rabbit.alarm(Alarm::Disk, false);
    ingress.log().wait_for("broker unblocked").await;
    spool_becomes(&ingress, 0.0).await;
    receive_all(&ingress, 22..24).await;
    arrive_in_order(&vhost.tap().await, &texts(0..24)).await;
}

/// When the network goes silent, the first request waits for `publish_timeout`, and no later one waits.
#[tokio::test]
async fn a_silent_network_costs_one_timeout() {
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let url = format!("{}?heartbeat=5&connection_timeout=1000", vhost.url_at(proxy.port()));
    let ingress = Launch::ingress(&config_with("5s", &url)).start_connected().await;
    receive_all(&ingress, 0..2).await;
    proxy.freeze();
    receive_all(&ingress, 2..3).await;
    let start = Instant::now();
    receive_all(&ingress, 3..23).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "20 requests took {took:?}: they waited for the broker");
    ready(&ingress, 200, "not connected").await;
    proxy.thaw();
    spool_becomes(&ingress, 0.0).await;
    receive_all(&ingress, 23..25).await;
    arrive_in_order(&vhost.tap().await, &texts(0..25)).await;
}

#[tokio::test]
async fn a_full_spool_is_answered_with_503_and_takes_again_when_it_is_empty() {
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    rabbit.stop().await;
    let ingress = Launch::ingress(&config(&vhost.url(), "spool = { max_messages = 3 }")).start().await;
    receive_all(&ingress, 0..3).await;
    let refused = receive(&ingress, "one too many").await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.header("retry-after").is_some());
    let sent = json!({"backend": "x", "to": "+1", "text": "one too many"});
    assert_eq!(ingress.post_json("/v1/messages", &sent).await.status, 503);
    ready(&ingress, 503, "postern-spool is full").await;
    let metrics = ingress.metrics().await;
    assert_eq!(metrics.value("postern_spool_refused_total", &[]), 2.0);
    assert_eq!(metrics.value("postern_spool_messages", &[]), 3.0);
    ingress.log().wait_for("ingress.spool.max_messages").await;
    rabbit.start().await;
    spool_becomes(&ingress, 0.0).await;
    ready(&ingress, 200, "ready").await;
    receive_all(&ingress, 3..4).await;
    let tap = vhost.tap().await;
    let arrived = tap.take_all("postern.inbound", 4).await;
    assert_eq!(arrived.iter().map(text).collect::<Vec<_>>(), texts(0..4), "and nothing that was refused");
}

#[tokio::test]
async fn a_drain_leaves_the_spool_as_it_is_for_the_next_process() {
    let launch = Launch::ingress(&config(&nowhere(), "spool = \"kept\""));
    let ingress = launch.start().await;
    receive_all(&ingress, 0..5).await;
    let start = Instant::now();
    let ended = ingress.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(start.elapsed() < Duration::from_secs(20), "it waited for the broker: {:?}", start.elapsed());
    assert!(launch.folder().path().join("kept/postern.db").is_file());
    let ingress = launch.start().await;
    spool_becomes(&ingress, 5.0).await;
    receive_all(&ingress, 5..6).await;
    spool_becomes(&ingress, 6.0).await;
}

#[tokio::test]
async fn where_the_broker_is_there_the_first_messages_are_not_spooled_either() {
    let vhost = Rabbit::shared().vhost();
    // Long enough for a busy machine to connect.
    let ingress = Launch::ingress(&config_with("1m", &vhost.url())).start().await;
    receive_all(&ingress, 0..3).await;
    arrive_in_order(&vhost.tap().await, &texts(0..3)).await;
    ingress.metric_becomes("postern_spool_stored_total", &[], 0.0).await;
}

/// If the broker is known to be away, no request waits for it.
#[tokio::test]
async fn where_the_broker_is_away_the_first_message_is_spooled_at_once() {
    let ingress = Launch::ingress(&config_with("10m", &nowhere())).start().await;
    receive_all(&ingress, 0..1).await;
    spool_becomes(&ingress, 1.0).await;
}

#[tokio::test]
async fn both_halves_in_one_process_spool_too_where_the_broker_is_rabbitmq() {
    let gateway = Launch::gateway().config(&config(&nowhere(), ""));
    let gateway = gateway.start().await;
    receive_all(&gateway, 0..2).await;
    spool_becomes(&gateway, 2.0).await;
    assert_eq!(gateway.terminate().await.code, Some(0));
    let embedded = Launch::gateway().config(BACKEND);
    let gateway = embedded.start().await;
    receive_all(&gateway, 0..1).await;
    assert!(!embedded.folder().path().join("postern-spool").exists(), "it has a store of its own");
}

#[tokio::test]
async fn a_folder_that_another_process_uses_is_named_with_its_key() {
    let first = Launch::ingress(&config(&nowhere(), ""));
    let _running = first.start().await;
    let folder = first.folder().path().join("postern-spool").display().to_string();
    let second = Launch::ingress(&config(&nowhere(), &format!("spool = \"{folder}\""))).run().await;
    assert_eq!(second.code, Some(1), "{}", second.log);
    assert!(
        second.log.contains(&format!("ingress.spool: {folder} is in use by another process")),
        "{}",
        second.log
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_stops_the_start_only_where_it_was_asked_for() {
    let asked = Launch::ingress(&config(&nowhere(), "spool = \"postern.toml/spool\""));
    let ended = asked.run().await;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(
        ended.log.contains("ingress.spool: ") && ended.log.contains("postern.toml/spool"),
        "{}",
        ended.log
    );

    let default = Launch::ingress(&config(&nowhere(), ""));
    default.folder().write("postern-spool", "a file");
    let ingress = default.spawn();
    ready(&ingress, 503, "broker not connected").await;
    ingress.log().wait_for("no spool").await;
    ingress.log().wait_for("\"started\"").await;
    let refused = receive(&ingress, "nowhere").await;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
}

#[tokio::test]
async fn a_disk_without_room_is_answered_with_503() {
    let no_room =
        config(&nowhere(), "").replace("[ingress]", "min_free_disk = 9000000000000000000\n[ingress]");
    let ingress = Launch::ingress(&no_room).spawn();
    // Known before the first message: no load balancer sends one here.
    ready(&ingress, 503, "bytes free").await;
    ingress.log().wait_for("\"started\"").await;
    let refused = receive(&ingress, "no room").await;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{}", refused.text);
    assert_eq!(ingress.metrics().await.value("postern_spool_messages", &[]), 0.0);
}

/// The broker will never accept one of the spooled messages: the others are forwarded, and nothing is lost.
#[tokio::test]
async fn a_message_that_the_broker_never_takes_holds_up_nobody() {
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    let launch = Launch::ingress(&config_with("5s", &vhost.url()));
    let ingress = launch.start_connected().await;
    rabbit.block(true);
    receive_all(&ingress, 0..1).await;
    rabbit.set("max_message_size", 3_000);
    // A changed limit applies to new channels.
    vhost.close_connections();
    let large = "x".repeat(5_000);
    assert_eq!(receive(&ingress, &large).await.status, 200);
    receive_all(&ingress, 1..3).await;
    rabbit.block(false);
    spool_becomes(&ingress, 0.0).await;
    arrive_in_order(&vhost.tap().await, &texts(0..3)).await;
    ingress.metric_becomes("postern_spool_dead_letters_total", &[], 1.0).await;
    let line = ingress.log().wait_for("will never accept this spooled message").await;
    assert!(line.contains("postern.inbound") && line.contains("postern-spool/refused/"), "{line}");
    let kept = std::fs::read_dir(launch.folder().path().join("postern-spool/refused")).unwrap();
    let kept: Vec<_> = kept.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    let kept: Value = serde_json::from_slice(&kept[0]).unwrap();
    assert_eq!(kept["text"], large);
    ingress.ends_silent(&["+15557654321", "xxxxxxxx"]).await;
}
