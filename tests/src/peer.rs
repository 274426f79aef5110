//! Other people's programs that Postern works with.

use crate::{guard, log::Log, wait::within};
use std::{
    io::Write as _,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};
use tokio::net::TcpStream;

/// A limit for the start: Django takes seconds, and many more on a busy machine.
const BOOT: Duration = Duration::from_secs(120);

/// A running program. Dropping it kills it; if the test has failed, its output is printed.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: Log,
}

impl Peer {
    /// Starts `command` in the folder that it names, which must be the test's own.
    ///
    /// # Panics
    /// If the program does not exist.
    pub fn start(name: &str, command: &mut Command) -> Self {
        guard::own_group(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|e| panic!("start {name}: {e}; tests/run installs it"));
        guard::process(child.id());
        let log = Log::default();
        log.follow(child.stdout.take().expect("stdout is a pipe"));
        log.follow(child.stderr.take().expect("stderr is a pipe"));
        Self { name: name.to_owned(), stdin: child.stdin.take(), child, log }
    }

    /// What it has written to standard output and standard error.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Writes a line to its standard input.
    pub fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its standard input is open");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it reads its standard input");
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("ask for a child").is_some()
    }

    /// Waits until it accepts connections on that port of 127.0.0.1. Returns `false` if it ends instead, as it
    /// does if another process has the port.
    pub async fn listens(&mut self, port: u16) -> bool {
        let name = self.name.clone();
        within(BOOT, &format!("{name} to listen"), async || match self.ended() {
            true => Ok(false),
            false => TcpStream::connect(("127.0.0.1", port)).await.map(|_| true),
        })
        .await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        guard::end(&mut self.child);
        self.log.print_if_failing(&self.name, 60);
    }
}
