//! `postern store`: the store is checked, measured and copied, while its process runs and without it.

use crate::commands::command;
use postern_tests::{Ended, Launch, Program, free_port};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

const CONFIG: &str = "[backends.clinic]\ntype = \"http\"\n[backends.clinic.send]\nurl = \"http://127.0.0.1:9/\"\n\
                      form = { to = \"{{ identity }}\", text = \"{{ text }}\" }\n";
const QUEUE: &str = "postern.outbound.clinic";
/// The path of the store in the default configuration.
const FILE: &str = "postern-data/postern.db";

async fn store(launch: &Launch, arguments: &[&str]) -> Ended {
    let launch = arguments.iter().fold(launch.clone().arg("store"), |launch, argument| launch.arg(argument));
    launch.run().await
}

/// The output of the command with `--json`, which must end with `code`.
pub(crate) async fn told(launch: &Launch, arguments: &[&str], code: i32) -> Value {
    let ended = store(launch, &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.log);
    serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e} in {}", ended.out))
}

/// The number of messages that wait for the backend, from `postern store info`.
async fn waiting(launch: &Launch) -> Value {
    let info = told(launch, &["info"], 0).await;
    assert!(info["file_bytes"].as_u64() > Some(0) && info["schema"] == 1, "{info}");
    let queues = info["queues"].as_array().unwrap();
    queues.iter().find(|queue| queue["name"] == QUEUE).unwrap()["messages"].clone()
}

/// Starts a gateway and posts `messages` messages, which wait.
async fn with_messages(launch: &Launch, messages: usize) -> Program {
    let gateway = launch.start().await;
    assert_eq!(command(&gateway, "/v1/backends/clinic/pause", &json!({})).await.0, 200);
    send(&gateway, messages).await;
    gateway
}

async fn send(gateway: &Program, messages: usize) {
    for n in 0..messages {
        let body = json!({"backend": "clinic", "to": format!("+{n}"), "text": "a text to find"});
        assert_eq!(gateway.post_json("/v1/messages", &body).await.status, 202);
    }
}

#[tokio::test]
async fn a_copy_is_made_beside_the_running_gateway_and_starts() {
    let launch = Launch::gateway().config(CONFIG);
    let gateway = with_messages(&launch, 5).await;
    assert_eq!(waiting(&launch).await, 5);
    assert_eq!(told(&launch, &["check"], 0).await["problems"], json!([]));
    let done = told(&launch, &["backup", "copy.db"], 0).await;
    let copy = launch.folder().path().join("copy.db");
    let metadata = fs::metadata(&copy).unwrap();
    assert_eq!(
        (done["bytes"].as_u64(), metadata.permissions().mode() & 0o777),
        (Some(metadata.len()), 0o600)
    );
    // The copy does not contain later messages, and a second backup does not overwrite it.
    send(&gateway, 1).await;
    let again = store(&launch, &["backup", "copy.db"]).await;
    assert!(again.code == Some(1) && again.log.contains("exists already"), "{}", again.log);
    assert_eq!(gateway.terminate().await.code, Some(0));
    assert_eq!(waiting(&launch).await, 6, "also without the gateway");

    let other = Launch::gateway().config(CONFIG);
    fs::create_dir(other.folder().path().join("postern-data")).unwrap();
    fs::rename(copy, other.folder().path().join(FILE)).unwrap();
    let gateway = other.start().await;
    assert_eq!(waiting(&other).await, 5);
    assert_eq!(gateway.terminate().await.code, Some(0));
}

/// The copy of a store whose log keeps hashes starts with the key that the command names, and not without it.
#[tokio::test]
async fn a_copy_with_hashes_needs_the_key_that_the_command_names() {
    let config = format!("[log]\nkeep = \"states\"\n{CONFIG}");
    let launch = Launch::gateway().config(&config);
    assert_eq!(with_messages(&launch, 1).await.terminate().await.code, Some(0));
    let done = told(&launch, &["backup", "copy.db"], 0).await;
    let key = launch.folder().path().join(done["key_file"].as_str().unwrap());
    let said = store(&launch, &["backup", "second.db"]).await.out;
    assert!(said.contains("log-hash.key"), "{said}");
    for has_key in [false, true] {
        let other = Launch::gateway().config(&config);
        let folder = other.folder().path().join("postern-data");
        fs::create_dir(&folder).unwrap();
        fs::copy(launch.folder().path().join("copy.db"), other.folder().path().join(FILE)).unwrap();
        if has_key {
            fs::copy(&key, folder.join("log-hash.key")).unwrap();
            assert_eq!(other.start().await.terminate().await.code, Some(0));
        } else {
            let refused = other.run().await;
            assert!(refused.log.contains("previous log-hash.key"), "{}", refused.log);
        }
    }
}

#[tokio::test]
async fn a_text_that_was_altered_on_the_disk_is_found() {
    let launch = Launch::gateway().config(CONFIG);
    assert_eq!(with_messages(&launch, 3).await.terminate().await.code, Some(0));
    let file = launch.folder().path().join(FILE);
    let mut bytes = fs::read(&file).unwrap();
    let text = b"a text to find";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at] = b'A';
    fs::write(&file, bytes).unwrap();
    let checked = told(&launch, &["check"], 1).await;
    let problems = checked["problems"].as_array().unwrap();
    assert!(problems.len() == 1 && problems[0].as_str().unwrap().contains("checksum"), "{checked}");
    let checked = store(&launch, &["check"]).await;
    assert!(checked.log.contains("damaged (1 problem)") && checked.log.contains("backup"), "{}", checked.log);
    assert!(!(checked.log + &checked.out).contains("to find"), "no text is shown");
}

#[tokio::test]
async fn beside_rabbitmq_it_is_the_spools_store_or_there_is_none() {
    let config = |spool: &str| {
        let url = format!("amqp://127.0.0.1:{}/", free_port());
        format!("[broker]\nurl = \"{url}\"\n[ingress]\nspool = {spool}\n{CONFIG}")
    };
    let launch = Launch::ingress(&config("\"kept\""));
    let none = store(&Launch::gateway().config(&config("\"kept\"")), &["info"]).await;
    assert!(none.code == Some(1) && none.log.contains("holds no store"), "{}", none.log);
    let ingress = launch.spawn();
    ingress.log().wait_for("spool ready").await;
    let kept = launch.folder().path().join("kept");
    let beside = Launch::gateway().config(&config(&format!("{kept:?}")));
    let info = told(&beside, &["info"], 0).await;
    assert_eq!(info["store"], json!(kept));
    assert_eq!(told(&beside, &["check"], 0).await["whole"], true);
    drop(ingress);
    let none = store(&Launch::gateway().config(&config("false")), &["info"]).await;
    assert!(none.code == Some(2) && none.log.contains("ingress.spool is off"), "{}", none.log);
}
