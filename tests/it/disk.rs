//! A full disk and a failing disk under the store and its message log.

use crate::commands::command;
use postern_tests::{FailingDisk, Launch, Program, Provider, SmallDisk, eventually};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

/// The message if the disk cannot be mounted.
const ROOT: &str = "a disk of its own, which only root may mount";
/// The size of each disk.
const MEBIBYTES: u32 = 16;

fn config(folder: &Path, provider: &Provider) -> String {
    format!(
        "[broker]\nurl = \"embedded:{}\"\nmin_free_disk = 0\n\
         [backends.clinic]\ntype = \"http\"\n[backends.clinic.send]\nurl = \"{}\"\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        folder.join("data").display(),
        provider.url("/send")
    )
}

/// Posts a message. Returns its id if it was accepted.
async fn post(gateway: &Program) -> Option<String> {
    let body = json!({"backend": "clinic", "to": "+15550001", "text": "x".repeat(300)});
    let reply = gateway.post_json("/v1/messages", &body).await;
    match reply.status {
        202 => Some(reply.json()["id"].as_str().unwrap().to_owned()),
        503 => {
            assert!(reply.header("retry-after").is_some(), "{}", reply.text);
            None
        }
        other => panic!("{other}: {}", reply.text),
    }
}

/// Posts until nothing has been accepted for a while. Returns the ids that were accepted.
async fn post_until_refused(gateway: &Program) -> BTreeSet<String> {
    let (mut accepted, mut refused) = (BTreeSet::new(), 0);
    while refused < 5 {
        match post(gateway).await {
            Some(id) => {
                accepted.insert(id);
                refused = 0;
            }
            None => refused += 1,
        }
        assert!(accepted.len() < 50_000, "the disk never refused");
    }
    accepted
}

/// Waits until a message is accepted, and returns its id.
async fn accepts_again(gateway: &Program) -> String {
    eventually("a message is accepted", async || post(gateway).await.ok_or("503")).await
}

async fn logged(gateway: &Program, id: &str) -> Value {
    let reply = gateway.get(&format!("/v1/messages/{id}")).await;
    assert_eq!(reply.status, 200, "{id}: {}", reply.text);
    reply.json()
}

/// The messages in the log.
async fn known(gateway: &Program) -> BTreeSet<String> {
    let (mut known, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = gateway.get(&format!("/v1/messages?limit=500{cursor}")).await.json();
        let messages = page["messages"].as_array().unwrap().iter();
        known.extend(messages.map(|message| message["id"].as_str().unwrap().to_owned()));
        match &page["next"] {
            Value::Null => return known,
            next => cursor = format!("&cursor={}", next.to_string().trim_matches('"')),
        }
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_accepted_and_the_log_agrees_with_that() {
    let (disk, provider) = (SmallDisk::mount(MEBIBYTES).expect(ROOT), Provider::obliging().await);
    let gateway = Launch::gateway().config(&config(disk.path(), &provider)).start().await;
    let mut accepted = BTreeSet::from([accepts_again(&gateway).await]);
    disk.fill();
    accepted.extend(post_until_refused(&gateway).await);
    let ready = gateway.ready().await.unwrap();
    assert!(ready.status == 503 && ready.text.contains("cannot be written"), "{}", ready.text);

    disk.clear();
    accepted.insert(accepts_again(&gateway).await);
    // All accepted messages are sent; a refused one is neither in the log nor sent.
    for id in &accepted {
        eventually("it is sent", async || {
            let message = logged(&gateway, id).await;
            let events: Vec<_> =
                message["events"].as_array().unwrap().iter().map(|e| e["event"].clone()).collect();
            if events == ["accepted", "sent"] { Ok(()) } else { Err(message.to_string()) }
        })
        .await;
    }
    assert_eq!(known(&gateway).await, accepted);
    assert_eq!(provider.requests().len(), accepted.len());
    assert_eq!(gateway.metrics().await.value("postern_log_failures_total", &[]), 0.0);
    assert_eq!(gateway.terminate().await.code, Some(0));
}

#[tokio::test]
async fn what_is_confirmed_before_and_after_the_disk_failed_outlives_a_power_cut() {
    let (disk, provider) = (FailingDisk::mount(MEBIBYTES).expect(ROOT), Provider::obliging().await);
    let gateway = Launch::gateway().config(&config(disk.path(), &provider)).start().await;
    assert_eq!(command(&gateway, "/v1/backends/clinic/pause", &json!({})).await.0, 200);
    let mut accepted = BTreeSet::new();
    for _ in 0..20 {
        accepted.insert(accepts_again(&gateway).await);
    }
    disk.fail();
    accepted.extend(post_until_refused(&gateway).await);
    gateway.log().wait_for("the embedded store cannot be written, retrying").await;
    disk.mend();
    accepted.insert(accepts_again(&gateway).await);
    gateway.log().wait_for("the embedded store works again").await;
    for _ in 0..20 {
        accepted.insert(accepts_again(&gateway).await);
    }
    drop(gateway.kill());

    let left = disk.after_power_cut(4 * MEBIBYTES).expect(ROOT);
    let gateway = Launch::gateway().config(&config(left.path(), &provider)).start().await;
    let known = known(&gateway).await;
    let lost: Vec<_> = accepted.difference(&known).collect();
    assert!(lost.is_empty(), "{} of {} are not in the log", lost.len(), accepted.len());
    // Messages answered with 503 may be there, too: nobody knows whether the disk has them.
    let queue = [("queue", "postern.outbound.clinic")];
    gateway.metric_becomes("postern_queue_messages", &queue, known.len() as f64).await;
    assert_eq!(gateway.terminate().await.code, Some(0));
}
