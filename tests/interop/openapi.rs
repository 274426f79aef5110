//! Requests made up from /openapi.json, valid and not, by Schemathesis: each answer is one that the
//! document describes.

use crate::python::interpreter;
use postern_tests::Launch;
use std::process::Command;

/// No more than this for all requests together.
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
        // Not every valid request is taken: which parameters a backend's form has, and that a time
        // is not over yet, no schema says.
        .args(["--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--no-color"])
        // A list may be waited for: longer than its longest `wait`.
        .args(["--request-timeout", "65", "--max-response-time", "65"])
        // What it remembers of earlier runs would make one run another than the next.
        .args(["--generation-database", "none"])
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::task::spawn_blocking(move || schemathesis.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.contains("9 selected"), "the document has other operations than this test expects: {said}");
    assert_eq!(program.get("/openapi.json").await.status, 200, "it still answers");
}
