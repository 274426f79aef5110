//! Starting Postern's programs.

use super::{Ended, Program};
use crate::{
    guard::{self, Folder, free_ports},
    log::Log,
    wait::eventually,
    wire::{Reply, http_client},
};
use std::{
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

/// A program to be started. Clones, and further starts, use the same folder.
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

/// The destination of a program's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogTo {
    /// The test reads it.
    Test,
    /// `/dev/null`.
    Null,
    /// A pipe that nobody reads.
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

    /// Starts `postern`, both halves in one process, in an empty folder and without a configuration file.
    pub fn gateway() -> Self {
        Self::new("postern")
    }

    /// Starts `postern-ingress --config …`.
    pub fn ingress(config: &str) -> Self {
        Self::new("postern-ingress").config(config)
    }

    /// Starts `postern-dispatcher --config …`.
    pub fn dispatcher(config: &str) -> Self {
        Self::new("postern-dispatcher").config(config)
    }

    /// Starts another program of the workspace that takes `postern`'s arguments, such as an example.
    pub fn program(name: &'static str) -> Self {
        Self::new(name)
    }

    /// Writes this TOML text to `postern.toml` and passes it as `--config`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// Adds an argument before `--config`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets `admin.token`, which [`Program`] sends in its requests to the admin port.
    #[must_use]
    pub fn admin_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self.env("POSTERN__ADMIN__TOKEN", token)
    }

    /// Listens where its own configuration says instead of on free ports of 127.0.0.1.
    #[must_use]
    pub fn own_addresses(mut self) -> Self {
        self.listens = false;
        self
    }

    /// Writes its log to `/dev/null`, for a measurement that must not spend time on reading lines.
    #[must_use]
    pub fn unread_log(mut self) -> Self {
        self.log = LogTo::Null;
        self
    }

    /// Writes its log into a pipe that nobody reads and that is full after 64 KiB.
    #[must_use]
    pub fn stalled_log(mut self) -> Self {
        self.log = LogTo::UnreadPipe;
        self
    }

    /// Allows it at most `limit` open files; it cannot raise the limit.
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
    /// If it ends instead; the message contains its log.
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

    /// Starts it and waits until it is connected to its broker: with a spool, it is ready before.
    ///
    /// # Panics
    /// Like [`start`](Self::start), and if it does not connect in time.
    pub async fn start_connected(&self) -> Program {
        let program = self.start().await;
        program.metric_becomes("postern_broker_connected", &[], 1.0).await;
        program
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Program {
        let [ingress, admin] = free_ports();
        let mut command = self.command([ingress, admin]);
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

    /// The command that starts it, with these ports for the ingress and the admin port.
    fn command(&self, [ingress, admin]: [u16; 2]) -> Command {
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
        // A broker or a disk works or fails: if no test makes it slow, only a busy machine exceeds the default of
        // five seconds.
        if !self.sets_publish_timeout() {
            command.env("POSTERN__BROKER__PUBLISH_TIMEOUT", "20s");
        }
        command.envs(self.environment.iter().cloned()).args(&self.arguments);
        if let Some(config) = &self.config {
            command.arg("--config").arg(self.folder.write("postern.toml", config));
        }
        command
    }

    fn sets_publish_timeout(&self) -> bool {
        self.environment.iter().any(|(name, _)| name == "POSTERN__BROKER__PUBLISH_TIMEOUT")
            || self.config.as_deref().is_some_and(|config| config.contains("publish_timeout"))
    }

    /// Starts it, hands each line of its standard output to `line`, and waits for its end: for a command that
    /// writes more than memory should hold. The result's `out` is empty.
    pub fn lines(&self, mut line: impl FnMut(&str)) -> Ended {
        let mut child = self
            .command(free_ports())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", self.program));
        guard::process(child.id());
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let log = std::thread::spawn(move || io::read_to_string(stderr));
        for told in BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines() {
            line(&told.expect("a line of text"));
        }
        let code = child.wait().expect("wait for a child").code();
        guard::ended(child.id());
        let log = log.join().expect("a thread that reads").expect("a log of text");
        Ended { code, out: String::new(), log }
    }

    /// Starts it and waits for its end: for `check`, `--help`, and starts that must be refused.
    pub async fn run(&self) -> Ended {
        self.spawn().wait().await
    }
}

/// The path of a program: in the folder that `POSTERN_TESTS_PROGRAMS` names, or else where `cargo build` put it.
/// That is the parent of the folder `deps` of the test binary, or the folder of the program that measures.
fn path_of(program: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("POSTERN_TESTS_PROGRAMS") {
        let path = PathBuf::from(folder).join(program);
        assert!(path.exists(), "{} is not there: POSTERN_TESTS_PROGRAMS names its folder", path.display());
        return path;
    }
    let test = std::env::current_exe().expect("the test binary has a path");
    let folder = test.parent().expect("a program is in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("target/debug") } else { folder };
    let path = folder.join(program);
    assert!(path.exists(), "{} is not built: run cargo build --workspace --bins", path.display());
    path
}
