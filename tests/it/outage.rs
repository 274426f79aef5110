//! A broker that goes away, a broker that refuses, and programs that are told to stop. The ingress has no spool
//! here; `spool` tests what it does with one.

use crate::reports::{outcome, states};
use postern_tests::{Answer, Gate, Launch, Pair, Program, Provider, Rabbit, eventually};
use serde_json::json;

fn backend(url: &str) -> String {
    format!(
        "[broker]\nurl = \"URL\"\n[ingress]\nspool = false\n[retry]\ndelays = [\"1s\", \"1s\"]\n\
         [backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"{url}\"\nform = {{ text = \"{{{{ text }}}}\" }}\n"
    )
}

async fn readiness_becomes(program: &Program, status: u16) -> String {
    eventually(&format!("/readyz to answer {status}"), async || match program.ready().await {
        Ok(reply) if reply.status == status => Ok(reply.text),
        Ok(reply) => Err(format!("{} {}", reply.status, reply.text)),
        Err(e) => Err(e.to_string()),
    })
    .await
}

#[tokio::test]
async fn a_broker_that_was_killed_and_comes_back_loses_nothing_and_nobody_has_to_be_told() {
    let rabbit = Rabbit::to_harm().await;
    let provider = Provider::obliging().await;
    let vhost = rabbit.vhost();
    let config = backend(&provider.url("/send")).replace("URL", &vhost.url());
    let (ingress, dispatcher) = Pair::services(&config).await;
    let form = [("identity", "+1555"), ("text", "before")];
    assert_eq!(ingress.post_form("/backends/x", &form).await.status, 200);
    rabbit.kill();
    for program in [&ingress, &dispatcher] {
        let why = readiness_becomes(program, 503).await;
        assert!(why.contains("broker"), "{why}");
        assert_eq!(program.admin("/livez").await.unwrap().status, 200, "no reason to restart it");
        program.metric_becomes("postern_broker_connected", &[], 0.0).await;
    }
    let refused = ingress.post_form("/backends/x", &form).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    rabbit.start().await;
    for program in [&ingress, &dispatcher] {
        readiness_becomes(program, 200).await;
    }
    let tap = vhost.tap().await;
    assert_eq!(tap.take("postern.inbound").await.json()["text"], "before");
    let body = json!({"backend": "x", "to": "+1555", "text": "after"});
    assert_eq!(ingress.post_json("/v1/messages", &body).await.status, 202);
    assert_eq!(provider.take().await.form()[0].1, "after");
    assert_eq!(states(&outcome(&tap).await), [("+1555", "sent")]);
}

#[tokio::test]
async fn a_blocked_broker_is_answered_with_503_in_time_and_sending_goes_on_afterwards() {
    let rabbit = Rabbit::to_harm().await;
    let provider = Provider::obliging().await;
    let vhost = rabbit.vhost();
    let config = backend(&provider.url("/send")).replace("URL", &vhost.url());
    let config = config.replace("[ingress]", "publish_timeout = \"5s\"\n[ingress]");
    let (ingress, dispatcher) = Pair::services(&config).await;
    let form = [("identity", "+1555"), ("text", "hi")];
    // RabbitMQ tells only connections that have published about an alarm.
    assert_eq!(ingress.post_form("/backends/x", &form).await.status, 200);
    rabbit.block(true);
    let start = std::time::Instant::now();
    let refused = ingress.post_form("/backends/x", &form).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(start.elapsed().as_secs() < 20, "it took {:?}", start.elapsed());
    ingress.metric_becomes("postern_broker_blocked", &[], 1.0).await;
    let why = readiness_becomes(&ingress, 503).await;
    assert!(why.contains("blocked"), "{why}");
    rabbit.block(false);
    readiness_becomes(&ingress, 200).await;
    let body = json!({"backend": "x", "to": "+1555", "text": "after"});
    assert_eq!(ingress.post_json("/v1/messages", &body).await.status, 202);
    provider.wait_for(1).await;
    assert_eq!(ingress.terminate().await.code, Some(0));
    assert_eq!(dispatcher.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_service_started_before_its_broker_waits_for_it() {
    let rabbit = Rabbit::to_harm().await;
    let vhost = rabbit.vhost();
    let config = backend("http://127.0.0.1:9/").replace("URL", &vhost.url());
    rabbit.stop().await;
    let ingress = Launch::ingress(&config).spawn();
    ingress.log().wait_for("\"started\"").await;
    readiness_becomes(&ingress, 503).await;
    let form = [("identity", "+1555"), ("text", "early")];
    assert_eq!(ingress.post_form("/backends/x", &form).await.status, 503);
    rabbit.start().await;
    readiness_becomes(&ingress, 200).await;
    assert_eq!(ingress.post_form("/backends/x", &form).await.status, 200);
}

fn shared(url: &str) -> String {
    backend(url).split_once("[retry]").map(|(_, rest)| format!("[retry]{rest}")).unwrap()
}

#[tokio::test]
async fn a_send_in_flight_ends_before_the_program_does() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    provider.script([Answer::ok("").held(&gate)]);
    let pair = Pair::start(&shared(&provider.url("/send"))).await;
    pair.tap.send(&json!({"backend": "x", "identities": ["+1555"], "text": "hi"})).await;
    provider.wait_for(1).await;
    pair.dispatcher.signal("TERM");
    readiness_becomes(&pair.dispatcher, 503).await;
    // A message that comes now is left for another dispatcher.
    pair.tap.send(&json!({"backend": "x", "identities": ["+1666"], "text": "later"})).await;
    gate.open();
    let ended = pair.dispatcher.wait().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(states(&outcome(&pair.tap).await), [("+1555", "sent")]);
    pair.tap.depth_becomes("postern.outbound.x", 1).await;
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn a_send_that_outlasts_the_drain_goes_back_to_its_queue() {
    let provider = Provider::start().await;
    provider.script([Answer::ok("").held(&Gate::closed())]);
    let config = format!("[shutdown]\ndeadline = \"1s\"\n{}", shared(&provider.url("/send")));
    let pair = Pair::start(&config).await;
    let sent = json!({"backend": "x", "identities": ["+1555"], "text": "hi"});
    pair.tap.send(&sent).await;
    provider.wait_for(1).await;
    let ended = pair.dispatcher.terminate().await;
    assert_eq!(ended.code, Some(1), "not a clean drain: {}", ended.log);
    assert!(ended.log.contains("not finished before the drain deadline"), "{}", ended.log);
    assert!(!ended.log.contains("drained"), "it was cut off: {}", ended.log);
    let back = pair.tap.take("postern.outbound.x").await;
    assert_eq!(back.json()["identities"], json!(["+1555"]));
}

#[tokio::test]
async fn a_killed_dispatcher_loses_nothing() {
    let provider = Provider::start().await;
    provider.script([Answer::ok("").held(&Gate::closed())]);
    let pair = Pair::start(&shared(&provider.url("/send"))).await;
    pair.tap.send(&json!({"backend": "x", "identities": ["+1555"], "text": "hi"})).await;
    provider.wait_for(1).await;
    let config = pair.vhost.config(&shared(&provider.url("/send")));
    pair.dispatcher.kill();
    provider.otherwise(|_| Answer::ok(""));
    let _next = Launch::dispatcher(&config).start().await;
    provider.wait_for(2).await;
    assert_eq!(states(&outcome(&pair.tap).await), [("+1555", "sent")]);
}

#[tokio::test]
async fn an_ingress_that_ends_answers_what_it_has_taken() {
    let pair = Pair::start(&shared("http://127.0.0.1:9/")).await;
    let mut sent = Vec::new();
    for n in 0..20 {
        let request = pair.ingress.request(reqwest::Method::POST, "/backends/x");
        let text = format!("message {n}");
        sent.push(tokio::spawn(postern_tests::fetch(
            request.form(&[("identity", "+1555"), ("text", &text)]),
        )));
    }
    tokio::task::yield_now().await;
    let ended = pair.ingress.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let mut stored = 0;
    for reply in sent {
        // A request that came too late is refused, which breaks no promise.
        stored += u32::from(reply.await.unwrap().is_ok_and(|reply| reply.status == 200));
    }
    eventually("every message that was answered 200", async || {
        match pair.tap.depth("postern.inbound").await {
            Ok(depth) if depth >= stored => Ok(()),
            seen => Err(format!("{seen:?} of {stored}")),
        }
    })
    .await;
}
