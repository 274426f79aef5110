//! From the queue to the provider and back: what is stored, in which order, and what goes wrong.

use crate::{
    provider::{Answer, Provider, answer},
    setup::{Custom, Running, TRACE, message, retries, states, until, validated},
};
use postern_broker::{Address, Broker, Envelope, HeaderValue, QueueName, header, memory::MemoryBroker};
use postern_dispatcher::{
    Dispatcher,
    connectors::{ConnectorRegistry, Outcomes, Sent},
    validate,
};
use postern_service::{Monitoring, metrics::Metrics, shutdown::Shutdown};
use postern_shared::{
    error::Failure,
    message::{MessageId, Priority, State},
    trace_context::TraceContext,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

fn to(provider: &Provider, more: &str) -> String {
    format!(
        "[backends.demo]\ntype = \"http\"\n[backends.demo.send]\nurl = \"{}/send\"\n\
         form = {{ to = \"{{{{ identity }}}}\" }}\n{more}",
        provider.url
    )
}

#[tokio::test]
async fn a_message_is_sent_reported_and_gone() {
    let provider = Provider::answering(answer(200, r#"{"id":"SM1"}"#)).await;
    let running = Running::start(&to(&provider, "external_id = \"/id\""), &ConnectorRegistry::builtin());
    let id = MessageId::new();
    let envelope = Envelope {
        message_id: Some(id.to_string()),
        body: message(&["+1", "+2"]).into(),
        ..Envelope::default()
    };
    running.queue_envelope("demo", Priority::Normal, envelope.with(header::TRACEPARENT, TRACE)).await;
    let report = running.reports(1).await.remove(0);
    assert_eq!(report.message_id, id);
    assert_eq!(states(&report), [("+1", State::Sent), ("+2", State::Sent)]);
    assert_eq!(report.recipients[0].external_id.as_deref(), Some("SM1"));
    assert_eq!(report.recipients[0].http_status, Some(200));
    assert!(report.recipients[0].duration_ms.is_some_and(|took| took < 10_000));
    running.idle().await;
    let stored = running.broker.waiting("postern.reports").remove(0);
    assert_eq!(stored.text_header(header::TRACEPARENT), Some(TRACE));
    let text = running.metrics.text();
    for line in [
        "postern_dispatch_messages_total{backend=\"demo\",outcome=\"sent\"} 1",
        "postern_dispatch_recipients_total{backend=\"demo\",outcome=\"sent\"} 2",
        "postern_send_duration_seconds_count{backend=\"demo\"} 2",
        "postern_message_age_seconds_count{backend=\"demo\"} 1",
        "postern_dispatch_in_flight{backend=\"demo\"} 0",
        "postern_publish_duration_seconds_count{queue=\"postern.reports\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let broker = running.stop().await;
    assert!(broker.waiting("postern.outbound.demo").is_empty() && broker.waiting("postern.dead").is_empty());
    assert_eq!(provider.received().len(), 2);
}

/// The application gave no trace, or another text under that name.
#[tokio::test]
async fn a_message_without_a_trace_begins_one_that_all_that_comes_of_it_is_in() {
    let provider = Provider::start(|request| match request.body.as_str() {
        "to=bad" => answer(400, "no such number"),
        _ => answer(500, ""),
    })
    .await;
    let running = Running::start(&to(&provider, ""), &ConnectorRegistry::builtin());
    let trace = |envelope: &Envelope| {
        let trace = TraceContext::parse(envelope.text_header(header::TRACEPARENT)?)?;
        Some(trace.as_str().to_owned())
    };
    let mut begun = Vec::new();
    for given in [None, Some("00-+1555-b-01")] {
        let envelope = Envelope { body: message(&["bad", "down"]).into(), ..Envelope::default() };
        let envelope = given.into_iter().fold(envelope, |all, trace| all.with(header::TRACEPARENT, trace));
        running.queue_envelope("demo", Priority::Normal, envelope).await;
        let number = begun.len() + 1;
        running.dead(number).await;
        running.idle().await;
        let report = running.broker.waiting("postern.reports").pop().unwrap();
        let letter = running.broker.waiting("postern.dead").pop().unwrap();
        let (_, retry) = running.broker.delayed().pop().unwrap();
        let all = [&report, &letter, &retry].map(trace);
        assert!(all[0].is_some() && all[0] == all[1] && all[1] == all[2], "{given:?}: {all:?}");
        begun.extend(all[0].clone());
    }
    assert_ne!(begun[0], begun[1]);
    running.stop().await;
}

#[tokio::test]
async fn only_those_that_failed_are_sent_again_until_they_are_dead() {
    let provider = Provider::start(|request| match request.body.as_str() {
        "to=ok" => answer(200, ""),
        "to=bad" => answer(400, "no such number"),
        _ => answer(500, ""),
    })
    .await;
    let text = to(&provider, "[backends.demo.retry]\ndelays = [\"1s\", \"2s\"]");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Bulk, message(&["ok", "bad", "down"])).await;
    let report = running.reports(1).await.remove(0);
    assert_eq!(states(&report), [("ok", State::Sent), ("bad", State::Failed), ("down", State::Retrying)]);
    let reason = report.recipients[1].reason.as_ref().unwrap();
    assert_eq!((reason.code.as_str(), reason.detail.as_str()), ("http_400", "no such number"));
    for (attempt, delay) in [(2, 1), (3, 2)] {
        until("retry", || running.broker.delayed().len() == 1).await;
        let (address, retry) = retries(&running.broker).remove(0);
        let queue = QueueName::outbound(&retry.backend, Priority::Bulk);
        assert_eq!(address, Address::Later { queue, delay: Duration::from_secs(delay) });
        assert_eq!((retry.id, retry.attempt), (report.message_id, attempt));
        running.broker.pass_delays();
        running.reports(attempt as usize).await;
    }
    let dead = running.dead(2).await;
    let attempts: Vec<_> = dead.iter().map(|letter| letter.headers[header::ATTEMPTS].clone()).collect();
    assert_eq!(attempts, [HeaderValue::Integer(1), HeaderValue::Integer(3)]);
    assert_eq!(dead[1].text_header(header::QUEUE), Some("postern.outbound.demo.bulk"));
    assert_eq!(dead[1].text_header(header::CLASS), Some("transient"));
    running.idle().await;
    assert_eq!(provider.received().len(), 5);
    let text = running.metrics.text();
    for line in [
        "postern_retries_total{backend=\"demo\",class=\"transient\"} 2",
        "postern_dead_letters_total{backend=\"demo\",class=\"permanent\"} 1",
        "postern_dead_letters_total{backend=\"demo\",class=\"transient\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_message_for_this_backend_is_dead_at_once_and_stops_nothing() {
    let provider = Provider::answering(answer(200, "")).await;
    let running = Running::start(&to(&provider, ""), &ConnectorRegistry::builtin());
    for (body, why) in [
        ("not JSON", "JSON"),
        (r#"{"backend":"demo","identities":[],"text":"x"}"#, "identities"),
        (r#"{"backend":"other","identities":["1"],"text":"x"}"#, "another backend"),
    ] {
        running.queue("demo", Priority::Normal, body).await;
        let letter = running.dead(1).await.remove(0);
        assert_eq!(letter.body, body);
        assert!(letter.text_header(header::REASON).unwrap().contains(why), "{letter:?}");
        assert_eq!(letter.headers[header::ATTEMPTS], HeaderValue::Integer(0));
        assert_eq!(letter.text_header(header::QUEUE), Some("postern.outbound.demo"));
        assert_eq!(letter.text_header(header::CLASS), Some("permanent"));
        running.idle().await;
        assert!(running.broker.waiting("postern.reports").is_empty());
        running.broker.clear("postern.dead");
    }
    running.queue("demo", Priority::Normal, message(&["1"])).await;
    running.reports(1).await;
    running.stop().await;
    assert_eq!(provider.received().len(), 1);
}

#[tokio::test]
async fn what_expired_is_not_sent_and_not_lost() {
    let provider = Provider::answering(answer(200, "")).await;
    let running = Running::start(&to(&provider, ""), &ConnectorRegistry::builtin());
    let body = r#"{"backend":"demo","identities":["1","2"],"text":"x","expires_at":"2020-01-01T00:00:00Z"}"#;
    running.queue("demo", Priority::Normal, body).await;
    let report = running.reports(1).await.remove(0);
    assert_eq!(states(&report), [("1", State::Expired), ("2", State::Expired)]);
    let letter = running.dead(1).await.remove(0);
    assert_eq!(letter.body, body);
    assert!(letter.text_header(header::REASON).unwrap().starts_with("expired"));
    assert_eq!(letter.headers[header::ATTEMPTS], HeaderValue::Integer(0));
    assert_eq!(letter.message_id, Some(report.message_id.to_string()));
    running.stop().await;
    assert!(provider.received().is_empty());
}

#[tokio::test]
async fn a_backend_that_only_receives_says_so() {
    let running = Running::start("[backends.demo]\ntype = \"http\"", &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["1"])).await;
    let letter = running.dead(1).await.remove(0);
    let reason = letter.text_header(header::REASON).unwrap();
    assert!(reason.contains("backend demo has no send table"), "{reason}");
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_sent_again_while_the_broker_takes_nothing() {
    let provider = Provider::answering(answer(200, "")).await;
    let running = Running::start(&to(&provider, ""), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["1"])).await;
    running.reports(1).await;
    let before = *running.broker.begun.borrow();
    running.queue("demo", Priority::Normal, message(&["2"])).await;
    running.broker.fail_publishes(3);
    running.reports(2).await;
    running.idle().await;
    assert_eq!(*running.broker.begun.borrow(), before + 5, "queued, failed three times, stored");
    assert!(running.metrics.text().contains("postern_publish_failures_total{queue=\"postern.reports\"} 3"));
    running.stop().await;
    assert_eq!(provider.received().len(), 2);
}

#[tokio::test]
async fn a_sender_of_ones_own_may_do_as_it_likes() {
    let connectors = ConnectorRegistry::builtin()
        .with("custom", |_| {
            Ok(Custom(async |identities: Vec<String>| match identities[0].as_str() {
                "panic" => panic!("on purpose"),
                "hang" => std::future::pending().await,
                "forget" => [Ok(Sent::with_id("a"))].into_iter().collect(),
                _ => Outcomes::every(Err(Failure::permanent("no", ""))),
            }))
        })
        .unwrap();
    let running = Running::start("[backends.demo]\ntype = \"custom\"", &connectors);
    for (identity, expected) in [
        ("panic", vec!["panic", "panic"]),
        ("hang", vec!["timeout", "timeout"]),
        ("forget", vec!["a", "no_outcome"]),
        ("other", vec!["no", "no"]),
    ] {
        running.broker.clear("postern.reports");
        running.queue("demo", Priority::Normal, message(&[identity, "x"])).await;
        let report = running.reports(1).await.remove(0);
        let codes = report
            .recipients
            .into_iter()
            .map(|recipient| recipient.external_id.unwrap_or_else(|| recipient.reason.unwrap().code));
        assert_eq!(codes.collect::<Vec<_>>(), expected);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_may_have_been_sent_is_unknown_where_it_must_not_be_doubled() {
    let provider = Provider::answering(Answer::CloseUnread).await;
    let running = Running::start(&to(&provider, "unanswered = \"fail\""), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["1"])).await;
    let report = running.reports(1).await.remove(0);
    assert_eq!(states(&report), [("1", State::Unknown)]);
    let letter = running.dead(1).await.remove(0);
    assert_eq!(letter.text_header(header::CLASS), Some("unknown"));
    running.stop().await;
    assert_eq!(provider.received().len(), 1);
}

#[tokio::test]
async fn normal_goes_first_and_bulk_never_stands_still() {
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = order.clone();
    let connectors = ConnectorRegistry::builtin()
        .with("custom", move |_| {
            let noted = noted.clone();
            Ok(Custom(move |identities: Vec<String>| {
                noted.lock().unwrap().extend(identities);
                async { Outcomes::every(Ok(Sent::without_id())) }
            }))
        })
        .unwrap();
    let broker = MemoryBroker::default();
    let mut messages = Vec::new();
    for (lane, name) in [(Priority::Bulk, "bulk"), (Priority::Normal, "normal")] {
        for _ in 0..40 {
            let envelope = Envelope { body: message(&[name]).into(), ..Envelope::default() };
            messages.push((Address::Outbound("demo".parse().unwrap(), lane), envelope));
        }
    }
    broker.publish(messages).await.unwrap();
    let text = "[backends.demo]\ntype = \"custom\"\nconcurrency = 40";
    let running = Running::on(broker, text, &connectors);
    running.reports(80).await;
    let order = order.lock().unwrap().clone();
    let normal_before_last = order.iter().rposition(|lane| lane == "normal").unwrap();
    let bulk = order[..normal_before_last].iter().filter(|lane| *lane == "bulk").count();
    assert!((3..=10).contains(&bulk), "one in nine was due among the normal ones: {order:?}");
    assert_eq!(order[0], "normal");
    running.stop().await;
}

#[tokio::test]
async fn no_more_than_the_concurrency_is_sent_at_a_time_from_both_lanes() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (in_flight, peak) = (now.clone(), most.clone());
    let connectors = ConnectorRegistry::builtin()
        .with("custom", move |_| {
            let (now, most) = (in_flight.clone(), peak.clone());
            Ok(Custom(move |_| {
                let (now, most) = (now.clone(), most.clone());
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    Outcomes::every(Ok(Sent::without_id()))
                }
            }))
        })
        .unwrap();
    let running = Running::start("[backends.demo]\ntype = \"custom\"\nconcurrency = 3", &connectors);
    for lane in [Priority::Normal, Priority::Bulk].repeat(15) {
        running.queue("demo", lane, message(&["1"])).await;
    }
    running.reports(30).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    running.stop().await;
}

#[tokio::test]
async fn one_hanging_backend_slows_no_other() {
    let gate = Arc::new(Semaphore::new(0));
    let (hanging, quick) = (
        Provider::answering(Answer::Gated(
            gate.clone(),
            "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n".into(),
        ))
        .await,
        Provider::answering(answer(200, "")).await,
    );
    let text = to(&hanging, "timeout = \"1m\"").replace("demo", "hanging") + "\n" + &to(&quick, "");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    for _ in 0..200 {
        running.queue("hanging", Priority::Normal, message(&["1"]).replace("demo", "hanging")).await;
    }
    until("requests in flight", || hanging.received().len() >= 64).await;
    for _ in 0..200 {
        running.queue("demo", Priority::Normal, message(&["1"])).await;
    }
    assert!(running.reports(200).await.iter().all(|report| report.backend.as_str() == "demo"));
    assert_eq!(hanging.received().len(), 64, "dispatcher.concurrency is a bound");
    gate.add_permits(1_000);
    running.reports(400).await;
    running.stop().await;
}

#[tokio::test]
async fn a_thousand_backends_start_and_end() {
    let text: String = (0..1_000)
        .map(|n| format!("[backends.b{n}]\ntype = \"http\"\n[backends.b{n}.send]\nurl = \"https://h{n}.example.org/\"\n"))
        .collect();
    let text = format!("{text}[backends.demo]\ntype = \"console\"\n");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["1"])).await;
    running.reports(1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_closed_broker_ends_the_run_with_an_error() {
    let provider = Provider::answering(answer(200, "")).await;
    let broker = MemoryBroker::default();
    broker.close().await;
    let monitoring = Monitoring::new(Metrics::new("test", "0").unwrap());
    let validated = validated(&to(&provider, ""), &ConnectorRegistry::builtin());
    let dispatcher = Dispatcher::new(validated, Arc::new(broker.clone()), &monitoring).unwrap();
    let (_trigger, shutdown) = Shutdown::new();
    let error = dispatcher.run(shutdown).await.unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("demo: "), "{error}");
    assert!(error.contains("closed"), "{error}");
}

#[test]
fn every_connector_that_cannot_be_built_is_refused_with_its_key_and_its_line() {
    let config = crate::setup::config(
        "[backends.one]\ntype = \"custom\"\n[backends.two]\ntype = \"http\"\n\
         send = { url = \"http://h/\", headers = { Upgrade = \"x\", Connection = \"x\" } }",
    );
    let problems = validate(Arc::new(config), &ConnectorRegistry::builtin()).unwrap_err();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let client = "must not be set: the HTTP client sets this header itself";
    assert_eq!(
        problems,
        [
            "line 1: backends.one.connector: unknown connector `custom`; allowed: console, http".to_owned(),
            format!("line 5: backends.two.send.headers.upgrade: {client}"),
            format!("line 5: backends.two.send.headers.connection: {client}"),
        ]
    );
    let make = |_: &postern_config::backend::BackendConfig| Ok(Custom(async |_| Outcomes::none()));
    let twice = ConnectorRegistry::builtin().with("console", make).unwrap_err().to_string();
    assert!(twice.contains("console") && twice.contains("http"), "{twice}");
}
