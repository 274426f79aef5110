//! `/v1` and `/openapi.json`: the HTTP interface for applications.

use postern_tests::{Launch, Program, Rabbit, Reply, Tap, fetch};
use reqwest::Method;
use serde_json::{Value, json};

const KEYS: &str = r#"
[[api.keys]]
name = "all"
key = "key-of-all"
backends = ["*"]
[[api.keys]]
name = "one"
key = { env = "KEY_OF_ONE" }
backends = ["one"]

[backends.one]
type = "http"
[backends.one.send]
url = "http://127.0.0.1:9/"
auth = { bearer = "secret-of-the-provider" }
form = { t = "x" }
[backends.two]
type = "console"
[backends.receiving]
type = "http"
"#;

async fn ingress() -> (Program, Tap) {
    let vhost = Rabbit::shared().vhost();
    let launch = Launch::ingress(&vhost.config(KEYS)).env("KEY_OF_ONE", "key-of-one");
    (launch.start().await, vhost.tap().await)
}

async fn send(ingress: &Program, key: &str, body: &Value) -> Reply {
    let request = ingress.request(Method::POST, "/v1/messages").json(body);
    fetch(if key.is_empty() { request } else { request.bearer_auth(key) }).await.unwrap()
}

fn message(backend: &str) -> Value {
    json!({"backend": backend, "to": "+1555", "text": "hi"})
}

/// Checks that `reply` is a problem document (RFC 9457) that names `field`, unless that is empty.
fn assert_problem(name: &str, reply: &Reply, status: u16, field: &str) {
    assert_eq!(reply.status, status, "{name}: {}", reply.text);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{name}");
    let problem = reply.json();
    assert_eq!(problem["status"], status, "{name}: {problem}");
    assert!(problem["title"].is_string(), "{name}: {problem}");
    assert!(field.is_empty() || reply.text.contains(field), "{name} does not name {field}: {problem}");
    for secret in ["+1555", "key-of"] {
        assert!(!reply.text.contains(secret), "{name} quotes {secret}: {problem}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_a_problem_document_that_names_it() {
    let (ingress, tap) = ingress().await;
    let with = |change: Value| {
        let mut body = message("one");
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let cases = [
        ("no key", "", message("one"), 401, ""),
        ("a wrong key", "key-of-none", message("one"), 401, ""),
        ("a backend that the key may not use", "key-of-one", message("two"), 403, "backend"),
        ("an unknown backend", "key-of-all", message("nobody"), 404, "backend"),
        ("no text", "key-of-all", json!({"backend": "one", "to": "+1555"}), 422, "text"),
        ("no recipient", "key-of-all", json!({"backend": "one", "text": "hi"}), 422, "identities"),
        ("both kinds of recipients", "key-of-all", with(json!({"identities": ["+1555"]})), 422, "identities"),
        (
            "an empty list",
            "key-of-all",
            json!({"backend": "one", "identities": [], "text": "hi"}),
            422,
            "identities",
        ),
        (
            "a blank recipient",
            "key-of-all",
            json!({"backend": "one", "identities": ["+1555", " "], "text": "hi"}),
            422,
            "identities",
        ),
        ("a text of another type", "key-of-all", with(json!({"text": 7})), 422, "text"),
        ("NUL in the text", "key-of-all", with(json!({"text": "a\u{0}b"})), 422, "text"),
        ("too long a text", "key-of-all", with(json!({"text": "x".repeat(16_385)})), 422, "text"),
        ("an unknown field", "key-of-all", with(json!({"txt": "hi"})), 422, "txt"),
        ("an unknown priority", "key-of-all", with(json!({"priority": "high"})), 422, "priority"),
        ("no time", "key-of-all", with(json!({"expires_at": "tomorrow"})), 422, "expires_at"),
        ("a backend that only receives", "key-of-all", message("receiving"), 422, "backend"),
    ];
    for (name, key, body, status, field) in cases {
        assert_problem(name, &send(&ingress, key, &body).await, status, field);
    }
    let post = |body: &'static str, kind: &'static str| {
        let request = ingress.request(Method::POST, "/v1/messages").bearer_auth("key-of-all");
        fetch(request.header("Content-Type", kind).body(body))
    };
    assert_problem("broken JSON", &post("{\"to\"", "application/json").await.unwrap(), 400, "");
    assert_problem("no JSON", &post("to=1", "application/x-www-form-urlencoded").await.unwrap(), 415, "");
    let huge = json!({"backend": "one", "to": "+1555", "text": "x".repeat(3_000_000)});
    assert_problem("a huge body", &send(&ingress, "key-of-all", &huge).await, 413, "");
    let denied = send(&ingress, "", &message("one")).await;
    assert!(denied.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")));
    for queue in ["postern.outbound.one", "postern.outbound.two", "postern.unrouted"] {
        tap.depth_becomes(queue, 0).await;
    }
    ingress.ends_silent(&["+1555", "key-of", "secret-of-the-provider"]).await;
}

#[tokio::test]
async fn without_a_key_v1_is_for_loopback_only() {
    let launch = Launch::gateway().own_addresses().env("POSTERN__INGRESS__LISTEN", "0.0.0.0:0");
    let ended = launch.run().await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for word in ["ingress.listen", "api.keys", "api.listen"] {
        assert!(ended.log.contains(word), "{word}: {}", ended.log);
    }
}
