//! Too many requests from one address or with one key.

use postern_tests::{Launch, Program, Reply, fetch};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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

/// A request that seems to come from `address`.
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
    // A client that guesses must not learn that a guess was right.
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
    // A `X-Forwarded-For` that the client wrote itself does not count as a new address.
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

/// A request without the last byte of its body. [`finish`] sends that byte on the returned stream.
async fn begin(postern: &Program, head: &str, body: &str) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(postern.url().trim_start_matches("http://")).await.unwrap();
    let (last, rest) = body.as_bytes().split_last().unwrap();
    let length = body.len();
    let head = format!("{head}Host: t\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(rest).await.unwrap();
    (stream, *last)
}

/// Sends the last byte, and reads the status of the answer.
async fn finish((mut stream, last): (TcpStream, u8)) -> u16 {
    stream.write_all(&[last]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).parse().unwrap()
}

/// Guesses that are all in flight before the first of them is judged count against the rate, too.
#[tokio::test]
async fn what_is_in_flight_counts() {
    const KANNEL: &str = "[compat.kannel]\npath = \"/sms\"\n[[compat.kannel.users]]\nusername = \"app\"\n\
                          password = \"hush-word\"\nbackend = \"log\"\n\
                          [backends.log]\ntype = \"console\"\n\
                          [backends.signed]\ntype = \"http\"\n\
                          receive = { auth = { hmac = { header = \"X-Sign\", secret = \"hush-sign\" } } }\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let guess = "identity=1&text=a";
    let password = |password: &str| format!("username=app&password={password}&to=1&text=a");
    let signed = format!("POST /backends/signed HTTP/1.1\r\n{form}X-Sign: 00\r\n");
    let sendsms = format!("POST /sms HTTP/1.1\r\n{form}");
    for (head, wrong, right) in [
        (&sendsms, password("wrong"), Some(password("hush-word"))),
        (&signed, guess.to_owned(), None),
        (&format!("POST /nowhere HTTP/1.1\r\n{form}"), guess.to_owned(), None),
    ] {
        let postern = Launch::gateway().config(&format!("{CONFIG}{KANNEL}")).start().await;
        let mut requests = Vec::new();
        for _ in 0..30 {
            requests.push(begin(&postern, head, &wrong).await);
        }
        if let Some(right) = &right {
            requests.push(begin(&postern, head, right).await);
        }
        // Wait until all of them have been looked at.
        postern
            .metric_becomes("postern_connections_open", &[("listener", "ingress")], requests.len() as f64)
            .await;
        let mut answers = Vec::new();
        for request in requests {
            answers.push(finish(request).await);
        }
        let late = answers.iter().filter(|status| **status == 429).count();
        assert_eq!(answers.len() - late, 3, "{head}: {answers:?}");
        assert!(answers.iter().all(|status| matches!(status, 403 | 404 | 429)), "{head}: {answers:?}");
        let queued = postern.metrics().await.value("postern_publish_duration_seconds_count", &[]);
        assert!(queued.abs() < f64::EPSILON, "{queued}");
    }
}

#[tokio::test]
async fn without_a_limit_there_is_none() {
    let postern = Launch::gateway().start().await;
    for _ in 0..300 {
        assert_eq!(postern.get("/backends/nobody").await.status, 404);
    }
}
