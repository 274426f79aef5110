//! Postern's programs, started as an operator starts them.

mod launch;

use crate::{
    guard::{self, Folder},
    leaks::assert_silent,
    log::Log,
    metrics::Metrics,
    wait::{LIMIT, eventually},
    wire::{Reply, fetch},
};
pub use launch::Launch;
use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStderr, Command},
    sync::Arc,
    time::{Duration, Instant},
};

/// A running program. Dropping it kills it; if the test has failed, its log is printed.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    child: Child,
    ingress: u16,
    admin: u16,
    log: Log,
    out: Log,
    client: reqwest::Client,
    token: Option<String>,
    /// The end of a pipe that nobody reads.
    _unread: Option<ChildStderr>,
    _folder: Arc<Folder>,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub out: String,
    /// All of its log (standard error).
    pub log: String,
}

impl Program {
    /// The ingress's address, `http://127.0.0.1:PORT`, without a final slash.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ingress)
    }

    /// A request to the ingress; `path` begins with a slash.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url() + path)
    }

    /// The answer to `GET path` of the ingress.
    pub async fn get(&self, path: &str) -> Reply {
        self.fetch(self.request(reqwest::Method::GET, path)).await
    }

    /// The answer to a form posted to `path` of the ingress.
    pub async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.fetch(self.request(reqwest::Method::POST, path).form(form)).await
    }

    /// The answer to a JSON body posted to `path` of the ingress.
    pub async fn post_json(&self, path: &str, body: &serde_json::Value) -> Reply {
        self.fetch(self.request(reqwest::Method::POST, path).json(body)).await
    }

    /// The answer to a request.
    pub async fn fetch(&self, request: reqwest::RequestBuilder) -> Reply {
        fetch(request).await.unwrap_or_else(|e| panic!("{} did not answer: {e:?}", self.name))
    }

    /// The answer to `GET path` of the admin port.
    ///
    /// # Errors
    /// If the admin port does not answer.
    pub async fn admin(&self, path: &str) -> Result<Reply, reqwest::Error> {
        let request = self.client.get(format!("http://127.0.0.1:{}{path}", self.admin));
        fetch(self.token.iter().fold(request, |request, token| request.bearer_auth(token))).await
    }

    /// The answer of `/readyz`.
    ///
    /// # Errors
    /// If the admin port does not answer.
    pub async fn ready(&self) -> Result<Reply, reqwest::Error> {
        self.admin("/readyz").await
    }

    /// The present metrics.
    pub async fn metrics(&self) -> Metrics {
        let reply = self.admin("/metrics").await.unwrap_or_else(|e| panic!("no /metrics: {e}"));
        Metrics::parse(&reply.text)
    }

    /// Waits until the metric is `value`.
    pub async fn metric_becomes(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        eventually(&format!("{name}{labels:?} = {value}"), async || {
            let seen = self.metrics().await.value(name, labels);
            if (seen - value).abs() < f64::EPSILON { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    /// Waits until the metric is at least `value`: for counters that a crash may double.
    pub async fn metric_reaches(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        eventually(&format!("{name}{labels:?} >= {value}"), async || {
            let seen = self.metrics().await.value(name, labels);
            if seen >= value { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    /// Its standard output so far.
    pub fn out(&self) -> &Log {
        &self.out
    }

    /// The port of 127.0.0.1 that the admin port listens on.
    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    /// Its log, which it writes to standard error.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal: `TERM`, `INT`, `STOP`, `CONT` and so on.
    pub fn signal(&self, signal: &str) {
        let kill = Command::new("/bin/sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &self.child.id().to_string()])
            .status();
        assert!(kill.is_ok_and(|status| status.success()), "{} cannot be sent {signal}", self.name);
    }

    /// Ends it with SIGKILL, as a power cut would.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn kill(mut self) -> Log {
        self.child.kill().expect("kill a child");
        let status = self.child.wait().expect("wait for a child");
        assert_eq!(status.signal(), Some(9), "{} ended by itself: {status}", self.name);
        self.log.clone()
    }

    /// Ends a command with SIGKILL, as a power cut would; if it has already ended by itself, returns its exit
    /// code.
    ///
    /// # Panics
    /// If another signal has ended it.
    pub fn kill_unless_ended(mut self) -> Option<i32> {
        // Its end is looked at only after the kill: it could end between a look and the kill.
        self.child.kill().expect("kill a child");
        let status = self.child.wait().expect("wait for a child");
        assert!(status.code().is_some() || status.signal() == Some(9), "{} ended by {status}", self.name);
        status.code()
    }

    /// Sends it SIGTERM and waits for its end.
    pub async fn terminate(self) -> Ended {
        self.signal("TERM");
        self.wait().await
    }

    /// Sends it SIGTERM, waits, and checks that it has logged none of `secrets` up to its last line.
    pub async fn ends_silent(self, secrets: &[&str]) {
        let ended = self.terminate().await;
        assert_silent(&ended.log.lines().map(str::to_owned).collect::<Vec<_>>(), secrets);
    }

    /// Its exit code, if it has ended.
    pub fn poll(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().expect("ask for a child").map(|status| status.code())
    }

    /// Waits for its end. A program may take 25 seconds to drain.
    pub async fn wait(mut self) -> Ended {
        let start = Instant::now();
        while self.child.try_wait().expect("ask for a child").is_none() {
            assert!(start.elapsed() < LIMIT + LIMIT, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let code = self.child.wait().expect("it has ended").code();
        Ended { code, out: self.out.whole().await, log: self.log.whole().await }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        guard::end(&mut self.child);
        self.log.print_if_failing(self.name, 40);
    }
}
