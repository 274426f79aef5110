//! `GET /v1/messages` and `GET /v1/messages/{id}`, with a real message log.

use crate::{
    client::{self, Answer},
    server::Running,
};
use jiff::Timestamp;
use postern_shared::{
    error::FailureClass,
    event::{Content, Direction, Event, EventKind},
    message::MessageId,
};
use postern_store::message_log::{Keeping, MessageLog, SqliteLog};
use serde_json::{Map, Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};

const CONFIG: &str = r#"
    [[api.keys]]
    name = "both"
    key = "key-of-both"
    backends = ["*"]
    may = ["send", "read"]
    [[api.keys]]
    name = "reader"
    key = "key-of-reader"
    backends = ["one"]
    may = ["read"]
    [[api.keys]]
    name = "all-but-one"
    key = "key-of-all-but-one"
    backends = ["*", "!one"]
    may = ["read"]
    [[api.keys]]
    name = "sender"
    key = "key-of-sender"
    backends = ["*"]
    [backends.one]
    type = "console"
    [backends.two]
    type = "console"
"#;
const OPEN: &str = "[backends.one]\ntype = \"console\"\n";
const BOTH: &str = "key-of-both";

/// An ingress with a message log.
struct Logged {
    server: Running,
    log: Arc<SqliteLog>,
    _folder: TempDir,
}

impl Logged {
    async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(SqliteLog::open(folder.path(), Keeping::full()).await.unwrap());
        Self { server: Running::with_log(config, log.clone()).await, log, _folder: folder }
    }

    async fn get(&self, key: &str, path: &str) -> Answer {
        get(&self.server, key, path).await
    }

    /// A message of one recipient, accepted now.
    async fn accepted(&self, backend: &str, identity: &str, text: &str) -> MessageId {
        let event = accepted(backend, identity, text);
        let id = event.message_id;
        self.log.record(&[event]).await.unwrap();
        id
    }
}

async fn get(server: &Running, key: &str, path: &str) -> Answer {
    client::send(server.api, &request(key, path)).await
}

fn request(key: &str, path: &str) -> Vec<u8> {
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", &*bearer)];
    client::written("GET", path, if key.is_empty() { &[] } else { &headers }, b"")
}

fn accepted(backend: &str, identity: &str, text: &str) -> Event {
    let content = Content {
        direction: Direction::Outbound,
        identities: vec![identity.parse().unwrap()],
        text: Some(text.to_owned()),
        segments: Some(1),
        created_at: postern_shared::clock::now(),
        fields: Map::new(),
    };
    let event = Event::new(EventKind::Accepted, MessageId::new(), backend.parse().unwrap());
    Event { content: Some(content), by: Some("clinic-app".to_owned()), ..event }
}

fn received(identity: &str, text: &str) -> Event {
    let event = accepted("one", identity, text);
    let content = event.content.map(|content| Content { direction: Direction::Inbound, ..content });
    Event { event: EventKind::Received, by: None, identity: identity.parse().ok(), content, ..event }
}

fn texts(answer: &Answer) -> Vec<String> {
    let answer = answer.json();
    let messages = answer["messages"].as_array().unwrap();
    messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

fn detail(answer: &Answer, status: u16) -> String {
    assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
    answer.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_answered_with_what_happened() {
    let logged = Logged::start(CONFIG).await;
    let accepted = accepted("one", "+15551234567", "pong");
    let (id, backend) = (accepted.message_id, accepted.backend.clone());
    let second = |second| Timestamp::from_second(1_795_000_000 + second).unwrap();
    let about = |kind, at| {
        let event = Event::new(kind, id, backend.clone()).about("+15551234567".parse().unwrap());
        Event { at: second(at), ..event }
    };
    let created_at = accepted.content.as_ref().unwrap().created_at;
    let deferred = Event {
        attempt: Some(1),
        class: Some(FailureClass::Transient),
        code: Some("http_503".to_owned()),
        detail: Some("try later".to_owned()),
        http_status: Some(503),
        duration_ms: Some(12),
        ..about(EventKind::Deferred, 1)
    };
    let sent = Event {
        attempt: Some(2),
        external_id: Some("SM1".to_owned()),
        http_status: Some(201),
        duration_ms: Some(84),
        ..about(EventKind::Sent, 2)
    };
    let events = [Event { at: second(0), ..accepted }, deferred, sent, about(EventKind::Delivered, 3)];
    logged.log.record(&events).await.unwrap();
    let answer = logged.get(BOTH, &format!("/v1/messages/{id}")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let at = |at: i64| format!("{:.3}", second(at));
    let who = "+15551234567";
    let message = json!({
        "id": id, "direction": "outbound", "backend": "one", "text": "pong", "segments": 1,
        "created_at": format!("{created_at:.3}"),
        "recipients": [{"identity": who, "state": "delivered", "external_id": "SM1"}],
        "events": [
            {"at": at(0), "event": "accepted", "by": "clinic-app"},
            {"at": at(1), "event": "deferred", "identity": who, "attempt": 1, "class": "transient",
             "code": "http_503", "detail": "try later", "http_status": 503, "duration_ms": 12},
            {"at": at(2), "event": "sent", "identity": who, "attempt": 2, "external_id": "SM1",
             "http_status": 201, "duration_ms": 84},
            {"at": at(3), "event": "delivered", "identity": who},
        ],
    });
    assert_eq!(answer.json(), message);
    let list = logged.get(BOTH, "/v1/messages?identity=+15551234567&state=delivered&external_id=SM1").await;
    assert_eq!((list.status, list.header("cache-control")), (200, Some("no-store")));
    let mut shown = message;
    shown.as_object_mut().unwrap().shift_remove("events");
    assert_eq!(list.json(), json!({"messages": [shown], "next": null}));
    for unknown in ["0199b2a5-0000-7000-8000-000000000000", "no-id", "1"] {
        let answer = logged.get(BOTH, &format!("/v1/messages/{unknown}")).await;
        assert!(detail(&answer, 404).contains("no longer contains it"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_leaves_out_what_it_does_not_mean() {
    let logged = Logged::start(CONFIG).await;
    logged.accepted("one", "+1", "a").await;
    logged.accepted("two", "+2", "b").await;
    logged.log.record(&[received("+1", "c")]).await.unwrap();
    for (query, wanted) in [
        ("", &["c", "b", "a"][..]),
        ("?order=oldest", &["a", "b", "c"]),
        ("?limit=2", &["c", "b"]),
        ("?backend=two", &["b"]),
        ("?identity=%2B1", &["c", "a"]),
        ("?identity=+1&direction=outbound", &["a"]),
        ("?direction=inbound", &["c"]),
        ("?state=queued", &["b", "a"]),
        ("?state=received", &["c"]),
        ("?since=1h", &["c", "b", "a"]),
        ("?until=1h", &[]),
        ("?external_id=x", &[]),
        ("?backend=gone", &[]),
    ] {
        let answer = logged.get(BOTH, &format!("/v1/messages{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        assert_eq!(texts(&answer), wanted, "{query}");
    }
    let wrong = "?limit=0&state=lost&phone=%2B15551234567&wait=1s&until=tomorrow";
    let answer = logged.get(BOTH, &format!("/v1/messages{wrong}")).await;
    detail(&answer, 422);
    let problem = answer.json();
    let errors = problem["errors"].as_array().unwrap();
    let named: Vec<_> = errors.iter().map(|error| error["parameter"].as_str().unwrap()).collect();
    assert_eq!(named, ["limit", "state", "phone", "until"]);
    assert!(!answer.body.contains("+15551234567"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reads_what_is_its_own_and_only_if_it_may() {
    let logged = Logged::start(CONFIG).await;
    let mine = logged.accepted("one", "+1", "mine").await;
    let other = logged.accepted("two", "+2", "other").await;
    let (mine, other) = (format!("/v1/messages/{mine}"), format!("/v1/messages/{other}"));
    for (key, path, status) in [
        (BOTH, &*mine, 200),
        (BOTH, &other, 200),
        ("key-of-reader", &mine, 200),
        ("key-of-reader", &other, 404),
        ("key-of-all-but-one", &mine, 404),
        ("key-of-all-but-one", &other, 200),
        ("key-of-sender", &mine, 403),
        ("key-of-sender", "/v1/messages", 403),
        ("key-of-sender", "/v1/messages?limit=0", 403),
        ("key-of-nobody", &mine, 401),
        ("", "/v1/messages", 401),
        ("", "/v1/backends", 401),
        ("key-of-sender", "/v1/backends", 200),
        ("key-of-reader", "/v1/backends", 200),
    ] {
        let answer = logged.get(key, path).await;
        assert_eq!(answer.status, status, "{key} {path}: {}", answer.body);
    }
    assert_eq!(texts(&logged.get("key-of-reader", "/v1/messages").await), ["mine"]);
    assert_eq!(texts(&logged.get("key-of-all-but-one", "/v1/messages").await), ["other"]);
    assert_eq!(texts(&logged.get("key-of-all-but-one", "/v1/messages?backend=one").await), [""; 0]);
    assert_eq!(texts(&logged.get("key-of-reader", "/v1/messages?backend=two").await), [""; 0]);
    let refused = detail(&logged.get("key-of-sender", &mine).await, 403);
    assert!(refused.contains("\"read\"") && refused.contains("[[api.keys]]"), "{refused}");
    let headers = [("Authorization", "Bearer key-of-reader"), ("Content-Type", "application/json")];
    let body = br#"{"backend": "one", "to": "1", "text": "a"}"#;
    let post =
        client::send(logged.server.api, &client::written("POST", "/v1/messages", &headers, body)).await;
    assert!(detail(&post, 403).contains("\"send\""));
    assert_eq!(logged.server.outbound(), []);
    let refused = logged.server.metric("postern_ingress_refused_total{backend=\"\",reason=\"right\"}");
    assert_eq!(refused, Some(5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_this_machine_reads_and_without_a_log_it_is_told_so() {
    let logged = Logged::start(OPEN).await;
    logged.accepted("one", "+1", "a").await;
    assert_eq!(texts(&logged.get("", "/v1/messages").await), ["a"]);
    let proxied = client::written("GET", "/v1/messages", &[("Via", "1.1 proxy")], b"");
    detail(&client::send(logged.server.api, &proxied).await, 403);

    let server = Running::start(CONFIG).await;
    let id = MessageId::new();
    for path in ["/v1/messages", "/v1/messages?order=oldest&wait=30s", &*format!("/v1/messages/{id}")] {
        let answer = get(&server, BOTH, path).await;
        assert!(detail(&answer, 503).contains("log.url"), "{}", answer.body);
        assert_eq!(answer.header("retry-after"), None, "trying again does not help");
    }
    assert_eq!(get(&server, "key-of-sender", "/v1/messages").await.status, 403);
    logged.log.close().await;
    let answer = logged.get("", "/v1/messages").await;
    assert!(detail(&answer, 503).contains("try again later"));
    assert!(answer.header("retry-after").is_some());
}

/// Every text, page by page, from the first on; `until` says which is the last.
async fn all(logged: &Logged, order: &str, until: impl Fn(&[String]) -> bool) -> Vec<String> {
    let (mut seen, mut next) = (Vec::new(), Value::Null);
    loop {
        let cursor = next.as_str().map_or(String::new(), |next| format!("&cursor={next}"));
        let answer = logged.get("", &format!("/v1/messages?order={order}&limit=7{cursor}")).await;
        seen.extend(texts(&answer));
        next = answer.json()["next"].clone();
        if next.is_null() || until(&seen) {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_no_gaps_and_no_doubles_while_messages_are_written() {
    let logged = Logged::start(OPEN).await;
    let text = |number: usize| format!("{number:03}");
    for number in 0..50 {
        logged.accepted("one", "+1", &text(number)).await;
    }
    let log = logged.log.clone();
    let writing = tokio::spawn(async move {
        for number in 50..150 {
            log.record(&[accepted("one", "+1", &format!("{number:03}"))]).await.unwrap();
        }
    });
    let newest = all(&logged, "newest", |_| false).await;
    let first: usize = newest[0].parse().unwrap();
    let wanted: Vec<_> = (0..=first).rev().map(text).collect();
    assert_eq!(newest, wanted, "from the newest back to the first");
    let oldest = all(&logged, "oldest", |seen| seen.len() >= 150).await;
    assert_eq!(oldest, (0..150).map(text).collect::<Vec<_>>());
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_answered_when_there_is_something_new() {
    let logged = Logged::start(CONFIG).await;
    logged.accepted("one", "+1", "before").await;
    let begun = Instant::now();
    let path = "/v1/messages?order=oldest&wait=60s";
    let first = logged.get(BOTH, path).await;
    assert_eq!(texts(&first), ["before"], "what is there is not waited for");
    let cursor = first.json()["next"].as_str().unwrap().to_owned();
    let start = Instant::now();
    let empty = logged.get(BOTH, &format!("/v1/messages?order=oldest&cursor={cursor}&wait=300ms")).await;
    assert_eq!((texts(&empty), start.elapsed() >= Duration::from_millis(300)), (vec![], true));
    let next = empty.json()["next"].as_str().unwrap().to_owned();

    let (api, request) = (logged.server.api, request("key-of-reader", &format!("{path}&cursor={next}")));
    let waiting = tokio::spawn(async move { client::send(api, &request).await });
    logged.accepted("two", "+1", "of a backend that the key does not have").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    logged.accepted("one", "+1", "new").await;
    assert_eq!(texts(&waiting.await.unwrap()), ["new"]);
    let spent = "postern_ingress_request_duration_seconds_sum{backend=\"\"}";
    // Two requests waited for 300 ms or more.
    let most = begun.elapsed().as_secs_f64() - 0.6;
    assert!(logged.server.metric(spent).unwrap() <= most, "the time of waiting is not the gateway's");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_some_may_wait_and_who_goes_away_is_let_go() {
    // Half of the connections is one.
    let config = format!("[ingress]\nmax_connections = 3\n{OPEN}");
    let logged = Logged::start(&config).await;
    let waits = request("", "/v1/messages?order=oldest&wait=60s");
    let is_refused = async || {
        let answer = logged.get("", "/v1/messages?order=oldest&wait=200ms").await;
        match answer.status {
            200 => false,
            503 => detail(&answer, 503).contains("too many requests are already waiting"),
            other => panic!("{other}: {}", answer.body),
        }
    };
    let end = Instant::now() + Duration::from_secs(40);
    // It waits if it is not answered, and the next request is refused. Until the server has read it, the next one
    // may be first.
    let waiting = async || loop {
        assert!(Instant::now() < end, "nobody waits");
        let mut stream = TcpStream::connect(logged.server.api).await.unwrap();
        stream.write_all(&waits).await.unwrap();
        let answered = tokio::time::timeout(Duration::from_millis(500), stream.peek(&mut [0])).await;
        if answered.is_err() && is_refused().await {
            break stream;
        }
    };
    let first = waiting().await;
    assert_eq!(logged.get("", "/v1/messages").await.status, 200, "whoever does not wait is answered");
    drop(first);
    while is_refused().await {
        assert!(Instant::now() < end, "the first still waits");
    }

    let mut last = waiting().await;
    logged.server.trigger.drain();
    let answer = client::read(&mut last).await;
    assert_eq!((answer.status, texts(&answer)), (200, vec![]), "a drain ends the waiting");
    let start = Instant::now();
    assert!(logged.server.ended.await.unwrap().unwrap());
    assert!(start.elapsed() < Duration::from_secs(10));
}
