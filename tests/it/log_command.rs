//! `postern log` and `GET /v1/messages`, with a log that a running gateway writes.

use postern_tests::{Ended, Launch, Program, Provider, Rabbit, assert_silent, eventually, fetch};
use reqwest::Method;
use serde_json::{Value, json};

const NUMBER: &str = "+15551234567";
const OTHER: &str = "+15557654321";
const TEXT: &str = "a very private text";

async fn cli(launch: &Launch, arguments: &[&str]) -> Ended {
    let launch = arguments.iter().fold(launch.clone().arg("log"), |launch, argument| launch.arg(argument));
    launch.run().await
}

/// The output of the command.
async fn told(launch: &Launch, arguments: &[&str]) -> String {
    let ended = cli(launch, arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.log);
    ended.out
}

/// Sends a message to `to`, waits until the log has it as sent, and returns its id.
async fn sent(postern: &Program, to: &str) -> String {
    let body = json!({"backend": "demo", "to": to, "text": TEXT});
    let reply = postern.post_json("/v1/messages", &body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/messages/{id}");
    eventually("the log has the message as sent", async || {
        let reply = postern.get(&path).await;
        let is_sent = reply.status == 200 && reply.json()["recipients"][0]["state"] == "sent";
        if is_sent { Ok(()) } else { Err(reply.text) }
    })
    .await;
    id
}

/// All commands, with the log of `launch`'s configuration, while the gateway runs.
async fn the_log_is_asked_while_it_is_written(launch: Launch) {
    let postern = launch.start().await;
    let id = sent(&postern, NUMBER).await;
    let other = sent(&postern, OTHER).await;
    let message = postern.get(&format!("/v1/messages/{id}")).await.json();
    let events: Vec<_> = message["events"].as_array().unwrap().iter().map(|e| e["event"].clone()).collect();
    assert_eq!(json!(events), json!(["accepted", "sent"]), "{message}");

    let list = told(&launch, &["list", "--backend", "demo", "--since", "1h"]).await;
    assert!(list.contains(&id) && list.contains(&other) && list.contains("sent"), "{list}");
    let json = told(&launch, &["list", "--json", "--identity", NUMBER]).await;
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["messages"].as_array().unwrap().len(), 1, "{json}");
    for quiet in [&list, &json] {
        assert!(!quiet.contains(NUMBER) && !quiet.contains(TEXT), "{quiet}");
    }
    let shown = told(&launch, &["list", "--show", "--limit", "1"]).await;
    assert!(shown.contains(OTHER) && shown.contains(TEXT) && shown.contains("there are more"), "{shown}");
    assert_eq!(told(&launch, &["list", "--state", "failed"]).await, "no messages");

    let mut unique = 9;
    while other.starts_with(&id[..unique]) {
        unique += 1;
    }
    let history = told(&launch, &["show", &id[..unique]]).await;
    for says in [&*id, NUMBER, TEXT, "accepted", "sent"] {
        assert!(history.contains(says), "{says}: {history}");
    }
    let json: Value = serde_json::from_str(&told(&launch, &["show", &id, "--json"]).await).unwrap();
    assert_eq!(json, message, "as the API answers it");
    for (wrong, status, says) in [
        ("ffff", 1, "no message in the message log"),
        ("0", 2, "beginning of several ids"),
        ("0199b2a5-0000-7000-8000-000000000000", 1, "no longer"),
        ("nothing", 2, "neither an id"),
    ] {
        let ended = cli(&launch, &["show", wrong]).await;
        assert!(ended.code == Some(status) && ended.log.contains(says), "{wrong}: {}", ended.log);
    }

    let exported = told(&launch, &["export", "--events"]).await;
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), [&*id, &other]);
    assert_eq!(lines[0], message);
    assert_eq!(told(&launch, &["export", "--events", "--json"]).await, exported);

    let counted = told(&launch, &["forget", "--identity", NUMBER, "--dry-run"]).await;
    assert_eq!(counted, "would be erased from 1 message");
    // Confirmation is asked for only on a terminal.
    let forgotten = cli(&launch, &["forget", "--identity", NUMBER]).await;
    assert_eq!((forgotten.code, &*forgotten.out), (Some(0), "erased from 1 message"), "{}", forgotten.log);
    assert!(!forgotten.log.contains(NUMBER), "{}", forgotten.log);
    assert_eq!(postern.get(&format!("/v1/messages/{id}")).await.status, 404);
    let again = sent(&postern, OTHER).await;
    let list = told(&launch, &["list"]).await;
    assert!(list.contains(&other) && list.contains(&again) && !list.contains(&id), "{list}");

    // The query contains a number, and the request's log line must not.
    let asked =
        fetch(postern.request(Method::GET, "/v1/messages").query(&[("identity", OTHER)])).await.unwrap();
    assert_eq!(asked.json()["messages"].as_array().unwrap().len(), 2);
    let log = postern.terminate().await.log;
    let lines: Vec<_> = log.lines().map(str::to_owned).collect();
    assert_silent(&lines, &[NUMBER, OTHER, TEXT, "5557654321"]);
}

fn backend(provider: &Provider) -> String {
    let url = provider.url("/demo");
    format!(
        "[backends.demo]\ntype = \"http\"\n[backends.demo.send]\nurl = \"{url}\"\n\
         json = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n"
    )
}

#[tokio::test]
async fn with_rabbitmq_and_sqlite_the_log_is_asked_while_it_is_written() {
    let provider = Provider::obliging().await;
    let vhost = Rabbit::shared().vhost();
    let folder = tempfile::tempdir().unwrap();
    let log = format!("[log]\nurl = \"sqlite:{}\"\n", folder.path().join("log").display());
    let config = vhost.config(&format!("{log}{}", backend(&provider)));
    the_log_is_asked_while_it_is_written(Launch::gateway().config(&config)).await;
}

#[tokio::test]
async fn in_the_embedded_store_the_log_is_asked_while_it_is_written() {
    let provider = Provider::obliging().await;
    the_log_is_asked_while_it_is_written(Launch::gateway().config(&backend(&provider))).await;
}

#[tokio::test]
async fn without_a_log_the_command_says_how_to_have_one() {
    let vhost = Rabbit::shared().vhost();
    let off = cli(&Launch::gateway().config(&vhost.config("")), &["list"]).await;
    assert!(off.code == Some(2) && off.log.contains("log.url"), "{}", off.log);
    let folder = tempfile::tempdir().unwrap();
    let log = format!("[log]\nurl = \"sqlite:{}\"\n", folder.path().join("log").display());
    let none = cli(&Launch::gateway().config(&vhost.config(&log)), &["list"]).await;
    assert!(none.code == Some(1) && none.log.contains("there is no file"), "{}", none.log);
    assert!(!folder.path().join("log").exists(), "nothing is made by looking");
}
