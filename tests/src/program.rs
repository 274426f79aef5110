//! Postern's programs, started as an operator starts them.

use crate::{
    guard::{self, Folder, free_ports},
    leaks::assert_silent,
    log::Log,
    metrics::Metrics,
    wait::{LIMIT, eventually},
    wire::{Reply, fetch, http_client},
};
use std::{
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// A program about to be started. Cloned or used again, it starts again in the same folder.
#[derive(Debug, Clone)]
pub struct Launch {
    program: &'static str,
    arguments: Vec<String>,
    config: Option<String>,
    environment: Vec<(String, String)>,
    folder: Arc<Folder>,
    listens: bool,
    token: Option<String>,
    log: LogTo,
    open_files: Option<u32>,
}

/// Where its log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogTo {
    /// To the test.
    Test,
    /// To `/dev/null`.
    Null,
    /// Into a pipe that nobody reads.
    UnreadPipe,
}

impl Launch {
    fn new(program: &'static str) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            config: None,
            environment: Vec::new(),
            folder: Arc::new(Folder::new()),
            listens: true,
            token: None,
            log: LogTo::Test,
            open_files: None,
        }
    }

    /// `postern`: both halves in one process, in an empty folder, without a configuration file.
    pub fn gateway() -> Self {
        Self::new("postern")
    }

    /// `postern-ingress --config …`
    pub fn ingress(config: &str) -> Self {
        Self::new("postern-ingress").config(config)
    }

    /// `postern-dispatcher --config …`
    pub fn dispatcher(config: &str) -> Self {
        Self::new("postern-dispatcher").config(config)
    }

    /// A program of the workspace that takes `postern`'s arguments: an example.
    pub fn program(name: &'static str) -> Self {
        Self::new(name)
    }

    /// With this TOML text as `postern.toml` and `--config`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// With one more argument; it stands before `--config`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an `admin.token`, which [`Program`]'s questions to the admin port show.
    #[must_use]
    pub fn admin_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self.env("POSTERN__ADMIN__TOKEN", token)
    }

    /// Listening where its own configuration says, instead of on free ports of 127.0.0.1.
    #[must_use]
    pub fn own_addresses(mut self) -> Self {
        self.listens = false;
        self
    }

    /// With its log written to `/dev/null`: whoever measures a program is not to read its lines meanwhile.
    #[must_use]
    pub fn unread_log(mut self) -> Self {
        self.log = LogTo::Null;
        self
    }

    /// With its log written into a pipe that nobody reads, and that takes no more after 64 KiB.
    #[must_use]
    pub fn stalled_log(mut self) -> Self {
        self.log = LogTo::UnreadPipe;
        self
    }

    /// With at most `limit` open files, which it cannot raise.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Starts it and waits until `/readyz` answers 200.
    ///
    /// # Panics
    /// When it ends instead, with its log.
    pub async fn start(&self) -> Program {
        for _ in 0..5 {
            let mut program = self.spawn();
            let ready = eventually("the program to be ready or to end", async || {
                if let Some(code) = program.poll() {
                    return Ok(Err(code));
                }
                match program.ready().await {
                    Ok(Reply { status: 200, .. }) => Ok(Ok(())),
                    Ok(reply) => Err(format!("/readyz: {} {}", reply.status, reply.text)),
                    Err(e) => Err(e.to_string()),
                }
            });
            match ready.await {
                Ok(()) => return program,
                // Another process took the port between our finding it free and the program's
                // binding it.
                Err(_) if program.log().text().contains("in use") => {}
                Err(code) => panic!("{} ended with {code:?} instead of getting ready", self.program),
            }
        }
        panic!("{} found no free port five times", self.program)
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&self) -> Program {
        let [ingress, admin] = free_ports();
        let mut command = match self.open_files {
            None => Command::new(path_of(self.program)),
            Some(limit) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={limit}:{limit}")).arg(path_of(self.program));
                command
            }
        };
        guard::own_group(&mut command).current_dir(self.folder.path());
        let ours = |name: &str| name.starts_with("POSTERN_") || name.starts_with("OTEL_");
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG");
        if self.listens {
            command.env("POSTERN__ADMIN__LISTEN", format!("127.0.0.1:{admin}"));
            if self.program != "postern-dispatcher" {
                command.env("POSTERN__INGRESS__LISTEN", format!("127.0.0.1:{ingress}"));
            }
        }
        command.envs(self.environment.iter().cloned()).args(&self.arguments);
        if let Some(config) = &self.config {
            command.arg("--config").arg(self.folder.write("postern.toml", config));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(if self.log == LogTo::Null { Stdio::null() } else { Stdio::piped() });
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {}: {e}", self.program));
        guard::process(child.id());
        let (log, out) = (Log::default(), Log::default());
        let unread = child.stderr.take_if(|_| self.log == LogTo::UnreadPipe);
        match child.stderr.take() {
            Some(stderr) => log.follow(stderr),
            None => log.follow(std::io::empty()),
        }
        out.follow(child.stdout.take().expect("stdout is a pipe"));
        let client = http_client();
        let (token, _folder) = (self.token.clone(), self.folder.clone());
        let name = self.program;
        Program { name, child, ingress, admin, log, out, client, token, _unread: unread, _folder }
    }

    /// Starts it and waits for its end: for `check`, `--help`, and starts that are to be refused.
    pub async fn run(&self) -> Ended {
        self.spawn().wait().await
    }
}

/// Where `cargo build` put it: beside the folder `deps` that the test binary is in, or beside a
/// program that measures.
fn path_of(program: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test binary has a path");
    let folder = test.parent().expect("a program is in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("target/debug") } else { folder };
    let path = folder.join(program);
    assert!(path.exists(), "{} is not built: run cargo build --workspace --bins", path.display());
    path
}

/// A running program. Dropping it kills it; in a test that fails, its log is printed.
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
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub out: String,
    /// All of its log (standard error).
    pub log: String,
}

impl Program {
    /// `http://127.0.0.1:…` of the ingress, without a final slash.
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
    /// When it does not answer.
    pub async fn admin(&self, path: &str) -> Result<Reply, reqwest::Error> {
        let request = self.client.get(format!("http://127.0.0.1:{}{path}", self.admin));
        fetch(self.token.iter().fold(request, |request, token| request.bearer_auth(token))).await
    }

    /// What `/readyz` answers.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ready(&self) -> Result<Reply, reqwest::Error> {
        self.admin("/readyz").await
    }

    /// What `/metrics` says now.
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

    /// Waits until the metric is `value` or more: what a crash may double.
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

    /// Where the admin port listens, on 127.0.0.1.
    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    /// Its log: what it wrote to standard error.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it `TERM`, `INT`, `STOP`, `CONT` …
    pub fn signal(&self, signal: &str) {
        let kill = Command::new("/bin/sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &self.child.id().to_string()])
            .status();
        assert!(kill.is_ok_and(|status| status.success()), "{} cannot be sent {signal}", self.name);
    }

    /// Ends it as a power cut would: SIGKILL.
    ///
    /// # Panics
    /// When it had ended before.
    pub fn kill(mut self) -> Log {
        self.child.kill().expect("kill a child");
        let status = self.child.wait().expect("wait for a child");
        assert_eq!(status.signal(), Some(9), "{} ended by itself: {status}", self.name);
        self.log.clone()
    }

    /// Ends a command as a power cut would, unless it has come to its end by itself: then its exit code.
    ///
    /// # Panics
    /// When something else than this has ended it by a signal.
    pub fn kill_unless_ended(mut self) -> Option<i32> {
        // Asked for its end only after the kill, so that no moment lies between a look and the kill.
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

    /// Sends it SIGTERM and checks that it has logged none of `secrets`, to its last line.
    pub async fn ends_silent(self, secrets: &[&str]) {
        let ended = self.terminate().await;
        assert_silent(&ended.log.lines().map(str::to_owned).collect::<Vec<_>>(), secrets);
    }

    /// Its exit code if it has ended.
    pub fn poll(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().expect("ask for a child").map(|status| status.code())
    }

    /// Waits for its end; the drain of a program may last 25 seconds.
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
