//! Messages to send that a client repeats under its own id.

use crate::{
    client::{self, Answer},
    server::Running,
};
use postern_broker::BrokerError;
use postern_shared::message::MessageId;
use serde_json::{Value, json};

const CONFIG: &str = r#"
    [[api.keys]]
    name = "clinic"
    key = "key-of-clinic"
    backends = ["*"]
    [[api.keys]]
    name = "other"
    key = "key-of-other"
    backends = ["*"]
    [compat.vumi]
    path = "/vumi"
    users = [{ username = "u", password = "hush-hush-hush-hush", backend = "demo" }]
    [backends.demo]
    type = "http"
    send = { url = "http://127.0.0.1:9/send", batch = 2 }
    [backends.tty]
    type = "console"
"#;
const CLINIC: &str = "Bearer key-of-clinic";
const OTHER: &str = "Bearer key-of-other";
const MESSAGE: &str =
    r#"{"backend": "demo", "to": ["1", "2", "3"], "text": "pong", "context": {"a": 1, "b": 2}}"#;

/// A POST of `body` to `/v1/messages` by the holder of `key`, with these `Idempotency-Key`s.
async fn post(server: &Running, key: &str, keys: &[&str], body: &str) -> Answer {
    let mut headers = vec![("Authorization", key), ("Content-Type", "application/json")];
    headers.extend(keys.iter().map(|key| ("Idempotency-Key", *key)));
    client::send(server.api, &client::written("POST", "/v1/messages", &headers, body.as_bytes())).await
}

/// The places that a 422 names.
fn wrong(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status, answer.header("content-type")), (422, Some("application/problem+json")));
    let errors = answer.json()["errors"].as_array().cloned().unwrap();
    let place = |error: &Value| error["header"].as_str().or(error["pointer"].as_str()).unwrap().to_owned();
    errors.iter().map(place).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_submission_gets_the_first_answer_and_is_not_queued_again() {
    let server = Running::start(CONFIG).await;
    let first = post(&server, CLINIC, &["order-1"], MESSAGE).await;
    assert_eq!(first.status, 202);
    assert_eq!(first.json()["id"], MessageId::outbound("clinic", "order-1").to_string());
    assert_eq!(server.outbound().len(), 2);
    let rewritten = r#"{"context":{"b":2,"a":1},"text":"pong","to":["1","2","3"],"backend":"demo"}"#;
    for body in [MESSAGE, rewritten] {
        let again = post(&server, CLINIC, &["order-1"], body).await;
        assert_eq!((again.status, again.body.as_str()), (202, first.body.as_str()));
    }
    for body in [
        MESSAGE.replace("pong", "ping"),
        MESSAGE.replace("demo", "tty"),
        MESSAGE.replace("\"3\"", "\"4\""),
        MESSAGE.replace("\"b\": 2", "\"b\": 3"),
        "{}".to_owned(),
    ] {
        assert_eq!(wrong(&post(&server, CLINIC, &["order-1"], &body).await), ["Idempotency-Key"], "{body}");
    }
    assert_eq!(server.outbound(), []);
    let counted = "postern_ingress_duplicates_total{backend=\"demo\"} 2";
    assert!(server.metrics.text().contains(counted), "{}", server.metrics.text());
    // Another key, another application's same key, and no key: other messages.
    for (key, keys) in [(CLINIC, &["order-2"][..]), (OTHER, &["order-1"]), (CLINIC, &[]), (CLINIC, &[])] {
        let other = post(&server, key, keys, MESSAGE).await;
        assert!(other.status == 202 && other.json()["id"] != first.json()["id"]);
        assert_eq!(server.outbound().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_does_not_use_up_its_key() {
    let server = Running::start(CONFIG).await;
    assert_eq!(post(&server, CLINIC, &["k"], "{").await.status, 400);
    assert_eq!(post(&server, CLINIC, &["k"], "{}").await.status, 422);
    assert_eq!(post(&server, CLINIC, &["k"], &MESSAGE.replace("demo", "nowhere")).await.status, 404);
    server.broker.answer(|_| Err(BrokerError::Closed));
    assert_eq!(post(&server, CLINIC, &["k"], MESSAGE).await.status, 503);
    server.broker.answer(|_| Ok(()));
    let passed = MESSAGE.replace("}}", r#"}, "expires_at": "2000-01-01T00:00:00Z"}"#);
    assert_eq!(wrong(&post(&server, CLINIC, &["k"], &passed).await), ["#/expires_at"]);
    assert_eq!(post(&server, CLINIC, &["k"], MESSAGE).await.status, 202);
    assert_eq!(server.outbound().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_submissions_at_the_same_time_one_is_queued() {
    let server = Running::start(CONFIG).await;
    server.broker.held.send_replace(true);
    let posts = futures_util::future::join_all((0..4).map(|_| post(&server, CLINIC, &["k"], MESSAGE)));
    let open = async {
        server.broker.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
        server.broker.held.send_replace(false);
    };
    let (answers, ()) = tokio::join!(posts, open);
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body));
    }
    assert_eq!(server.broker.take_calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_window_a_repetition_is_queued_under_the_same_id() {
    let server = Running::start(&format!("ingress.dedupe_window = 0\n{CONFIG}")).await;
    let ids = [
        post(&server, CLINIC, &["k"], MESSAGE).await.json()["id"].clone(),
        post(&server, CLINIC, &["k"], MESSAGE).await.json()["id"].clone(),
    ];
    assert_eq!((&ids[0], server.outbound().len()), (&ids[1], 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_refused() {
    let server = Running::start(CONFIG).await;
    let (longest, long) = ("x".repeat(255), "x".repeat(256));
    for keys in [&[""][..], &["a b"], &["é"], &[&long], &["a", "a"]] {
        assert_eq!(wrong(&post(&server, CLINIC, keys, MESSAGE).await), ["Idempotency-Key"], "{keys:?}");
    }
    let both = MESSAGE.replace("\"pong\"", "1");
    assert_eq!(wrong(&post(&server, CLINIC, &[""], &both).await), ["#/text", "Idempotency-Key"]);
    assert_eq!(server.outbound(), []);
    assert_eq!(post(&server, CLINIC, &[&longest], MESSAGE).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn vumis_and_rapidsmss_ids_are_such_keys() {
    let server = Running::start(CONFIG).await;
    let put = async |message: &Value| {
        let headers = [("Authorization", "Basic dTpodXNoLWh1c2gtaHVzaC1odXNo")];
        let body = message.to_string();
        client::send(server.address, &client::written("POST", "/vumi", &headers, body.as_bytes())).await
    };
    let vumi = json!({"message_id": "m1", "to_addr": "1", "content": "hi"});
    let rapidsms = json!({"to_addr": ["1"], "content": "hi", "metadata": {"rapidsms_msg_id": 7}});
    for message in [&vumi, &rapidsms] {
        let first = put(message).await;
        assert_eq!((first.status, server.outbound().len()), (200, 1), "{}", first.body);
        let again = put(message).await;
        assert_eq!((again.status, &again.body, server.outbound().len()), (200, &first.body, 0));
        let mut other = message.clone();
        other["to_addr"] = json!(["2"]);
        let other = put(&other).await;
        assert_eq!((other.status, server.outbound().len()), (200, 1), "a further batch, under the same id");
        assert_ne!(other.json()["message_id"], first.json()["message_id"]);
    }
    let without = json!({"to_addr": "1", "content": "hi"});
    put(&without).await;
    put(&without).await;
    assert_eq!(server.outbound().len(), 2);
}
