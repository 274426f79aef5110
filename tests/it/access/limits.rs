//! Too many requests: of one address, of one key.

use postern_tests::{Launch, Program, Reply, fetch};
use reqwest::Method;
use serde_json::json;

const CONFIG: &str = r#"
[ingress]
trusted_proxies = ["127.0.0.1"]
rate_limit = { per_address = "1/h", burst = 3 }
[[api.keys]]
name = "app"
key = "hush-key"
backends = ["*"]
rate = "5/h"
[backends.open]
type = "http"
[backends.guarded]
type = "http"
receive = { auth = { token = { header = "X-Token", secret = "hush-token" } } }
"#;

/// A request as from `address`.
async fn from(postern: &Program, address: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = postern.request(Method::GET, path).header("X-Forwarded-For", address);
    fetch(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await.unwrap()
}

const OPEN: &str = "/backends/open?identity=1&text=a";
const GUARDED: &str = "/backends/guarded?identity=1&text=a";
const TOKEN: (&str, &str) = ("X-Token", "hush-token");

#[tokio::test]
async fn an_address_may_ask_so_much_and_proved_requests_are_not_counted() {
    let postern = Launch::gateway().config(CONFIG).start().await;
    for _ in 0..10 {
        assert_eq!(from(&postern, "192.0.2.1", GUARDED, &[TOKEN]).await.status, 200);
    }
    for (path, status) in [(OPEN, 200), (GUARDED, 403), ("/nowhere", 404)] {
        assert_eq!(from(&postern, "192.0.2.1", path, &[]).await.status, status, "{path}");
    }
    let late = from(&postern, "192.0.2.1", OPEN, &[]).await;
    assert_eq!((late.status, late.text.as_str()), (429, "too many requests; try again later\n"));
    let wait: u64 = late.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&wait), "{wait}");
    // Whoever guesses does not learn that he guessed right.
    assert_eq!(from(&postern, "192.0.2.1", GUARDED, &[TOKEN]).await.status, 429);
    let api = from(&postern, "192.0.2.1", "/v1/backends", &[("Authorization", "Bearer hush-key")]).await;
    assert_eq!((api.status, api.header("content-type")), (429, Some("application/problem+json")));
    assert_eq!(api.json()["status"], 429);
    assert!(api.header("retry-after").is_some());

    assert_eq!(from(&postern, "192.0.2.2", OPEN, &[]).await.status, 200, "another address");
    for (address, status) in [
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 200),
        ("2001:db8::4", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        assert_eq!(from(&postern, address, OPEN, &[]).await.status, status, "{address}");
    }
    // What the client wrote itself makes no new address.
    assert_eq!(from(&postern, "203.0.113.9, 192.0.2.1", OPEN, &[]).await.status, 429);
    let metrics = postern.metrics().await;
    let counted = metrics.value("postern_ingress_refused_total", &[("reason", "rate")]);
    assert!((counted - 5.0).abs() < f64::EPSILON, "{counted}");
    let made_up: Vec<_> = metrics.labels().filter(|(_, value)| value.contains("192.0")).collect();
    assert_eq!(made_up, []);
}

#[tokio::test]
async fn a_key_may_ask_so_much_from_wherever() {
    let postern = Launch::gateway().config(CONFIG).start().await;
    let key = ("Authorization", "Bearer hush-key");
    for number in 0..5 {
        let address = format!("192.0.2.{number}");
        assert_eq!(from(&postern, &address, "/v1/backends", &[key]).await.status, 200);
    }
    let body = json!({"backend": "open", "to": "+1555", "text": "hi"});
    let request = postern.request(Method::POST, "/v1/messages").bearer_auth("hush-key").json(&body);
    let late = fetch(request).await.unwrap();
    assert_eq!((late.status, late.header("content-type")), (429, Some("application/problem+json")));
    assert!(late.header("retry-after").is_some_and(|wait| wait.parse::<u64>().unwrap() >= 1));
    assert_eq!(from(&postern, "192.0.2.1", OPEN, &[]).await.status, 200, "the address is not the key");
    for status in [401, 401, 401, 429] {
        let wrong = ("Authorization", "Bearer hush");
        assert_eq!(from(&postern, "192.0.2.9", "/v1/backends", &[wrong]).await.status, status);
    }
}

#[tokio::test]
async fn without_a_limit_there_is_none() {
    let postern = Launch::gateway().start().await;
    for _ in 0..300 {
        assert_eq!(postern.get("/backends/nobody").await.status, 404);
    }
}
