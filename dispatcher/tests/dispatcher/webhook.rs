//! The application behind a webhook.

mod down;

use crate::{
    provider::{Answer, Provider, Received, answer},
    setup::{Running, TRACE, until, validated},
};
use postern_broker::{Address, Broker, Envelope, HeaderValue, QueueName, header, memory::MemoryBroker};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_shared::message::{Inbound, MessageId, Report};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OK: &str = "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n";

/// A dispatcher that only calls the webhook at `provider`; `more` is the end of `[application]`.
fn config(provider: &Provider, more: &str) -> String {
    format!(
        "[dispatcher]\nbackends = []\n[retry]\ndelays = [\"1s\", \"2s\"]\n[backends.demo]\ntype = \"console\"\n\
         [shutdown]\ndeadline = \"300ms\"\n\
         [application]\ntype = \"webhook\"\nurl = \"{}/hook?token=hush-hush\"\n{more}\n",
        provider.url
    )
}

fn json_format(provider: &Provider) -> String {
    config(provider, &format!("secret = \"{SECRET}\""))
}

fn inbound(text: &str) -> Inbound {
    let body = json!({
        "id": MessageId::new(), "backend": "demo", "identity": "+1555", "text": text,
        "fields": {"age": 7}, "received_at": "2026-01-01T00:00:00Z",
    });
    Inbound::from_json(body.to_string().as_bytes()).unwrap()
}

fn report() -> Report {
    let body = json!({
        "message_id": MessageId::new(), "backend": "demo", "attempt": 1, "at": "2026-01-01T00:00:00Z",
        "recipients": [{"identity": "+1555", "state": "sent"}],
    });
    Report::from_json(body.to_string().as_bytes()).unwrap()
}

async fn write_in(broker: &MemoryBroker, envelope: Envelope) {
    broker.publish(vec![(Address::Inbound("demo".parse().unwrap()), envelope)]).await.unwrap();
}

async fn requests(provider: &Provider, number: usize) -> Vec<Received> {
    until("requests", || provider.received().len() >= number).await;
    provider.received()
}

fn metric(running: &Running, queue: &str, outcome: &str, number: usize) -> bool {
    let labels = format!("{{outcome=\"{outcome}\",queue=\"{queue}\"}}");
    running.metrics.text().contains(&format!("postern_application_deliveries_total{labels} {number}"))
}

#[tokio::test]
async fn a_message_and_a_report_are_delivered_once_and_are_gone() {
    let provider = Provider::answering(answer(204, "")).await;
    let more = format!(
        "secret = \"{SECRET}\"\nheaders = {{ X-Tenant = \"north\" }}\nauth = {{ bearer = \"let-me-in\" }}"
    );
    let running = Running::start(&config(&provider, &more), &ConnectorRegistry::builtin());
    let (message, report) = (inbound("ping"), report());
    let traced = Envelope::from(&message).with(header::TRACEPARENT, TRACE);
    write_in(&running.broker, traced.with(header::TRACESTATE, "rojo=1")).await;
    let first = requests(&provider, 1).await.remove(0);
    assert_eq!(first.line, "POST /hook?token=hush-hush HTTP/1.1");
    assert_eq!(first.body.as_bytes(), message.to_json());
    for (name, value) in [
        ("content-type", "application/json"),
        ("webhook-id", &message.id.to_string()),
        ("x-postern-type", "postern.inbound.v1"),
        ("x-tenant", "north"),
        ("authorization", "Bearer let-me-in"),
        ("traceparent", TRACE),
        ("tracestate", "rojo=1"),
    ] {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    assert!(first.header("webhook-signature").unwrap().starts_with("v1,"));
    let address = Address::Reports("demo".parse().unwrap());
    for _ in 0..2 {
        running.broker.publish(vec![(address.clone(), Envelope::from(&report))]).await.unwrap();
    }
    let told = requests(&provider, 3).await.split_off(1);
    for request in &told {
        assert_eq!(request.body.as_bytes(), report.to_json());
        assert_eq!(request.header("x-postern-type"), Some("postern.report.v1"));
        assert_eq!(request.header("webhook-id"), told[0].header("webhook-id"), "the same report");
    }
    assert!(told[0].header("webhook-id").unwrap().parse::<MessageId>().is_ok());
    until("two counted reports", || metric(&running, "postern.reports", "sent", 2)).await;
    assert!(metric(&running, "postern.inbound", "sent", 1));
    running.idle().await;
    assert!(running.metrics.text().contains("postern_application_in_flight{queue=\"postern.inbound\"} 0"));
    let broker = running.stop().await;
    for queue in ["postern.inbound", "postern.reports", "postern.dead"] {
        assert!(broker.waiting(queue).is_empty(), "{queue}");
    }
}

#[tokio::test]
async fn a_form_is_what_rapidsms_takes_and_holds_no_reports() {
    let provider = Provider::answering(answer(200, "OK")).await;
    let running = Running::start(&config(&provider, "format = \"form\""), &ConnectorRegistry::builtin());
    let address = Address::Reports("demo".parse().unwrap());
    running.broker.publish(vec![(address, Envelope::from(&report()))]).await.unwrap();
    let message = inbound("ping & é");
    write_in(&running.broker, Envelope::from(&message)).await;
    let request = requests(&provider, 1).await.remove(0);
    assert_eq!(request.body, "identity=%2B1555&text=ping+%26+%C3%A9&age=7");
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("webhook-id"), Some(message.id.to_string().as_str()));
    assert_eq!(request.header("webhook-signature"), None);
    running.idle().await;
    let broker = running.stop().await;
    assert_eq!((broker.waiting("postern.reports").len(), provider.received().len()), (1, 1));
}

#[tokio::test]
async fn the_address_may_say_which_backend_it_was() {
    let provider = Provider::start(|request| match request.body.contains("\"gone\"") {
        true => answer(410, "nothing at /s1-hush/demo, nor for s2-hush"),
        false => answer(200, ""),
    })
    .await;
    let config = json_format(&provider)
        .replace("/hook?token=hush-hush", "/s1-hush/{{ backend }}?s=s2-hush&of={{ backend }}");
    let running = Running::start(&config, &ConnectorRegistry::builtin());
    write_in(&running.broker, Envelope::from(&inbound("ping"))).await;
    assert_eq!(requests(&provider, 1).await[0].line, "POST /s1-hush/demo?s=s2-hush&of=demo HTTP/1.1");
    let address = Address::Reports("demo".parse().unwrap());
    running.broker.publish(vec![(address, Envelope::from(&report()))]).await.unwrap();
    assert_eq!(requests(&provider, 2).await[1].line, "POST /s1-hush/demo?s=s2-hush&of=demo HTTP/1.1");
    write_in(&running.broker, Envelope::from(&inbound("gone"))).await;
    let letter = running.dead(1).await.remove(0);
    let reason = letter.text_header(header::REASON).unwrap();
    assert!(reason.starts_with("http_410: nothing at") && !reason.contains("s2-hush"), "{reason}");
    running.stop().await;
}

#[tokio::test]
async fn it_is_tried_again_as_it_was_until_it_is_taken() {
    let answers = Arc::new(AtomicUsize::new(0));
    let count = answers.clone();
    let provider = Provider::start(move |request| match request.line.as_str() {
        "" => answer(200, ""),
        _ if count.fetch_add(1, Ordering::SeqCst) < 2 => answer(503, "not now"),
        _ => answer(200, ""),
    })
    .await;
    let running = Running::start(&json_format(&provider), &ConnectorRegistry::builtin());
    let message = inbound("ping");
    write_in(&running.broker, Envelope::from(&message).with("x-theirs", "kept")).await;
    for (attempt, delay) in [(2, 1), (3, 2)] {
        until("retry", || running.broker.delayed().len() == 1).await;
        let (address, retry) = running.broker.delayed().remove(0);
        let delay = Duration::from_secs(delay);
        assert_eq!(address, Address::Later { queue: QueueName::inbound(), delay });
        assert_eq!(retry.body, message.to_json());
        assert_eq!(retry.headers[header::ATTEMPT], HeaderValue::Integer(attempt));
        assert_eq!(retry.text_header("x-theirs"), Some("kept"));
        running.broker.pass_delays();
    }
    let asked = requests(&provider, 3).await;
    assert!(asked.iter().all(|request| request.header("webhook-id") == asked[0].header("webhook-id")));
    until("a delivery", || metric(&running, "postern.inbound", "sent", 1)).await;
    assert!(metric(&running, "postern.inbound", "retrying", 2));
    running.idle().await;
    let broker = running.stop().await;
    assert!(broker.waiting("postern.dead").is_empty() && broker.delayed().is_empty());
}

#[tokio::test]
async fn what_is_hopeless_is_dead_at_once_and_what_fails_too_often_at_the_end() {
    let provider = Provider::start(|request| match request.body.contains("\"gone\"") {
        true => answer(410, "who is +1555? the token was hush-hush"),
        false => answer(500, ""),
    })
    .await;
    let running = Running::start(&json_format(&provider), &ConnectorRegistry::builtin());
    write_in(&running.broker, Envelope::from(&inbound("gone"))).await;
    let letter = running.dead(1).await.remove(0);
    let reason = letter.text_header(header::REASON).unwrap();
    assert!(reason.starts_with("http_410") && !reason.contains("hush"), "{reason}");
    assert_eq!(letter.text_header(header::CLASS), Some("permanent"));
    assert_eq!(letter.text_header(header::QUEUE), Some("postern.inbound"));
    assert_eq!(letter.headers[header::ATTEMPTS], HeaderValue::Integer(1));
    running.broker.clear("postern.dead");
    let message = inbound("down");
    write_in(&running.broker, Envelope::from(&message)).await;
    for _ in 0..2 {
        until("retry", || running.broker.delayed().len() == 1).await;
        running.broker.pass_delays();
    }
    let letter = running.dead(1).await.remove(0);
    assert_eq!(letter.body, message.to_json());
    assert_eq!(letter.headers[header::ATTEMPTS], HeaderValue::Integer(3));
    assert!(!letter.headers.contains_key(header::ATTEMPT));
    until("two dead", || metric(&running, "postern.inbound", "failed", 2)).await;
    running.idle().await;
    let counted = ["permanent", "transient"].map(|class| running.dead_counted("demo", class));
    assert_eq!((counted, running.dead_counted("unknown", "permanent")), ([1, 1], 0));
    // Dead letters stay dead: the webhook was not called again.
    assert_eq!(provider.received().len(), 4);
    assert!(running.stop().await.waiting("postern.inbound").is_empty());
}

#[tokio::test]
async fn the_application_may_ask_for_time_and_redirects_lead_nowhere() {
    let elsewhere = Provider::answering(answer(200, "")).await;
    let target = elsewhere.url.clone();
    let provider = Provider::start(move |request| {
        let (status, header) = match request.body.contains("\"moved\"") {
            true => (307, format!("Location: {target}/")),
            false => (429, "Retry-After: 8".to_owned()),
        };
        Answer::Raw(format!("HTTP/1.1 {status} X\r\n{header}\r\nContent-Length: 0\r\n\r\n"))
    })
    .await;
    let running = Running::start(&json_format(&provider), &ConnectorRegistry::builtin());
    for (text, delay) in [("busy", 10), ("moved", 1)] {
        write_in(&running.broker, Envelope::from(&inbound(text))).await;
        until("retry", || running.broker.delayed().len() == 1).await;
        let delay = Duration::from_secs(delay);
        assert_eq!(running.broker.delayed()[0].0, Address::Later { queue: QueueName::inbound(), delay });
        // Uses up the other attempts, so that this message does not disturb the next round.
        running.broker.pass_delays();
        until("another attempt", || running.broker.delayed().len() == 1).await;
        running.broker.pass_delays();
        running.dead(1).await;
        running.broker.clear("postern.dead");
    }
    running.stop().await;
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn what_is_no_message_is_dead_unread_and_stops_nothing() {
    let provider = Provider::answering(answer(200, "")).await;
    let running = Running::start(&json_format(&provider), &ConnectorRegistry::builtin());
    for (address, queue) in [
        (Address::Inbound("demo".parse().unwrap()), "postern.inbound"),
        (Address::Reports("demo".parse().unwrap()), "postern.reports"),
    ] {
        let envelope = Envelope { body: "no JSON".into(), ..Envelope::default() };
        running.broker.publish(vec![(address, envelope)]).await.unwrap();
        let letter = running.dead(1).await.remove(0);
        assert_eq!(letter.body, "no JSON");
        assert_eq!(letter.text_header(header::QUEUE), Some(queue));
        assert_eq!(letter.headers[header::ATTEMPTS], HeaderValue::Integer(0));
        until("a count", || metric(&running, queue, "malformed", 1)).await;
        running.broker.clear("postern.dead");
    }
    assert_eq!(running.dead_counted("unknown", "permanent"), 2);
    write_in(&running.broker, Envelope::from(&inbound("ping"))).await;
    requests(&provider, 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_backend_that_nobody_configured_is_no_label_until_a_reload_brings_it() {
    let provider = Provider::answering(answer(410, "")).await;
    let (connectors, before) = (ConnectorRegistry::builtin(), json_format(&provider));
    let running = Running::start(&before, &connectors);
    let other = Inbound { backend: "other".parse().unwrap(), ..inbound("ping") };
    write_in(&running.broker, Envelope::from(&other)).await;
    until("a count", || running.dead_counted("unknown", "permanent") == 1).await;
    assert!(!running.metrics.text().contains("backend=\"other\""));
    let after = format!("{before}[backends.other]\ntype = \"console\"\n");
    running.reload.apply(validated(&after, &connectors)).await.unwrap();
    write_in(&running.broker, Envelope::from(&other)).await;
    until("its count", || running.dead_counted("other", "permanent") == 1).await;
    assert_eq!(running.dead_counted("unknown", "permanent"), 1);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_delivered_again_while_the_broker_takes_nothing() {
    let provider = Provider::answering(answer(503, "")).await;
    let running = Running::start(&json_format(&provider), &ConnectorRegistry::builtin());
    write_in(&running.broker, Envelope::from(&inbound("ping"))).await;
    running.broker.fail_publishes(3);
    until("retry", || running.broker.delayed().len() == 1).await;
    running.idle().await;
    assert_eq!(provider.received().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn no_more_than_the_concurrency_is_in_flight_and_the_drain_hands_back() {
    let gate = Arc::new(Semaphore::new(0));
    let provider = Provider::answering(Answer::Gated(gate.clone(), OK.to_owned())).await;
    let more = format!("secret = \"{SECRET}\"\nconcurrency = 2\ntimeout = \"1m\"");
    let running = Running::start(&config(&provider, &more), &ConnectorRegistry::builtin());
    for _ in 0..7 {
        write_in(&running.broker, Envelope::from(&inbound("ping"))).await;
    }
    until("two in flight, two waiting", || provider.received().len() == 2 && running.broker.leased() == 4)
        .await;
    assert!(running.metrics.text().contains("postern_application_in_flight{queue=\"postern.inbound\"} 2"));
    gate.add_permits(2);
    requests(&provider, 4).await;
    let broker = running.stop().await;
    assert_eq!((broker.waiting("postern.inbound").len(), broker.leased()), (5, 0));
    assert_eq!(provider.most_at_a_time(), 2);
}

#[tokio::test]
async fn an_application_that_never_answers_is_asked_again() {
    let provider = Provider::answering(Answer::Never).await;
    let more = format!("secret = \"{SECRET}\"\ntimeout = \"200ms\"");
    let running = Running::start(&config(&provider, &more), &ConnectorRegistry::builtin());
    write_in(&running.broker, Envelope::from(&inbound("ping"))).await;
    until("retry", || running.broker.delayed().len() == 1).await;
    let body: Value = serde_json::from_slice(&running.broker.delayed()[0].1.body).unwrap();
    assert_eq!(body["text"], "ping");
    running.stop().await;
}
