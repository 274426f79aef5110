//! `/v1`: every status, and the messages that are queued.

use crate::{
    client::{self, Answer},
    server::{Running, impatient},
};
use postern_broker::{Address, Broker, BrokerError, BrokerStatus, Envelope, QueueName};
use postern_shared::message::{MessageId, Priority};
use serde_json::{Value, json};
use std::time::Duration;

const CONFIG: &str = r#"
    [ingress]
    max_body = 100000
    [[api.keys]]
    name = "clinic"
    key = "key-of-clinic"
    backends = ["*"]
    [[api.keys]]
    name = "limited"
    key = "key-of-limited"
    backends = ["demo"]
    [backends.demo]
    type = "http"
    [backends.demo.send]
    url = "http://127.0.0.1:9/send"
    batch = 2
    auth = { bearer = "hush" }
    [backends.mute]
    type = "http"
    [backends.tty]
    type = "console"
    [backends.kan]
    type = "kannel"
"#;
const CLINIC: (&str, &str) = ("Authorization", "Bearer key-of-clinic");
const LIMITED: (&str, &str) = ("Authorization", "Bearer key-of-limited");
const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn post(server: &Running, headers: &[(&str, &str)], body: &str) -> Answer {
    client::send(server.api, &client::written("POST", "/v1/messages", headers, body.as_bytes())).await
}

/// Checks that `answer` is a problem document with `status`. Returns its detail, and its `errors` as pointers
/// and headers.
fn problem(answer: &Answer, status: u16) -> (String, Vec<String>) {
    assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
    let problem = answer.json();
    assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)));
    assert!(problem["title"].is_string());
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let place = |error: &Value| error["pointer"].as_str().or(error["header"].as_str()).unwrap().to_owned();
    (problem["detail"].as_str().unwrap().to_owned(), errors.iter().map(place).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_queued_in_batches_under_one_id() {
    let server = Running::start(CONFIG).await;
    let body = r#"{"backend": "demo", "identities": ["1", "2", "3"], "text": "pong", "context": {"from": "9"},
                   "priority": "bulk", "expires_at": "2099-01-01T00:00:00Z"}"#;
    let answer = post(&server, &[CLINIC, JSON], body).await;
    assert_eq!((answer.status, answer.header("content-type")), (202, Some("application/json")));
    let id: MessageId = answer.json()["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        answer.json(),
        json!({"id": id, "backend": "demo", "identities": 3, "segments": 1, "encoding": "gsm7"})
    );
    let calls = server.broker.take_calls();
    let [call] = &calls[..] else { panic!("one publish, not {}", calls.len()) };
    let mut identities = Vec::new();
    for (address, envelope) in call {
        assert_eq!(*address, Address::Outbound("demo".parse().unwrap(), Priority::Bulk));
        assert!(envelope.text_header("traceparent").is_some());
        let message = postern_shared::message::Outbound::from_json(&envelope.body).unwrap();
        assert_eq!((message.id, message.text.as_str(), message.attempt), (id, "pong", 1));
        assert_eq!((&message.context["from"], message.priority), (&json!("9"), Priority::Bulk));
        assert_eq!(envelope.kind.as_deref(), Some("postern.outbound.v1"));
        let written: Value = serde_json::from_slice(&envelope.body).unwrap();
        assert_eq!(written["expires_at"], "2099-01-01T00:00:00.000Z");
        identities.push(message.identities.iter().map(|i| i.as_str().to_owned()).collect::<Vec<_>>());
    }
    assert_eq!(identities, [vec!["1", "2"], vec!["3"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_keys_are_enough_and_a_console_sends_too() {
    let server = Running::start(CONFIG).await;
    for body in [
        r#"{"backend": "tty", "to": "1", "text": "pong"}"#,
        r#"{"backend": "tty", "to": ["1"], "text": "pong"}"#,
        r#"{"backend": "tty", "identities": ["1"], "text": "pong", "context": null, "expires_at": null}"#,
    ] {
        assert_eq!(post(&server, &[CLINIC, JSON], body).await.status, 202, "{body}");
        let [message] = &server.outbound()[..] else { panic!("one message") };
        assert_eq!((message.priority, message.expires_at), (Priority::Normal, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_send_is_told_no_more_than_that() {
    let server = Running::start(CONFIG).await;
    let body = r#"{"backend": "demo", "to": "1", "text": "pong"}"#;
    for header in
        [None, Some("Bearer wrong"), Some("Bearer key-of-clini"), Some("Basic a2V5"), Some("Bearer")]
    {
        let header = header.map(|value| ("Authorization", value));
        let headers: Vec<_> = header.into_iter().chain([JSON]).collect();
        let answer = post(&server, &headers, body).await;
        problem(&answer, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for (key, backend, status) in
        [(LIMITED, "tty", 403), (LIMITED, "nowhere", 403), (CLINIC, "nowhere", 404), (LIMITED, "demo", 422)]
    {
        let answer = post(&server, &[key, JSON], &json!({"backend": backend}).to_string()).await;
        problem(&answer, status);
    }
    assert_eq!(server.outbound().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_refusal_is_a_problem_document() {
    let server = Running::start(CONFIG).await;
    let xml = ("Content-Type", "application/xml");
    let gzip = ("Content-Encoding", "gzip");
    let large = "x".repeat(100_001);
    let many = format!("[{}0]", "0,".repeat(45_000));
    for (headers, body, status, says) in [
        (&[CLINIC, JSON][..], "{", 400, "incomplete"),
        (&[CLINIC, JSON], "", 400, "incomplete"),
        (&[CLINIC], "{}", 415, "application/json"),
        (&[CLINIC, xml], "{}", 415, "application/json"),
        (&[CLINIC, JSON, gzip], "{}", 415, "Content-Encoding"),
        (&[CLINIC, JSON], &large, 413, "at most 100000 bytes"),
        (&[CLINIC, JSON], &many, 422, "at most 42868 members of objects and items of lists"),
        (&[CLINIC, JSON], "{}", 422, "backend: is missing; identities: is missing; text: is missing"),
        (&[CLINIC, JSON], r#"{"backend":"demo","to":"1","text":"x","txt":1}"#, 422, "txt: unknown key"),
        (&[CLINIC, JSON], r#"{"backend":"De","to":"1","text":"x"}"#, 422, "backend: a backend's name"),
        (&[CLINIC, JSON], r#"{"backend":"mute","to":"1","text":"x"}"#, 422, "only receives"),
        (
            &[CLINIC, JSON],
            r#"{"backend":"demo","to":"1","text":"x","expires_at":"2020-01-01T00:00:00Z"}"#,
            422,
            "expires_at: is in the past",
        ),
    ] {
        let answer = post(&server, headers, body).await;
        let (detail, _) = problem(&answer, status);
        assert!(detail.contains(says), "{detail} should say {says}");
    }
    for (method, path, status, allow) in [
        ("PUT", "/v1/messages", 405, Some("GET, POST")),
        ("DELETE", "/v1/backends", 405, Some("GET")),
        ("GET", "/v1/nothing", 404, None),
        ("GET", "/v1", 404, None),
    ] {
        let answer = server.method(method, path).await;
        problem(&answer, status);
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    let slow = "POST /v1/messages HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer key-of-clinic\r\n\
                Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    let hurried = Running::start(&impatient(CONFIG)).await;
    problem(&client::send(hurried.api, slow.as_bytes()).await, 408);
    server.broker.answer(|_| Err(BrokerError::Full("postern.outbound.demo".to_owned())));
    let answer = post(&server, &[CLINIC, JSON], r#"{"backend":"demo","to":"1","text":"x"}"#).await;
    problem(&answer, 503);
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_is_one_recipient() {
    let server = Running::start(CONFIG).await;
    for (recipients, pointers) in [
        (json!({"to": "+254712000000 +254712000001"}), vec!["#/to"]),
        (json!({"to": ["+1", "+1,+2"]}), vec!["#/to/1"]),
        (json!({"identities": ["+1;+2", "+1", "alice"]}), vec!["#/identities/0", "#/identities/2"]),
    ] {
        let mut body = json!({"backend": "kan", "text": "hi"});
        body.as_object_mut().unwrap().extend(recipients.as_object().unwrap().clone());
        let answer = post(&server, &[CLINIC, JSON], &body.to_string()).await;
        let (detail, found) = problem(&answer, 422);
        assert_eq!(found, pointers, "{detail}");
        assert!(detail.contains("send.identity") && !detail.contains("alice"), "{detail}");
    }
    assert_eq!(server.outbound(), []);
    // A sender need not match it: it may be a short code or a name.
    for identity in ["22384", "M-PESA", "a, b"] {
        let query = format!("/backends/kan?id={}&text=hi", identity.replace(' ', "+"));
        assert_eq!(server.get(&query).await.status, 200, "{identity}");
        assert_eq!(server.inbound()[0].identity.as_str(), identity);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backends_are_listed_without_their_secrets() {
    let server = Running::start(CONFIG).await;
    for (backend, lane) in [("demo", Priority::Normal), ("demo", Priority::Bulk), ("tty", Priority::Bulk)] {
        let address = Address::Outbound(backend.parse().unwrap(), lane);
        let later = Address::Later { queue: address.queue(), delay: Duration::from_secs(60) };
        let messages = [address.clone(), address, later].map(|to| (to, Envelope::default()));
        server.broker.publish(messages.into()).await.unwrap();
    }
    let list =
        async |key| client::send(server.api, &client::written("GET", "/v1/backends", &[key], b"")).await;
    let all = list(CLINIC).await;
    assert!(!all.body.contains("hush"));
    assert_eq!(
        all.json(),
        json!({"backends": [
            {"name": "demo", "type": "http", "receives": true, "sends": true, "state": "unserved", "queued": 4, "retrying": 2},
            {"name": "kan", "type": "kannel", "receives": true, "sends": true, "state": "unserved", "queued": 0, "retrying": 0},
            {"name": "mute", "type": "http", "receives": true, "sends": false, "state": "ready", "queued": null, "retrying": null},
            {"name": "tty", "type": "console", "receives": true, "sends": true, "state": "unserved", "queued": 2, "retrying": 1},
        ]})
    );
    let demo = QueueName::outbound(&"demo".parse().unwrap(), Priority::Normal);
    let _consumer = server.broker.consume(&demo, 1).await.unwrap();
    assert_eq!(list(CLINIC).await.json()["backends"][0]["state"], "ready");
    server.broker.status.send_replace(BrokerStatus::Spooling("away".to_owned()));
    assert_eq!(list(CLINIC).await.json()["backends"][0]["state"], "spooling");
    server.broker.status.send_replace(BrokerStatus::Blocked("disk".to_owned()));
    let limited = list(LIMITED).await.json();
    assert_eq!(
        limited,
        json!({"backends": [
            {"name": "demo", "type": "http", "receives": true, "sends": true, "state": "unavailable", "queued": null, "retrying": null},
        ]})
    );
    problem(&list(("Authorization", "Bearer x")).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_only_this_machine_may_send() {
    let server = Running::start("[backends.tty]\ntype = \"console\"\n").await;
    let body = r#"{"backend": "tty", "to": "1", "text": "pong"}"#;
    let answer = post(&server, &[JSON, ("Idempotency-Key", "k")], body).await;
    assert_eq!(answer.status, 202);
    let id = MessageId::outbound("anonymous", "k");
    assert_eq!(answer.json()["id"], id.to_string());
    problem(&post(&server, &[JSON], r#"{"backend": "other"}"#).await, 404);
    server.outbound();
    for header in [("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1"), ("Via", "1.1 proxy")] {
        let (detail, _) = problem(&post(&server, &[JSON, header], body).await, 403);
        assert!(detail.contains("[[api.keys]]"), "{detail}");
        let list = client::written("GET", "/v1/backends", &[header], b"");
        problem(&client::send(server.api, &list).await, 403);
    }
    // A page in a browser whose host name leads to this machine.
    let page = "GET /v1/backends HTTP/1.1\r\nHost: sms.example.org\r\nConnection: close\r\n\r\n";
    problem(&client::send(server.api, page.as_bytes()).await, 403);
    assert_eq!(server.outbound(), []);
    let counted = "postern_ingress_refused_total{backend=\"\",reason=\"not_local\"} 7";
    assert!(server.metrics.text().contains(counted), "{}", server.metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_and_names_every_status_that_was_seen_here() {
    let server = Running::start(CONFIG).await;
    let answer = server.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let document = answer.json();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let all = [
        "/backends/{name}",
        "/backends/{name}/status",
        "/v1/messages",
        "/v1/messages/{id}",
        "/v1/backends",
        "/health",
        "/openapi.json",
    ];
    assert_eq!(paths, all);
    assert!(document["components"]["securitySchemes"].is_object());
    for (pointer, statuses) in [
        (
            "/paths/~1v1~1messages/post",
            &["202", "400", "401", "403", "404", "408", "413", "415", "422", "503"][..],
        ),
        ("/paths/~1v1~1messages/get", &["200", "401", "403", "422", "503"]),
        ("/paths/~1v1~1messages~1{id}/get", &["200", "401", "403", "404", "503"]),
        ("/paths/~1v1~1backends/get", &["200", "401"]),
        ("/paths/~1health/get", &["200", "503"]),
        ("/paths/~1backends~1{name}/post", &["2XX", "400", "404", "405", "408", "413", "415", "503"]),
        ("/paths/~1backends~1{name}/get", &["2XX", "400", "404", "405", "503"]),
        ("/paths/~1backends~1{name}~1status/post", &["2XX", "400", "404", "405", "408", "413", "415", "503"]),
    ] {
        let responses = document.pointer(pointer).unwrap()["responses"].as_object().unwrap();
        assert_eq!(responses.keys().map(String::as_str).collect::<Vec<_>>(), statuses, "{pointer}");
    }
    assert_eq!(server.method("POST", "/openapi.json").await.status, 405);
}
