//! Schemathesis generates valid and invalid requests from /openapi.json, and checks that the document describes
//! each answer.

use crate::python::interpreter;
use postern_tests::Launch;
use std::process::Command;

/// The limit for all requests together, in seconds.
const SECONDS: &str = "30";
const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";

fn config() -> String {
    format!(
        "[[api.keys]]\nname = \"schemathesis\"\nkey = \"{KEY}\"\nbackends = [\"*\"]\nmay = [\"send\", \"read\"]\n\
         [backends.demo]\ntype = \"http\"\n\
         [backends.demo.send]\nurl = \"http://127.0.0.1:9/send\"\nform = {{ to = \"{{{{ identity }}}}\" }}\n\
         [backends.demo.status]\nstates = {{ ok = \"delivered\" }}\n\
         [backends.fields]\ntype = \"http\"\n[backends.fields.receive.fields]\n\
         age = {{ type = \"integer\" }}\nphone = {{ type = \"phone\", region = \"KE\" }}\nat = {{ type = \"datetime\" }}\n"
    )
}

#[tokio::test]
async fn every_answer_is_one_that_openapi_json_describes() {
    let program = Launch::gateway().config(&config()).start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut schemathesis = Command::new(interpreter());
    schemathesis
        .args(["-m", "schemathesis.cli", "run", &format!("{}/openapi.json", program.url())])
        .args(["--header", &format!("Authorization: Bearer {KEY}"), "--max-time", SECONDS, "--checks", "all"])
        // Not every valid request is accepted: no schema says which parameters a backend's form has, or that a
        // time must not be in the past.
        .args(["--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--no-color"])
        // A list may be waited for: the limit is longer than the longest `wait`.
        .args(["--request-timeout", "65", "--max-response-time", "65"])
        // With a memory of earlier runs, no run would be like another.
        .args(["--generation-database", "none"])
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::task::spawn_blocking(move || schemathesis.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("9 selected"), "the document has other operations than this test expects: {said}");
    assert_eq!(program.get("/openapi.json").await.status, 200, "it still answers");
}
