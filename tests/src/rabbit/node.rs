//! The process of a RabbitMQ node, and its Erlang shell.

use crate::{
    epmd::Epmd,
    guard::{self, Folder},
};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::AtomicU32,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

/// The keys of the plugin's listener.
pub(super) const PROMETHEUS: &str = "prometheus.tcp";

/// A limit for the start: a node takes about ten seconds, and more on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
/// A limit for an answer of the node's Erlang shell.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// A write-ahead log that takes little disk space.
pub(super) const SMALL_LOG: &str = "raft.wal_max_size_bytes = 16000000\n";
/// Loopback only, and no epmd of the node's own. As docker-compose.yml sets it: how many milliseconds pass
/// before a wait queue tries again to move a retry whose queue had no leader.
const ERLANG: &str = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} \
     -rabbit dead_letter_worker_publisher_confirm_timeout 5000";

/// The process of a node, and what it was started with.
#[derive(Debug)]
pub(super) struct Node {
    folder: Folder,
    pub(super) amqp: u16,
    distribution: u16,
    epmd: Arc<Epmd>,
    pub(super) shell: Mutex<Option<Shell>>,
    pub(super) vhosts: AtomicU32,
}

/// A shell that reads expressions from a pipe.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    asked: u32,
}

impl Node {
    /// Makes its folder and keeps its ports and its settings.
    pub(super) fn prepare(settings: &str, [amqp, distribution]: [u16; 2], epmd: Arc<Epmd>) -> Self {
        let folder = Folder::new();
        let plugins = if settings.contains(PROMETHEUS) { "[rabbitmq_prometheus]." } else { "[]." };
        folder.write("plugins", plugins);
        let log = "log.console = false\nlog.file.level = warning\n";
        folder.write("rabbitmq.conf", &format!("{log}{settings}"));
        Self { folder, amqp, distribution, epmd, shell: Mutex::new(None), vhosts: AtomicU32::new(0) }
    }

    /// Starts the process, and returns its shell once the node is up.
    pub(super) fn launch(&self) -> Result<Shell, String> {
        let server = server();
        let inside = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(&server);
        guard::own_group(&mut command)
            .env("HOME", self.epmd.home())
            .env("ERL_EPMD_PORT", self.epmd.port().to_string())
            .env("RABBITMQ_NODENAME", name(self.amqp))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.amqp.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", inside("db"))
            .env("RABBITMQ_LOG_BASE", inside("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", inside("plugins"))
            .env("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            // Keeps the Erlang shell on standard input, and `erl` in this process instead of a child.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| format!("start {}: {e}", server.display()))?;
        guard::process(child.id());
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (lines, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let sent = lines.send(String::from_utf8_lossy(&line).trim().to_owned());
                if sent.is_err() {
                    break;
                }
            }
        });
        let mut shell = Shell { child, stdin, answers, asked: 0 };
        let up = "(fun Wait() -> case catch rabbit:is_running() of true -> up; _ -> timer:sleep(50), Wait() end end)()";
        match shell.ask(up, BOOT) {
            Ok(_) => Ok(shell),
            Err(why) => {
                guard::end(&mut shell.child);
                Err(format!("the RabbitMQ node did not start: {why}"))
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut shell) = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            guard::end(&mut shell.child);
        }
    }
}

impl Shell {
    pub(super) fn send(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.stdin, "{line}")
    }

    /// The value of `expression`, waiting at most `limit` for it.
    pub(super) fn ask(&mut self, expression: &str, limit: Duration) -> Result<String, String> {
        self.asked += 1;
        let mark = format!("@{}@", self.asked);
        self.send(&format!("io:format(\"~n{mark}~0p~n\", [catch begin {expression} end])."))
            .map_err(|e| format!("the node reads no input: {e}"))?;
        let mut seen = Vec::new();
        loop {
            match self.answers.recv_timeout(limit) {
                Ok(line) => match line.strip_prefix(&mark) {
                    Some(answer) => return Ok(answer.to_owned()),
                    None => seen.push(line),
                },
                Err(RecvTimeoutError::Timeout) => return Err(format!("no answer; it wrote {seen:#?}")),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the node ended; it wrote {seen:#?}"));
                }
            }
        }
    }
}

/// The Erlang name of the node with that AMQP port.
pub(super) fn name(amqp: u16) -> String {
    format!("postern{amqp}@localhost")
}

/// The script that runs the node as the calling user: `POSTERN_TESTS_RABBITMQ`, or Debian's own (the wrapper in
/// the PATH must run as root, because it changes to another user).
fn server() -> PathBuf {
    if let Some(chosen) = std::env::var_os("POSTERN_TESTS_RABBITMQ") {
        return chosen.into();
    }
    let debian = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    if debian.exists() { debian.to_owned() } else { "rabbitmq-server".into() }
}
