//! Both services with RabbitMQ: what is in the queues, and who receives it.

use crate::reports::{outcome, states};
use postern_tests::{Answer, Gate, Launch, Pair, Properties, Provider, Rabbit, eventually, pairs};
use serde_json::{Value, json};

const CLINIC: &str = "[backends.clinic]\ntype = \"http\"\n";

fn sending_to(url: &str) -> String {
    format!(
        "{CLINIC}[backends.clinic.send]\nurl = \"{url}\"\nexternal_id = \"/id\"\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n\
         headers = {{ X-Message-Id = \"{{{{ id }}}}\" }}\n"
    )
}

fn id_version(id: &Value) -> usize {
    uuid::Uuid::parse_str(id.as_str().unwrap()).unwrap().get_version_num()
}

#[tokio::test]
async fn a_received_form_is_the_contracts_message_on_the_queue() {
    let pair = Pair::start(CLINIC).await;
    let form = [("identity", " +15550001111 "), ("text", "ping\u{1f600} "), ("other", "x")];
    let reply = pair.ingress.post_form("/backends/clinic", &form).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "OK"));
    let message = pair.tap.take("postern.inbound").await;
    let body = message.json();
    assert_eq!(message.key, "clinic");
    assert_eq!(message.kind.as_deref(), Some("postern.inbound.v1"));
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.delivery_mode, Some(2));
    assert_eq!(message.message_id.as_deref(), body["id"].as_str());
    let trace = message.headers["traceparent"].as_str().unwrap();
    let parts: Vec<_> = trace.split('-').map(str::len).collect();
    assert!(trace.starts_with("00-") && parts == [2, 32, 16, 2], "{trace}");
    assert_eq!(id_version(&body["id"]), 7);
    let at: jiff::Timestamp = body["received_at"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(at).as_secs() < 60, "{at}");
    let rest = json!({
        "id": body["id"], "backend": "clinic", "identity": "+15550001111", "text": "ping\u{1f600}",
        "fields": {}, "received_at": body["received_at"],
    });
    assert_eq!(body, rest);
    pair.ends_silent(&["+15550001111", "ping\u{1f600}"]).await;
}

#[tokio::test]
async fn a_posted_message_is_sent_and_reported() {
    let provider = Provider::start().await;
    provider.script([Answer::json(200, &json!({"id": "SM1"}))]);
    let pair = Pair::start(&sending_to(&provider.url("/send"))).await;
    let body = json!({"backend": "clinic", "to": "+15550002222", "text": "pong & more"});
    let reply = pair.ingress.post_json("/v1/messages", &body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let id = reply.json()["id"].clone();
    assert_eq!(
        reply.json(),
        json!({"id": id, "backend": "clinic", "identities": 1, "segments": 1, "encoding": "gsm7"})
    );
    let asked = provider.take().await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/send"));
    assert_eq!(asked.form(), pairs(&[("to", "+15550002222"), ("text", "pong & more")]));
    assert_eq!(asked.header("x-message-id"), id.as_str());
    let report = outcome(&pair.tap).await;
    let (at, took) = (report["at"].clone(), report["recipients"][0]["duration_ms"].clone());
    assert!(at.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert!(took.as_u64().is_some_and(|took| took < 60_000), "{report}");
    let recipients = json!([{"identity": "+15550002222", "state": "sent", "external_id": "SM1", "segments": 1,
        "http_status": 200, "duration_ms": took}]);
    let wanted =
        json!({"message_id": id, "backend": "clinic", "attempt": 1, "at": at, "recipients": recipients});
    assert_eq!(report, wanted);
    pair.ends_silent(&["+15550002222", "pong & more"]).await;
}

#[tokio::test]
async fn an_application_needs_three_fields() {
    let provider = Provider::obliging().await;
    let pair = Pair::start(&sending_to(&provider.url("/send"))).await;
    pair.tap.send(&json!({"backend": "clinic", "identities": ["+1555", "+1666"], "text": "hi"})).await;
    let mut told: Vec<_> = provider.wait_for(2).await.iter().map(|r| r.form()[0].1.clone()).collect();
    told.sort();
    assert_eq!(told, ["+1555", "+1666"]);
    let report = outcome(&pair.tap).await;
    assert_eq!(states(&report), [("+1555", "sent"), ("+1666", "sent")]);
    assert_eq!(id_version(&report["message_id"]), 7);
    pair.tap.depth_becomes("postern.outbound.clinic", 0).await;
}

#[tokio::test]
async fn context_and_trace_reach_the_provider_and_the_report() {
    let provider = Provider::obliging().await;
    let url = provider.url("/{{ context.kind }}");
    let pair = Pair::start(&sending_to(&url)).await;
    let id = "0199b2a5-0000-7000-8000-000000000001";
    let message = json!({"id": id, "backend": "clinic", "identities": ["+1555"], "text": "hi",
        "context": {"kind": "a/b c"}, "priority": "bulk", "created_at": "2026-01-01T00:00:00Z", "attempt": 1});
    let body = message.to_string();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let header = lapin::types::AMQPValue::LongString(trace.into());
    let headers = std::collections::BTreeMap::from([("traceparent".into(), header)]);
    let properties = Properties::default().with_headers(headers.into());
    pair.tap.publish("postern.outbound", "clinic.bulk", body.as_bytes(), properties).await;
    let asked = provider.take().await;
    assert_eq!((asked.path.as_str(), asked.header("x-message-id")), ("/a%2Fb%20c", Some(id)));
    let report = eventually("the outcome", async || {
        let report = pair.tap.take("postern.reports").await;
        if report.json()["recipients"][0]["state"] == "sent" { Ok(report) } else { Err("another") }
    })
    .await;
    assert_eq!(report.json()["message_id"], id);
    let told = report.headers["traceparent"].as_str().unwrap();
    assert_eq!(told.split('-').nth(1), trace.split('-').nth(1), "one trace from end to end");
}

#[tokio::test]
async fn two_dispatchers_share_the_work_and_all_of_it_is_done_once() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    provider.otherwise(move |_| Answer::ok("").held(&held));
    let send = sending_to(&provider.url("/send")) + "timeout = \"10m\"\n";
    let config = format!("[dispatcher]\nconcurrency = 2\n{send}");
    let pair = Pair::start(&config).await;
    let other = Launch::dispatcher(&pair.vhost.config(&config)).start().await;
    for n in 0..60 {
        let text = format!("message {n}");
        pair.tap.send(&json!({"backend": "clinic", "identities": ["+1555"], "text": text})).await;
    }
    // Each has at most two requests in flight: four come from both.
    assert_eq!(provider.wait_for(4).await.len(), 4);
    gate.open();
    let mut texts: Vec<_> = provider.wait_for(60).await.iter().map(|r| r.form()[1].1.clone()).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 60);
    eventually("the outcomes of all messages", async || {
        let sent = [("backend", "clinic"), ("outcome", "sent")];
        let mut done = 0.0;
        for dispatcher in [&pair.dispatcher, &other] {
            done += dispatcher.metrics().await.value("postern_dispatch_messages_total", &sent);
        }
        if done == 60.0 { Ok(()) } else { Err(done) }
    })
    .await;
    assert_eq!(provider.requests().len(), 60);
}

#[tokio::test]
async fn a_dispatcher_serves_only_its_backends() {
    let provider = Provider::obliging().await;
    let backend = |name: &str| sending_to(&provider.url(&format!("/{name}"))).replace("clinic", name);
    let config = Rabbit::shared().vhost();
    let text = config.config(&(backend("one") + &backend("two")));
    let dispatcher = Launch::dispatcher(&text).arg("--backends").arg("one").start().await;
    let tap = config.tap().await;
    for name in ["two", "one"] {
        tap.send(&json!({"backend": name, "identities": ["+1555"], "text": "hi"})).await;
    }
    assert_eq!(provider.take().await.path, "/one");
    tap.depth_becomes("postern.outbound.two", 1).await;
    tap.depth_becomes("postern.outbound.one", 0).await;
    assert_eq!(provider.requests().len(), 0);
    let refused = Launch::dispatcher(&text).arg("--backends").arg("one,three").run().await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.log.contains("three") && refused.log.contains("one, two"), "{}", refused.log);
    drop(dispatcher);
}

#[tokio::test]
async fn every_queue_is_a_durable_quorum_queue_but_for_the_log_and_has_the_contracts_name() {
    let pair = Pair::start(CLINIC).await;
    let queues = pair.vhost.queues();
    for queue in &queues {
        let kind = if ["postern.control", "postern.health"].contains(&queue.name.as_str()) {
            "rabbit_stream_queue"
        } else {
            "rabbit_quorum_queue"
        };
        assert_eq!((queue.kind.as_str(), queue.durable), (kind, true), "{}", queue.name);
    }
    for name in [
        "postern.inbound",
        "postern.outbound.clinic",
        "postern.outbound.clinic.bulk",
        "postern.reports",
        "postern.dead",
        "postern.unrouted",
        "postern.control",
        "postern.health",
    ] {
        assert!(queues.iter().any(|queue| queue.name == name), "{name} is missing: {queues:?}");
    }
}

#[tokio::test]
async fn a_message_to_a_backend_that_nobody_declared_is_kept() {
    let pair = Pair::start(CLINIC).await;
    let message = json!({"backend": "nobody", "identities": ["+1555"], "text": "hi"});
    pair.tap.send(&message).await;
    assert_eq!(pair.tap.take("postern.unrouted").await.json(), message);
}

#[tokio::test]
async fn an_echo_answers_each_message_once_and_with_its_context() {
    let provider = Provider::obliging().await;
    let config = format!("[application]\ntype = \"echo\"\n{}", sending_to(&provider.url("/send")));
    let pair =
        Pair::start(&config.replace("text = ", "in = \"{{ context.in_response_to }}\", text = ")).await;
    let other = Launch::dispatcher(&pair.vhost.config(&config)).start().await;
    for text in ["one", "two"] {
        let reply =
            pair.ingress.post_form("/backends/clinic", &[("identity", "+1555"), ("text", text)]).await;
        assert_eq!(reply.status, 200);
    }
    let mut texts: Vec<_> = provider
        .wait_for(2)
        .await
        .iter()
        .map(|r| r.form().into_iter().find(|(name, _)| name == "text").unwrap().1)
        .collect();
    texts.sort();
    assert_eq!(texts, ["one", "two"]);
    pair.tap.depth_becomes("postern.inbound", 0).await;
    assert_eq!(provider.requests().len(), 2);
    drop(other);
}
