//! The operator of docker-compose.yml, who works in a folder of their own with `docker compose`, HTTP and a
//! shell.

use postern_tests::{fetch, http_client, within};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// A limit for an accepted message to be sent, reported and logged, or for a just started process to accept one.
const SENT: Duration = Duration::from_secs(120);

pub(crate) struct Operator {
    folder: PathBuf,
    guide: String,
    client: reqwest::Client,
}

impl Operator {
    /// Copies what the compose file refers to into a folder, with `docker-compose.override.yml` and `.env`.
    pub(crate) fn new(overriding: &str, environment: &str) -> Self {
        let folder =
            PathBuf::from(std::env::var_os("FOLDER").expect("tests/compose/run starts this")).join("project");
        std::fs::create_dir(&folder).unwrap();
        run(&folder, &format!("cp -a {ROOT}/docker-compose.yml {ROOT}/deploy ."));
        std::fs::write(folder.join("docker-compose.override.yml"), overriding).unwrap();
        std::fs::write(folder.join(".env"), environment).unwrap();
        let guide = std::fs::read_to_string(format!("{ROOT}/docs/operations.md")).unwrap();
        Self { folder, guide, client: http_client() }
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Runs the commands in the block of docs/operations.md with that name.
    pub(crate) fn runs(&self, block: &str) {
        self.runs_with("true", block);
    }

    /// Like [`Self::runs`], after the commands `before`.
    pub(crate) fn runs_with(&self, before: &str, block: &str) {
        let start = Instant::now();
        let (_, rest) =
            self.guide.split_once(&format!("\n```sh {block}\n")).expect("the guide has this block");
        run(&self.folder, &format!("{before}\n{}", rest.split_once("\n```").unwrap().0));
        println!("--- {block}: {:.1} s", start.elapsed().as_secs_f32());
    }

    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        run(&self.folder, &format!("docker compose {}", arguments.join(" ")))
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new("docker");
        command.arg("compose").args(arguments).current_dir(&self.folder).spawn().unwrap()
    }

    pub(crate) fn ended(&self, mut child: Child) {
        assert!(child.wait().unwrap().success());
    }

    /// The output of `docker compose ps` for each container, including those that have ended.
    pub(crate) fn containers(&self) -> Vec<Value> {
        let told = self.compose(&["ps", "--all", "--format", "json"]);
        let containers: Vec<_> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(containers.len() >= 7, "{told}");
        containers
    }

    /// All containers, volumes and networks of the engine.
    pub(crate) fn made(&self) -> String {
        run(&self.folder, "docker ps -aq; docker volume ls -q; docker network ls --format '{{.Name}}'")
    }

    pub(crate) fn inspect(&self, container: &str, format: &str) -> String {
        run(&self.folder, &format!("docker inspect --format '{format}' {container}")).trim().to_owned()
    }

    /// Kills the process of one container of a service, as the out-of-memory killer would. Returns the
    /// container's id.
    pub(crate) fn kill_one(&self, service: &str) -> String {
        let all = self.compose(&["ps", "--quiet", service]);
        let container = all.lines().next().unwrap().to_owned();
        run(&self.folder, &format!("kill -9 {}", self.inspect(&container, "{{.State.Pid}}")));
        container
    }

    pub(crate) fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join("deploy/docker/secrets").join(name)).unwrap()
    }

    /// Waits until `condition` holds, and prints how long that took.
    pub(crate) async fn sees(
        &self,
        limit: Duration,
        what: &str,
        condition: impl AsyncFnMut() -> Result<(), String>,
    ) {
        let start = Instant::now();
        within(limit, what, condition).await;
        println!("--- {what}: {:.1} s", start.elapsed().as_secs_f32());
    }

    /// The answer as JSON, or null if its body is not JSON. The status must be 2xx or a redirect.
    pub(crate) async fn fetch(&self, request: reqwest::RequestBuilder) -> Value {
        self.try_fetch(request).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    pub(crate) async fn try_fetch(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let reply = fetch(request).await.map_err(|error| error.to_string())?;
        match reply.status {
            200..400 => Ok(serde_json::from_str(&reply.text).unwrap_or_default()),
            status => Err(format!("{status} {}", reply.text)),
        }
    }

    pub(crate) async fn fetch_text(&self, url: &str) -> Result<String, String> {
        fetch(self.client.get(url)).await.map(|reply| reply.text).map_err(|error| error.to_string())
    }

    /// Sends a message through the backend until it is accepted, and returns its id: an ingress that has just
    /// started refuses connections.
    pub(crate) async fn send(&self, backend: &str) -> String {
        let body = json!({"backend": backend, "to": "+15550100", "text": "pong"});
        let key = self.secret("postern_api_key");
        within(SENT, "a message to be accepted", async || {
            let request = self.client.post("http://127.0.0.1:8080/v1/messages").bearer_auth(&key).json(&body);
            Ok::<_, String>(self.try_fetch(request).await?["id"].as_str().unwrap().to_owned())
        })
        .await
    }

    /// The message in the message log, or the problem in the answer.
    pub(crate) async fn message(&self, id: &str) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:8080/v1/messages/{id}");
        let request = self.client.get(url).bearer_auth(self.secret("postern_api_key"));
        fetch(request).await.map(|reply| reply.json()).map_err(|error| error.to_string())
    }

    /// Waits until the recipient of a message is in that state.
    pub(crate) async fn becomes(&self, id: &str, state: &str) {
        self.sees(SENT, &format!("a message to be {state}"), async || {
            let message = self.message(id).await?;
            if message["recipients"][0]["state"] == state { Ok(()) } else { Err(message.to_string()) }
        })
        .await;
    }

    /// Sends a command about a backend to the admin port.
    pub(crate) async fn command(&self, backend: &str, command: &str) {
        let url = format!("http://127.0.0.1:8081/v1/backends/{backend}/{command}");
        let request = self.client.post(url).bearer_auth(self.secret("postern_admin_token"));
        self.fetch(request.json(&json!({}))).await;
    }

    /// The `data` of Prometheus's answer to `/api/v1/PATH`.
    pub(crate) async fn prometheus(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let request = self.client.get(format!("http://127.0.0.1:9090/api/v1/{path}")).query(parameters);
        Ok(self.try_fetch(request).await?["data"].take())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seen = "docker compose ps --all; docker compose logs --no-color --tail 25";
            let told = Command::new("bash").args(["-c", seen]).current_dir(&self.folder).output();
            eprintln!("{}", String::from_utf8_lossy(&told.map(|told| told.stdout).unwrap_or_default()));
        }
    }
}

/// The single number in the result of an instant query.
pub(crate) fn metric_number(result: &Value) -> Option<f64> {
    result.pointer("/result/0/value/1")?.as_str()?.parse().ok()
}

/// The output of the commands, each of which must succeed.
fn run(folder: &Path, commands: &str) -> String {
    let output = Command::new("bash").args(["-euc", commands]).current_dir(folder).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{commands}\n{}: {told}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
