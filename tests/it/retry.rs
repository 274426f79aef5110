//! Failed sends: which recipients are retried, when, and which end as dead letters.

use crate::reports::{course, outcome, states};
use postern_tests::{Answer, Launch, Message, Program, Properties, Provider, Rabbit, Request, Tap, Vhost};
use serde_json::{Value, json};
use std::time::Duration;

struct Setup {
    provider: Provider,
    dispatcher: Program,
    tap: Tap,
    _vhost: Vhost,
}

/// A dispatcher with the backend `x`; `send` is the end of its `[backends.x.send]`.
async fn setup(delays: &str, send: &str) -> Setup {
    let provider = Provider::start().await;
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&format!(
        "[backends.x]\ntype = \"http\"\n[backends.x.retry]\ndelays = {delays}\n[backends.x.send]\n\
         url = \"{}\"\nform = {{ to = \"{{{{ identities }}}}\", text = \"{{{{ text }}}}\" }}\n{send}\n",
        provider.url("/send")
    ));
    let dispatcher = Launch::dispatcher(&config).start().await;
    Setup { provider, dispatcher, tap: vhost.tap().await, _vhost: vhost }
}

fn message(identities: &[&str]) -> Value {
    json!({"id": uuid::Uuid::now_v7(), "backend": "x", "identities": identities, "text": "hi there"})
}

fn headers(dead: &Message) -> Value {
    json!([dead.headers["x-postern-attempts"], dead.headers["x-postern-queue"]])
}

fn reason(dead: &Message) -> &str {
    dead.headers["x-postern-reason"].as_str().expect("a dead letter says why")
}

#[tokio::test]
async fn a_provider_that_fails_twice_gets_it_at_the_third_attempt() {
    let s = setup(r#"["1s", "1s"]"#, "").await;
    s.provider.script([Answer::status(503), Answer::status(500), Answer::ok("")]);
    s.tap.send(&message(&["+1555"])).await;
    let wanted = json!([["retrying", 1, "transient"], ["retrying", 2, "transient"], ["sent", 3, null]]);
    assert_eq!(json!(course(&s.tap, 3).await), wanted);
    let asked = s.provider.requests();
    let waited: Vec<_> = asked.windows(2).map(|two| two[1].at - two[0].at).collect();
    for pause in &waited {
        assert!(*pause >= Duration::from_millis(990), "tried again too early: {waited:?}");
    }
    s.dispatcher
        .metric_becomes("postern_retries_total", &[("backend", "x"), ("class", "transient")], 2.0)
        .await;
    s.tap.depth_becomes("postern.dead", 0).await;
}

#[tokio::test]
async fn a_permanent_failure_is_dead_at_once() {
    let s = setup(r#"["1s"]"#, "").await;
    s.provider.script([Answer::status(400).body("no such number +1555")]);
    let sent = message(&["+1555"]);
    s.tap.send(&sent).await;
    let dead = s.tap.take("postern.dead").await;
    assert_eq!(headers(&dead), json!([1, "postern.outbound.x"]));
    assert!(reason(&dead).contains("http_400"), "{}", reason(&dead));
    let body = dead.json();
    for key in ["id", "backend", "identities", "text"] {
        assert_eq!(body[key], sent[key], "the message as it was");
    }
    let report = outcome(&s.tap).await;
    assert_eq!(states(&report), [("+1555", "failed")]);
    let told = &report["recipients"][0]["reason"];
    assert_eq!((&told["class"], &told["code"]), (&json!("permanent"), &json!("http_400")));
    let class = [("backend", "x"), ("class", "permanent")];
    s.dispatcher.metric_becomes("postern_dead_letters_total", &class, 1.0).await;
    s.dispatcher.ends_silent(&["+1555", "hi there", "no such number"]).await;
}

#[tokio::test]
async fn one_request_is_tried_again_for_those_whom_its_answer_refuses_for_now() {
    let table = "recipients = \"list\"\n[backends.x.send.results]\neach = \"/results\"\nidentity = \"/to\"\n\
                 external_id = \"/id\"\nsuccess = { at = \"/state\", is = \"ok\" }\n\
                 [[backends.x.send.results.failures]]\nat = \"/state\"\nis = \"bad\"\nclass = \"permanent\"";
    let s = setup(r#"["1s"]"#, table).await;
    let asked = |request: &Request| -> Vec<String> {
        let to = request.form().into_iter().filter(|(name, _)| name == "to").map(|(_, to)| to);
        to.collect()
    };
    s.provider.script([
        Answer::json(
            200,
            &json!({"results": [
                {"to": "254711000003", "state": "bad"},
                {"to": "254711000002", "state": "later"},
                {"to": "254711000001", "state": "ok", "id": "a"},
            ]}),
        ),
        Answer::json(200, &json!({"results": [{"to": "254711000002", "state": "ok", "id": "b"}]})),
    ]);
    s.tap.send(&message(&["+254711000001", "+254711000002", "+254711000003"])).await;
    let first = outcome(&s.tap).await;
    assert_eq!(
        states(&first),
        [("+254711000001", "sent"), ("+254711000002", "retrying"), ("+254711000003", "failed")]
    );
    assert_eq!(first["recipients"][0]["external_id"], "a");
    let second = outcome(&s.tap).await;
    assert_eq!(states(&second), [("+254711000002", "sent")]);
    assert_eq!(second["recipients"][0]["external_id"], "b");
    let requests = s.provider.requests();
    let all: Vec<_> = requests.iter().map(asked).collect();
    assert_eq!(all, [vec!["+254711000001", "+254711000002", "+254711000003"], vec!["+254711000002"]]);
    assert_eq!(s.tap.take("postern.dead").await.json()["identities"], json!(["+254711000003"]));
}

#[tokio::test]
async fn what_has_expired_is_not_sent() {
    let s = setup(r#"["1h"]"#, "").await;
    let mut late = message(&["+1555", "+1666"]);
    late["expires_at"] = json!("2020-01-01T00:00:00Z");
    s.tap.send(&late).await;
    let report = outcome(&s.tap).await;
    assert_eq!(states(&report), [("+1555", "expired"), ("+1666", "expired")]);
    // A message whose retry would come after `expires_at` is given up at its first failure.
    s.provider.script([Answer::status(503)]);
    let mut soon = message(&["+1777"]);
    soon["expires_at"] = json!((jiff::Timestamp::now() + Duration::from_secs(300)).to_string());
    s.tap.send(&soon).await;
    let report = outcome(&s.tap).await;
    assert_eq!(states(&report), [("+1777", "expired")]);
    assert_eq!(report["recipients"][0]["reason"]["code"], "http_503");
    assert_eq!(s.provider.requests().len(), 1);
}

#[tokio::test]
async fn what_is_no_message_is_put_aside_and_the_queue_goes_on() {
    let s = setup(r#"["1s"]"#, "").await;
    s.provider.script([Answer::ok("")]);
    let wrong: [&[u8]; 5] = [
        b"not json, with the number +1555",
        b"\xff\xfe",
        b"",
        br#"{"backend":"x","identities":[],"text":"hi there"}"#,
        br#"{"backend":"x","identities":["+1555"]}"#,
    ];
    for body in wrong {
        s.tap.publish("postern.outbound", "x", body, Properties::default()).await;
    }
    s.tap.send(&message(&["+1555"])).await;
    let mut dead: Vec<_> = Vec::new();
    for message in s.tap.take_all("postern.dead", wrong.len()).await {
        assert!(reason(&message).contains("postern.outbound.v1"), "{}", reason(&message));
        assert!(!reason(&message).contains("+1555"), "{}", reason(&message));
        assert_eq!(message.headers["x-postern-queue"], "postern.outbound.x");
        dead.push(message.body);
    }
    dead.sort();
    let mut bodies = wrong.map(<[u8]>::to_vec);
    bodies.sort();
    assert_eq!(dead, bodies);
    assert_eq!(states(&outcome(&s.tap).await), [("+1555", "sent")]);
    s.dispatcher.ends_silent(&["+1555", "hi there", "not json"]).await;
}

#[tokio::test]
async fn a_request_that_is_never_answered_is_unknown() {
    for (unanswered, then) in [("retry", "sent"), ("fail", "unknown")] {
        let send = format!("timeout = \"1m\"\nunanswered = \"{unanswered}\"");
        let s = setup(r#"["100ms"]"#, &send).await;
        let again = (unanswered == "retry").then(|| Answer::ok(""));
        s.provider.script([Answer::unanswered()].into_iter().chain(again));
        s.tap.send(&message(&["+1555"])).await;
        let first = outcome(&s.tap).await;
        assert_eq!(first["recipients"][0]["reason"]["class"], "unknown", "{first}");
        if unanswered == "retry" {
            assert_eq!(states(&first), [("+1555", "retrying")]);
            assert_eq!(states(&outcome(&s.tap).await), [("+1555", then)]);
        } else {
            assert_eq!(states(&first), [("+1555", then)]);
            s.tap.depth_becomes("postern.dead", 1).await;
        }
    }
}

#[tokio::test]
async fn a_refused_connection_and_a_refused_login_are_not_the_same() {
    let s = setup(r#"["100ms"]"#, "").await;
    s.provider.otherwise(|_| Answer::status(401));
    s.tap.send(&message(&["+1555"])).await;
    let refused = course(&s.tap, 2).await;
    assert_eq!(json!(refused), json!([["retrying", 1, "config"], ["failed", 2, "config"]]));
    assert_eq!(headers(&s.tap.take("postern.dead").await), json!([2, "postern.outbound.x"]));
    let nobody = format!("http://127.0.0.1:{}/", postern_tests::free_port());
    let vhost = Rabbit::shared().vhost();
    let config = format!(
        "[retry]\ndelays = [\"100ms\"]\n[backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"{nobody}\"\n"
    );
    let _dispatcher = Launch::dispatcher(&vhost.config(&config)).start().await;
    let tap = vhost.tap().await;
    tap.send(&message(&["+1555"])).await;
    let course = course(&tap, 2).await;
    assert_eq!(json!(course), json!([["retrying", 1, "transient"], ["failed", 2, "transient"]]));
}
