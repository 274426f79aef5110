//! Starts Postern's programs, the floors, and what they need.

use crate::{effort::Effort, provider::Provider, queue::Queues};
use anyhow::{Context, Result};
use postern_tests::{Launch, Program, Rabbit, Vhost, free_port, usage};
use std::{
    fmt::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

/// How long a floor may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The things that every group of rows needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) effort: Effort,
    pub(crate) rabbit: Rabbit,
    pub(crate) provider: Provider,
}

impl Bench {
    pub(crate) async fn start(effort: Effort) -> Result<Self> {
        let rabbit = tokio::task::spawn_blocking(Rabbit::unchanged).await?;
        Ok(Self { effort, rabbit, provider: Provider::start().await? })
    }

    /// An empty virtual host.
    pub(crate) async fn room(&self) -> Result<Room> {
        let vhost = self.rabbit.vhost();
        let queues = Queues::connect(&vhost.url()).await?;
        Ok(Room { vhost, queues })
    }

    /// The sections of `backends` identical backends, one of which is `bench`.
    pub(crate) fn backends(&self, number: usize, concurrency: usize) -> String {
        let mut config = String::new();
        for index in 0..number.max(1) {
            let name = if index == 0 { "bench".to_owned() } else { format!("other-{index}") };
            let _ = write!(
                config,
                "[backends.{name}]\ntype = \"http\"\nconcurrency = {concurrency}\n\
                 [backends.{name}.send]\nurl = \"{}\"\n\
                 form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\ntimeout = \"60s\"\n",
                self.provider.url()
            );
        }
        config
    }

    /// The configuration of a gateway with the embedded broker and `backends` backends, whose queues it serves
    /// or not.
    pub(crate) fn gateway(&self, backends: usize, served: Served, log: MessageLog) -> String {
        let (served, log) = (served.names(), log == MessageLog::On);
        format!(
            "[broker]\nurl = \"embedded:data\"\n[log]\nmessages = {log}\n[dispatcher]\nbackends = [\"{served}\"]\n{}\
             [backends.quiet]\ntype = \"console\"\n",
            self.backends(backends, CONCURRENCY)
        )
    }
}

/// How many sends are in flight, unless a row says otherwise.
const CONCURRENCY: usize = 64;

/// Whether a gateway with the embedded broker sends the waiting messages of its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// It sends all messages.
    All,
    /// It sends no message.
    None,
}

impl Served {
    fn names(self) -> &'static str {
        match self {
            Self::All => "*",
            Self::None => "quiet",
        }
    }
}

/// Whether the gateway writes a message log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageLog {
    /// The default with the embedded broker.
    On,
    /// The default with RabbitMQ.
    Off,
}

/// Fails unless `ingress` published every message to the broker directly: the spool is faster than that.
pub(crate) async fn spooled_nothing(ingress: &Program) -> Result<()> {
    let spooled = ingress.metrics().await.value("postern_spool_stored_total", &[]);
    anyhow::ensure!(
        spooled == 0.0,
        "{spooled} messages went through the spool: this measured something else"
    );
    Ok(())
}

/// Makes a floor publish as Postern does, through a topic exchange instead of straight to the queue.
pub(crate) const BY_TOPIC: &[&str] = &["--by-topic"];

/// A virtual host and access to its queues.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) vhost: Vhost,
    pub(crate) queues: Queues,
}

impl Room {
    /// Starts an ingress, and waits until it is connected.
    pub(crate) async fn ingress(&self, config: &str) -> Program {
        Launch::ingress(&self.vhost.config(config)).unread_log().start_connected().await
    }

    pub(crate) async fn dispatcher(&self, config: &str) -> Program {
        Launch::dispatcher(&self.vhost.config(config)).unread_log().start().await
    }

    /// Starts the bare handler. Returns it and its address.
    pub(crate) async fn bare_handler(&self) -> Result<(Floor, String)> {
        self.bare_handler_of("postern-bench", &[]).await
    }

    /// Starts the bare handler of that program, with further arguments.
    pub(crate) async fn bare_handler_of(&self, program: &str, further: &[&str]) -> Result<(Floor, String)> {
        let mut tries = 0;
        loop {
            let port = free_port();
            let (url, number) = (self.vhost.url(), port.to_string());
            let arguments = ["floor-accept", "--amqp", &url, "--port", &number];
            match Floor::start(program, &[&arguments, further].concat()).await {
                Ok(floor) => return Ok((floor, format!("http://127.0.0.1:{port}"))),
                // Another process may have taken the port meanwhile.
                Err(_) if tries < 3 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts the bare loop.
    pub(crate) async fn bare_loop(&self, provider: &str, concurrency: usize) -> Result<Floor> {
        self.bare_loop_of("postern-bench", provider, concurrency, &[]).await
    }

    /// Starts the bare loop of that program, with further arguments.
    pub(crate) async fn bare_loop_of(
        &self,
        program: &str,
        provider: &str,
        concurrency: usize,
        further: &[&str],
    ) -> Result<Floor> {
        let concurrency = concurrency.to_string();
        let url = self.vhost.url();
        let arguments = ["floor-send", "--amqp", &url, "--provider", provider, "--concurrency", &concurrency];
        Floor::start(program, &[&arguments, further].concat()).await
    }
}

/// A running floor. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Floor {
    async fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name(program);
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let mut out = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, out.read_line(&mut line)).await;
        read.with_context(|| format!("{} is not ready", arguments.join(" ")))??;
        anyhow::ensure!(line == "ready\n", "{} ended: {line}", arguments.join(" "));
        Ok(Self { child, out })
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.child.id().context("the floor has ended")
    }

    /// Ends it, and returns the last line of its output.
    pub(crate) async fn end(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).await?;
        self.child.wait().await?;
        Ok(rest)
    }
}

/// The figures for a stretch of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    /// Messages a second.
    pub(crate) rate: f64,
    /// The program's CPU time for each message, in microseconds.
    pub(crate) cpu: f64,
}

/// How fast `messages` messages reach the provider, which was told to expect them, and what each costs
/// `process`. Counted from when a tenth has come until a tenth is still to come.
pub(crate) async fn sending(
    seen: &crate::provider::Seen,
    messages: u64,
    process: Option<u32>,
) -> Result<Stretch> {
    let [stretch, _] = sending_beside(seen, messages, [process, None]).await?;
    Ok(stretch)
}

/// Like [`sending`], for two processes that share the work.
pub(crate) async fn sending_beside(
    seen: &crate::provider::Seen,
    messages: u64,
    processes: [Option<u32>; 2],
) -> Result<[Stretch; 2]> {
    let used = || processes.map(|process| process.map_or(Duration::ZERO, usage::cpu));
    seen.reach(messages / 10).await?;
    let (from, before) = (seen.count(), used());
    seen.reach(messages - messages / 10).await?;
    let (to, after) = (seen.count(), used());
    seen.reach(messages).await?;
    let rate = seen.rate(messages, 0.1, 0.9);
    let each = |index: usize| (after[index] - before[index]).as_secs_f64() * 1e6 / (to - from).max(1) as f64;
    Ok([0, 1].map(|index| Stretch { rate, cpu: each(index) }))
}

/// Waits until `condition` returns a value, and returns that.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut ready: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready().await? {
            return Ok(value);
        }
        anyhow::ensure!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
