//! An application behind a webhook, and messages that providers repeat.

use crate::reports::outcome;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use postern_tests::{
    Answer, Gate, Launch, Pair, Program, Provider, Request, assert_silent, eventually, free_port,
};
use serde_json::json;
use std::time::Duration;

const NUMBER: &str = "+15557654321";
const OLD: [u8; 24] = *b"the old secret's bytes..";
const NEW: [u8; 32] = *b"and those of the new, quite so..";

fn whsec(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// The gateway in one process, with a console as backend `x`; `more` is the end of `[application]`.
fn config(url: &str, more: &str) -> String {
    format!(
        "[retry]\ndelays = [\"500ms\", \"500ms\"]\n[backends.x]\ntype = \"console\"\n\
         [backends.x.receive]\nparams = {{ external_id = \"mid\" }}\n\
         [backends.x.receive.fields]\nage = {{ type = \"integer\" }}\n\
         [application]\ntype = \"webhook\"\nurl = \"{url}\"\n{more}\n"
    )
}

fn signed(url: &str) -> String {
    config(url, &format!("secret = \"{}\"", whsec(&NEW)))
}

/// Verifies a delivery as the Standard Webhooks specification says.
fn is_signed(request: &Request, key: &[u8]) -> bool {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let seconds: i64 = header("webhook-timestamp").parse().unwrap();
    assert!((jiff::Timestamp::now().as_second() - seconds).abs() < 60, "{seconds}");
    header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|one| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
        mac.update(format!("{}.{seconds}.", header("webhook-id")).as_bytes());
        mac.update(&request.body);
        mac.verify_slice(&STANDARD.decode(one).unwrap()).is_ok()
    })
}

async fn write_in(program: &Program, text: &str) {
    let reply = program.post_form("/backends/x", &[("identity", NUMBER), ("text", text), ("age", "7")]).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "OK"));
}

async fn deliveries(program: &Program, queue: &str, outcome: &str, number: u32) {
    let labels = [("queue", queue), ("outcome", outcome)];
    program.metric_becomes("postern_application_deliveries_total", &labels, number.into()).await;
}

#[tokio::test]
async fn a_message_reaches_the_application_signed_and_so_does_the_report_of_its_answer() {
    let application = Provider::obliging().await;
    let launch = Launch::gateway().config(&signed(&application.url("/hook")));
    let postern = launch.start().await;
    write_in(&postern, "ping to the hook").await;
    let asked = application.take().await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/hook"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.header("x-postern-type"), Some("postern.inbound.v1"));
    let body = asked.json();
    assert_eq!(asked.header("webhook-id"), body["id"].as_str());
    let rest = json!({"id": body["id"], "backend": "x", "identity": NUMBER, "text": "ping to the hook",
        "fields": {"age": 7}, "received_at": body["received_at"]});
    assert_eq!(body, rest);
    assert!(is_signed(&asked, &NEW) && !is_signed(&asked, &OLD));
    assert!(!is_signed(&Request { body: b"{}".to_vec(), ..asked }, &NEW), "the body is signed");
    let answer = json!({"backend": "x", "to": NUMBER, "text": "pong"});
    let id = postern.post_json("/v1/messages", &answer).await.json()["id"].clone();
    let report = application.take().await;
    assert_eq!(report.header("x-postern-type"), Some("postern.report.v1"));
    assert!(is_signed(&report, &NEW));
    let told = report.json();
    assert_eq!((&told["message_id"], &told["recipients"][0]["state"]), (&id, &json!("sent")));
    assert_ne!(report.header("webhook-id"), id.as_str(), "a report is another thing than its message");
    deliveries(&postern, "postern.inbound", "sent", 1).await;
    deliveries(&postern, "postern.reports", "sent", 1).await;
    let ended = postern.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let lines: Vec<_> = ended.log.lines().map(str::to_owned).collect();
    assert_silent(&lines, &[NUMBER, "ping to the hook", &whsec(&NEW)]);
    assert_eq!(application.requests().len(), 0, "each was delivered once");
}

#[tokio::test]
async fn while_secrets_change_both_sign() {
    let application = Provider::obliging().await;
    let secrets = format!("secret = [\"{}\", {{ env = \"OLD_SECRET\" }}]", whsec(&NEW));
    let launch = Launch::gateway().config(&config(&application.url("/hook"), &secrets));
    let postern = launch.env("OLD_SECRET", &whsec(&OLD)).start().await;
    write_in(&postern, "ping").await;
    let asked = application.take().await;
    assert!(is_signed(&asked, &NEW) && is_signed(&asked, &OLD) && !is_signed(&asked, &[0; 32]));
    drop(postern);
}

#[tokio::test]
async fn an_application_that_fails_twice_gets_it_at_the_third_attempt_on_either_broker() {
    let application = Provider::start().await;
    let script = || [Answer::status(503), Answer::status(503), Answer::ok("")];
    let config = signed(&application.url("/hook")) + "reports = false\n";
    let postern = Launch::gateway().config(&config).start().await;
    application.script(script());
    write_in(&postern, "ping").await;
    deliveries(&postern, "postern.inbound", "sent", 1).await;
    deliveries(&postern, "postern.inbound", "retrying", 2).await;
    let mut asked = application.wait_for(3).await;
    let pair = Pair::start(&config).await;
    application.script(script());
    write_in(&pair.ingress, "ping").await;
    deliveries(&pair.dispatcher, "postern.inbound", "sent", 1).await;
    asked.extend(application.wait_for(6).await.split_off(3));
    for attempts in asked.chunks(3) {
        for two in attempts.windows(2) {
            assert_eq!(
                (two[0].header("webhook-id"), &two[0].body),
                (two[1].header("webhook-id"), &two[1].body)
            );
            assert!(two[1].at - two[0].at >= Duration::from_millis(490), "tried again too early");
            assert!(is_signed(&two[1], &NEW));
        }
    }
    pair.tap.depth_becomes("postern.inbound", 0).await;
    pair.tap.depth_becomes("postern.dead", 0).await;
}

#[tokio::test]
async fn what_the_application_refuses_is_dead_and_stays_dead() {
    let application = Provider::start().await;
    let pair = Pair::start(&signed(&application.url("/hook"))).await;
    application.script([Answer::status(400).body("not for me"), Answer::ok("")]);
    write_in(&pair.ingress, "refused").await;
    let dead = pair.tap.take("postern.dead").await;
    assert_eq!(dead.key, "x");
    assert_eq!(dead.kind.as_deref(), Some("postern.inbound.v1"));
    assert_eq!(dead.json()["text"], "refused");
    assert_eq!(dead.headers["x-postern-reason"], "http_400: not for me");
    assert_eq!(dead.headers["x-postern-class"], "permanent");
    assert_eq!(
        (&dead.headers["x-postern-attempts"], &dead.headers["x-postern-queue"]),
        (&json!(1), &json!("postern.inbound"))
    );
    // Later messages are delivered, and this one is not.
    write_in(&pair.ingress, "taken").await;
    deliveries(&pair.dispatcher, "postern.inbound", "sent", 1).await;
    assert_eq!(application.wait_for(2).await[1].json()["text"], "taken");
    pair.tap.depth_becomes("postern.inbound", 0).await;
    pair.tap.depth_becomes("postern.dead", 0).await;
    assert_eq!(application.requests().len(), 2);
    pair.ends_silent(&[NUMBER, "refused", "not for me"]).await;
}

#[tokio::test]
async fn reports_reach_the_application_over_rabbitmq_too() {
    let application = Provider::obliging().await;
    let pair = Pair::start(&signed(&application.url("/hook"))).await;
    pair.tap.send(&json!({"backend": "x", "identities": [NUMBER], "text": "pong"})).await;
    let asked = application.take().await;
    assert_eq!(asked.header("x-postern-type"), Some("postern.report.v1"));
    assert!(is_signed(&asked, &NEW));
    let mut recipients = asked.json()["recipients"].clone();
    recipients[0].as_object_mut().unwrap().remove("duration_ms");
    assert_eq!(recipients, json!([{"identity": NUMBER, "state": "sent", "segments": 1}]));
    pair.tap.depth_becomes("postern.reports", 0).await;
}

#[tokio::test]
async fn without_reports_they_stay_in_their_queue() {
    let application = Provider::start().await;
    let config = signed(&application.url("/hook")) + "reports = false\n";
    let pair = Pair::start(&config).await;
    pair.tap.send(&json!({"backend": "x", "identities": [NUMBER], "text": "pong"})).await;
    assert_eq!(outcome(&pair.tap).await["recipients"][0]["state"], "sent");
}

#[tokio::test]
async fn what_was_accepted_is_delivered_after_a_power_cut() {
    let port = free_port();
    let launch = Launch::gateway().config(&signed(&format!("http://127.0.0.1:{port}/hook")));
    let postern = launch.start().await;
    write_in(&postern, "while it is down").await;
    deliveries(&postern, "postern.inbound", "retrying", 1).await;
    // Killed while the message waits for its next attempt …
    postern.kill();
    let application = Provider::start_on(port).await;
    let held = Gate::closed();
    application.otherwise(move |_| Answer::ok("").held(&held));
    let postern = launch.start().await;
    let first = application.wait_for(1).await.remove(0);
    // … and again when the application has received it and not yet answered.
    postern.kill();
    application.otherwise(|_| Answer::ok(""));
    let postern = launch.start().await;
    let again = application.wait_for(2).await.remove(1);
    assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
    assert!(is_signed(&again, &NEW));
    deliveries(&postern, "postern.inbound", "sent", 1).await;
    postern.ends_silent(&[NUMBER, "while it is down"]).await;
}

const REPEATING: &str = "[backends.x]\ntype = \"console\"\n[backends.x.receive]\nparams = { external_id = \"mid\" }\n\
     reply = { status = 202, body = \"mine\" }\n";

async fn repeat(program: &Program, mid: &str) {
    let form = [("identity", NUMBER), ("text", "ping"), ("mid", mid)];
    let reply = program.post_form("/backends/x", &form).await;
    assert_eq!((reply.status, reply.text.as_str()), (202, "mine"));
}

#[tokio::test]
async fn what_a_provider_repeats_is_acknowledged_and_queued_once() {
    let pair = Pair::start(REPEATING).await;
    let doubles = |number: f64| {
        pair.ingress.metric_becomes("postern_ingress_duplicates_total", &[("backend", "x")], number)
    };
    doubles(0.0).await;
    for mid in ["a", "a", "b", "a"] {
        repeat(&pair.ingress, mid).await;
    }
    let at_once = (0..8).map(|_| repeat(&pair.ingress, "c"));
    futures_util::future::join_all(at_once).await;
    doubles(2.0 + 7.0).await;
    // Without the provider's own id, no message counts as a repetition.
    for _ in 0..2 {
        let form = [("identity", NUMBER), ("text", "ping")];
        assert_eq!(pair.ingress.post_form("/backends/x", &form).await.status, 202);
    }
    let told = pair.tap.take_all("postern.inbound", 5).await;
    let ids: Vec<_> = told.iter().map(|message| message.json()["external_id"].clone()).collect();
    assert_eq!(json!(ids), json!(["a", "b", "c", null, null]));
    pair.tap.depth_becomes("postern.inbound", 0).await;
    doubles(9.0).await;
}

#[tokio::test]
async fn with_the_window_off_or_over_it_is_queued_again_under_the_same_id() {
    let off = format!("[ingress]\ndedupe_window = 0\n{REPEATING}");
    let pair = Pair::start(&off).await;
    repeat(&pair.ingress, "a").await;
    repeat(&pair.ingress, "a").await;
    let told = pair.tap.take_all("postern.inbound", 2).await;
    assert_eq!(told[0].json()["id"], told[1].json()["id"]);
    let over = Launch::ingress(&pair.vhost.config(&off)).env("POSTERN__INGRESS__DEDUPE_WINDOW", "50ms");
    let ingress = over.start().await;
    repeat(&ingress, "b").await;
    eventually("the end of the window", async || {
        repeat(&ingress, "b").await;
        match pair.tap.depth("postern.inbound").await {
            Ok(2..) => Ok(()),
            depth => Err(format!("{depth:?}")),
        }
    })
    .await;
}
