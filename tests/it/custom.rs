//! Connectors and a form written in Rust: the example program, run as its users run it.

use postern_tests::{Folder, Launch, Program, eventually};
use serde_json::{Value, json};

fn config(folder: &Folder) -> String {
    format!(
        "[application]\ntype = \"echo\"\n\
         [backends.letters]\ntype = \"outbox\"\n\
         [backends.letters.receive]\nform = \"one-number\"\n\
         [backends.letters.settings]\nfolder = {:?}\nnumber = \"1231231234\"\n",
        folder.path()
    )
}

fn example(config: &str) -> Launch {
    Launch::program("postern-example-custom").config(config)
}

#[tokio::test]
async fn the_form_takes_one_number_and_the_backend_writes_its_file() {
    let outbox = Folder::new();
    let postern = example(&config(&outbox)).start().await;
    let refused = postern.post_form("/backends/letters", &[("identity", "555"), ("text", "hi")]).await;
    assert_eq!(refused.status, 400);
    let why = "form failed to validate\nSMS received from number other than 1231231234";
    assert_eq!(refused.text.trim_end(), why);
    let taken = postern.post_form("/backends/letters", &[("identity", "1231231234"), ("text", "hi")]).await;
    assert_eq!((taken.status, taken.text.as_str()), (200, "OK"));
    let file = outbox.path().join("1231231234.txt");
    eventually("the echo in the outbox", async || match std::fs::read_to_string(&file) {
        Ok(text) if text.ends_with(" hi\n") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(!outbox.path().join("555.txt").exists());
}

#[tokio::test]
async fn the_backend_answers_for_each_identity() {
    let outbox = Folder::new();
    let postern = example(&config(&outbox)).start().await;
    let message = json!({"backend": "letters", "identities": ["111", "../222"], "text": "hello"});
    assert_eq!(postern.post_json("/v1/messages", &message).await.status, 202);
    let recipients = |outcome| [("backend", "letters"), ("outcome", outcome)];
    postern.metric_becomes("postern_dispatch_recipients_total", &recipients("sent"), 1.0).await;
    postern.metric_becomes("postern_dispatch_recipients_total", &recipients("failed"), 1.0).await;
    assert!(std::fs::read_to_string(outbox.path().join("111.txt")).unwrap().ends_with(" hello\n"));
}

#[tokio::test]
async fn its_types_are_known_to_its_own_program_and_checked_like_any_other() {
    let outbox = Folder::new();
    let right = config(&outbox);
    let ended = example(&right).arg("check").run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for (wrong, key, says) in [
        (right.replace("\"outbox\"", "\"inbox\""), "backends.letters.type", "console, http"),
        (
            right.replace("\"one-number\"", "\"two-numbers\""),
            "backends.letters.receive.form",
            "http, one-number",
        ),
        (right.replace("folder =", "path ="), "backends.letters.settings.folder", "folder for the messages"),
        (
            right.replace("number =", "numbr ="),
            "backends.letters.settings.number",
            "the number that may send",
        ),
    ] {
        let ended = example(&wrong).arg("check").run().await;
        assert_eq!(ended.code, Some(2), "{key}");
        assert!(ended.log.contains(key) && ended.log.contains(says), "{key}: {}", ended.log);
    }
    let ended = Launch::gateway().config(&right).arg("check").run().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.log.contains("unknown type; allowed: "), "{}", ended.log);
}

#[tokio::test]
async fn what_it_received_is_told_of_in_the_list_of_backends() {
    let outbox = Folder::new();
    let postern = example(&config(&outbox)).start().await;
    let backends: Value = postern.get("/v1/backends").await.json();
    assert_eq!(backends["backends"][0]["type"], "outbox");
    assert_eq!(backends["backends"][0]["sends"], true);
}

fn mailbox(folder: &Folder) -> String {
    format!(
        "[application]\ntype = \"echo\"\n[backends.box]\ntype = \"mailbox\"\n\
         [backends.box.settings]\nfolder = {:?}\ninbox = {:?}\n",
        folder.path(),
        folder.path().join("inbox")
    )
}

async fn state_becomes(postern: &Program, state: &str) {
    eventually(&format!("the backend to be {state}"), async || {
        let backends: Value = postern.get("/v1/backends").await.json();
        let seen = backends["backends"][0]["state"].clone();
        if seen == state { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn a_connector_receives_while_its_backend_is_served_and_then_stops() {
    let folder = Folder::new();
    let inbox = folder.path().join("inbox");
    let postern = example(&mailbox(&folder)).start().await;
    eventually("the inbox", async || if inbox.is_dir() { Ok(()) } else { Err("is not there") }).await;
    std::fs::write(inbox.join("111.txt"), "hello\n").unwrap();
    eventually("the echo", async || match std::fs::read_to_string(folder.path().join("111.txt")) {
        Ok(text) if text.ends_with(" hello\n") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(!inbox.join("111.txt").exists(), "what is stored is taken out of the inbox");
    let ended = postern.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    std::fs::write(inbox.join("222.txt"), "later\n").unwrap();
    assert!(inbox.join("222.txt").exists());
    // A message that came while the program was down is received after the start.
    let again = example(&mailbox(&folder)).start().await;
    eventually("the later message", async || {
        if folder.path().join("222.txt").exists() { Ok(()) } else { Err("is not echoed") }
    })
    .await;
    drop(again);
}

#[tokio::test]
async fn a_connector_that_cannot_start_is_shown_and_tried_again() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("inbox"), "no folder").unwrap();
    let postern = example(&mailbox(&folder)).start().await;
    state_becomes(&postern, "unbound").await;
    let ready = postern.ready().await.unwrap();
    assert_eq!(ready.status, 200, "the process is ready for the other backends");
    assert!(ready.text.contains("backend box is not bound: settings.inbox"), "{}", ready.text);
    postern.metric_becomes("postern_backend_ready", &[("backend", "box")], 0.0).await;
    std::fs::remove_file(folder.path().join("inbox")).unwrap();
    state_becomes(&postern, "ready").await;
    postern.metric_becomes("postern_backend_ready", &[("backend", "box")], 1.0).await;
    // A folder that disappears is noticed, too.
    std::fs::remove_dir(folder.path().join("inbox")).unwrap();
    state_becomes(&postern, "unbound").await;
}

#[tokio::test]
async fn every_mistake_of_a_connector_is_named_with_its_line() {
    let ended = example("[backends.box]\ntype = \"mailbox\"\n").arg("check").run().await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for key in ["folder", "inbox"] {
        assert!(
            ended.log.contains(&format!("line 1: backends.box.settings.{key}: must name")),
            "{}",
            ended.log
        );
    }
}
