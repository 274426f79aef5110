//! API keys: made by `postern key`, stored as hashes, and replaced while the old and the new one are both valid.

use postern_tests::{Ended, Launch, Program, Reply, assert_silent, fetch};
use reqwest::Method;
use serde_json::json;

const BACKEND: &str = "[backends.demo]\ntype = \"console\"\n";

async fn make(arguments: &[&str]) -> Ended {
    let launch = Launch::gateway().own_addresses().arg("key");
    arguments.iter().fold(launch, |launch, argument| launch.arg(argument)).run().await
}

/// The key that `postern key` prints, and the lines for the configuration.
fn read(printed: &str) -> (String, String) {
    let plain = |line: &&str| !line.starts_with('#') && !line.is_empty();
    let mut lines = printed.lines().filter(plain);
    (lines.next().unwrap().to_owned(), lines.collect::<Vec<_>>().join("\n"))
}

async fn submit(postern: &Program, key: &str) -> Reply {
    let body = json!({"backend": "demo", "to": "+1555", "text": "hi"});
    let request = postern.request(Method::POST, "/v1/messages").bearer_auth(key).json(&body);
    fetch(request.header("Idempotency-Key", "order-1")).await.unwrap()
}

#[tokio::test]
async fn a_made_key_is_let_in_by_the_lines_that_come_with_it() {
    let made = make(&["--name", "clinic-app", "--backends", "demo"]).await;
    assert_eq!(made.code, Some(0), "{}", made.log);
    let (key, lines) = read(&made.out);
    assert!(key.starts_with("postern_") && key.len() > 40, "{key}");
    assert!(lines.contains("name = \"clinic-app\"") && lines.contains("backends = [\"demo\"]"), "{lines}");
    assert!(lines.contains("may = [\"send\"]"), "{lines}");
    assert!(!lines.contains(&key), "the configuration is not to hold the key");
    assert_ne!(read(&make(&[]).await.out).0, key);
    let postern = Launch::gateway().config(&format!("{lines}\n{BACKEND}")).start().await;
    assert_eq!(submit(&postern, &key).await.status, 202);
    let hash = lines.split("key_sha256 = \"").nth(1).unwrap().split('"').next().unwrap();
    for wrong in [&key[..key.len() - 1], hash, "postern_"] {
        assert_eq!(submit(&postern, wrong).await.status, 401, "{wrong}");
    }
    postern.metric_becomes("postern_ingress_refused_total", &[("backend", ""), ("reason", "key")], 3.0).await;
    let log = postern.terminate().await.log;
    assert_silent(&log.lines().map(str::to_owned).collect::<Vec<_>>(), &[&key, "+1555"]);
}

#[tokio::test]
async fn what_postern_key_cannot_make_it_says() {
    for (arguments, says) in [
        (&["--name", "a\"b"][..], "letters"),
        (&["--backends", "No"], "a-z"),
        (&["--may", "write"], "send, read, or"),
        (&["--expires", "tomorrow"], "2026-12-01T00:00:00Z"),
    ] {
        let ended = make(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.log.contains(says), "{arguments:?}: {}", ended.log);
    }
}

#[tokio::test]
async fn while_a_key_is_changed_both_are_taken_and_make_the_same_ids() {
    let old = make(&["--name", "app", "--expires", "2999-01-01T00:00:00Z"]).await;
    let (old, old_lines) = read(&old.out);
    assert!(old_lines.contains("expires = \"2999-01-01T00:00:00Z\""), "{old_lines}");
    let (new, new_lines) = read(&make(&["--name", "app"]).await.out);
    let (gone, gone_lines) = read(&make(&["--name", "app", "--expires", "2020-01-01T00:00:00Z"]).await.out);
    let config = [old_lines, new_lines, gone_lines].join("\n");
    let postern = Launch::gateway().config(&format!("{config}\n{BACKEND}")).start().await;
    let first = submit(&postern, &old).await;
    let second = submit(&postern, &new).await;
    assert_eq!((first.status, second.status), (202, 202), "{} {}", first.text, second.text);
    assert_eq!(first.json()["id"], second.json()["id"]);

    // The answer does not reveal whether a key was ever valid.
    let (expired, unknown) = (submit(&postern, &gone).await, submit(&postern, "unknown").await);
    let none = postern.post_json("/v1/messages", &json!({"backend": "demo"})).await;
    for refused in [&unknown, &none] {
        assert_eq!((refused.status, &refused.text), (401, &expired.text));
        let without_date = |reply: &Reply| {
            let headers = reply.headers.iter().filter(|(name, _)| name != "date");
            headers.cloned().collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(without_date(refused), without_date(&expired));
    }
    postern.metric_becomes("postern_ingress_refused_total", &[("reason", "expired")], 1.0).await;
    let log = postern.terminate().await.log;
    assert!(log.contains("an API key has expired") && log.contains("\"name\":\"app\""), "{log}");
    assert_silent(&log.lines().map(str::to_owned).collect::<Vec<_>>(), &[&old, &new, &gone]);
}
