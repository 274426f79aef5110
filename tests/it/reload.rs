//! The configuration is read again while the gateway runs.

mod changes;
mod load;
mod refused;

use crate::commands::command;
use postern_tests::{Launch, Program, Provider};
use serde_json::{Value, json};

/// A backend that sends to `path` of `provider`.
fn backend(name: &str, provider: &Provider, path: &str) -> String {
    format!(
        "[backends.{name}]\ntype = \"http\"\n[backends.{name}.send]\nurl = \"{}\"\n\
         json = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url(path)
    )
}

/// Writes `config` for `launch` and has `program` reload it. Returns the status and body of the answer.
async fn reload(launch: &Launch, program: &Program, config: &str) -> (u16, Value) {
    launch.folder().write("postern.toml", config);
    command(program, "/v1/reload", &json!({"by": "ops"})).await
}

/// Like [`reload`], and checks that it succeeds. Returns what was added, changed and removed.
async fn reloaded(launch: &Launch, program: &Program, config: &str) -> [Vec<String>; 3] {
    let (status, done) = reload(launch, program, config).await;
    assert_eq!(status, 200, "{done}");
    ["added", "changed", "removed"].map(|what| serde_json::from_value(done[what].clone()).unwrap())
}

/// Sends a message to `to` through `backend`, and returns the status.
async fn send(program: &Program, backend: &str, to: &str) -> u16 {
    program.post_json("/v1/messages", &json!({"backend": backend, "to": to, "text": "hi"})).await.status
}

/// The recipients that `provider` was asked to send to at `path`, in order.
fn sent_to(provider: &Provider, path: &str) -> Vec<String> {
    let requests = provider.requests().into_iter().filter(|request| request.path == path);
    requests.map(|request| request.json()["to"].as_str().unwrap().to_owned()).collect()
}
