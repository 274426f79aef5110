//! A PostgreSQL server of the tests' own: it shares no port, folder or password with any other.

use crate::guard::{self, Folder, free_port};
use std::{
    net::TcpStream,
    os::unix::fs::{MetadataExt as _, chown},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// A limit for creating a cluster and starting it: a few seconds, and more on a busy machine.
const BOOT: Duration = Duration::from_secs(120);
const USER: &str = "postgres";
/// The server's password; no log and no error may contain it.
pub const PASSWORD: &str = "cluster-password-of-the-tests";

/// A server, with fsync. Clones are the same server.
#[derive(Debug, Clone)]
pub struct Postgres(Arc<Server>);

#[derive(Debug)]
struct Server {
    folder: Folder,
    port: u16,
    child: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Postgres {
    /// The server that all tests of this binary share, each with a database of its own. The first call starts
    /// it.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::to_harm).clone()
    }

    /// A new server that the caller may stop.
    pub fn to_harm() -> Self {
        let mut problem = String::new();
        // Another process may take the port between our finding it free and the server's binding it.
        for _ in 0..3 {
            let server = Server {
                folder: Folder::new(),
                port: free_port(),
                child: Mutex::new(None),
                databases: AtomicU32::new(0),
            };
            match server.make().and_then(|()| server.start()) {
                Ok(()) => return Self(Arc::new(server)),
                Err(why) => problem = why,
            }
        }
        panic!("the PostgreSQL server did not start: {problem}")
    }

    /// Creates an empty database and returns its URL.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.0.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of the database with that name.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{name}?sslmode=disable", self.0.port)
    }

    /// What psql prints for `statement` in that database, with values separated by `|`.
    ///
    /// # Panics
    /// If the server refuses the statement.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let output = Command::new(program("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER])
            .args(["-p", &self.0.port.to_string(), "-d", database, "-c", statement])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("start psql");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Ends it immediately, as a crash would, but without leaving shared memory behind.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Starts it again with what it had stored.
    pub fn start(&self) {
        self.0.start().unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Server {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The server refuses to run as root, so it runs as the user who owns its folder.
    fn command(&self, name: &str) -> Command {
        let program = program(name);
        let is_root = is_root();
        let mut command = Command::new(if is_root { "setpriv".into() } else { program.clone() });
        if is_root {
            command.args(["--reuid", &user().to_string(), "--clear-groups"]).arg(program);
        }
        command.env("LC_ALL", "C").current_dir(self.folder.path());
        command
    }

    fn make(&self) -> Result<(), String> {
        let folder = self.folder.path();
        let file = self.folder.write("password", PASSWORD);
        if is_root() {
            for path in [folder, &file] {
                chown(path, Some(user()), None).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        let mut initdb = self.command("initdb");
        initdb.args(["-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]);
        let output = initdb.arg("--pwfile").arg(file).arg("-D").arg(self.data()).output();
        let output = output.map_err(|e| format!("start initdb: {e}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("initdb: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn start(&self) -> Result<(), String> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1"]);
        for setting in [
            "unix_socket_directories=",
            "dynamic_shared_memory_type=mmap",
            "max_connections=200",
            "shared_buffers=64MB",
        ] {
            command.args(["-c", setting]);
        }
        let log = self.folder.path().join("log");
        let log = std::fs::File::create(log).map_err(|e| e.to_string())?;
        guard::own_group(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(|e| format!("start postgres: {e}"))?;
        guard::server(child.id());
        let end = Instant::now() + BOOT;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                guard::ended(child.id());
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("postgres ended with {status}: {log}"));
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.answers() {
                *self.child() = Some(child);
                return Ok(());
            }
            if Instant::now() > end {
                guard::end(&mut child);
                return Err(format!("no answer within {BOOT:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let mut ready = Command::new(program("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    fn stop(&self) {
        if let Some(mut child) = self.child().take() {
            let quit = Command::new("kill").args(["-s", "QUIT", &child.id().to_string()]).status();
            assert!(quit.is_ok_and(|quit| quit.success()), "the server had ended");
            child.wait().expect("wait for the server");
            guard::ended(child.id());
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The id of the user that Debian's package creates, or else of `nobody`.
fn user() -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = |name: &str| {
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find(|fields| fields.first() == Some(&name)).and_then(|fields| fields.get(2)?.parse().ok())
    };
    number(USER).or_else(|| number("nobody")).expect("a user who is not root")
}

/// The path of a program: from the newest PostgreSQL that Debian installed, or else from the PATH.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|entry| entry.path()).max_by_key(version);
    newest.map(|folder| folder.join("bin").join(name)).filter(|path| path.exists()).unwrap_or(name.into())
}
