//! Jasmin 0.11: its HTTP API, which publishes each message to RabbitMQ for an SMPP connector.

use super::{process::Process, rapidsms::installed};
use crate::{load::Request, rig::Room};
use anyhow::{Context, Result, ensure};
use postern_tests::{Folder, free_port};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The lines typed into its console for a user, a connector to nowhere and a route.
const CONSOLE: [&str; 22] = [
    "group -a",
    "gid bench",
    "ok",
    "user -a",
    "username bench",
    "password hush",
    "gid bench",
    "uid bench",
    "ok",
    "smppccm -a",
    "cid nowhere",
    "host 127.0.0.1",
    "port 9",
    "ok",
    "smppccm -1 nowhere",
    "mtrouter -a",
    "type defaultroute",
    "connector smppc(nowhere)",
    "rate 0.0",
    "ok",
    "user -l",
    "mtrouter -l",
];

/// Runs the program in its first argument with its lock file in the working directory. Jasmin's own lock is one
/// for the whole machine, and stays when the process is killed.
const WITH_ITS_OWN_LOCK: &str = "import lockfile, runpy, sys; lock = lockfile.FileLock; \
    lockfile.FileLock = lambda _: lock('jasmind'); sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')";

#[derive(Debug)]
pub(super) struct Jasmin {
    _jasmind: Process,
    _redis: Process,
    _folder: Folder,
    port: u16,
}

impl Jasmin {
    /// Starts it; `None` if it is not installed.
    pub(super) async fn start(room: &Room) -> Result<Option<Self>> {
        let Some(python) = installed("jasmin") else { return Ok(None) };
        let folder = Folder::new();
        for part in ["etc/jasmin/store", "etc/jasmin/resource", "var/log/jasmin"] {
            std::fs::create_dir_all(folder.path().join(part))?;
        }
        let [port, console, redis_port] = [(); 3].map(|()| free_port());
        let others: String = ["router", "client-management", "smpp-server", "smpp-server-pb"]
            .map(|section| format!("[{section}]\nbind = 127.0.0.1\nport = {}\n", free_port()))
            .concat();
        let spec = site_packages(&python)?.join("txamqp/specs/standard/amqp0-9-1.stripped.xml");
        let url = room.vhost.url();
        let vhost = url.rsplit('/').next().unwrap_or_default();
        folder.write(
            "jasmin.cfg",
            &format!(
                "{others}[http-api]\nbind = 127.0.0.1\nport = {port}\n[jcli]\nport = {console}\n\
                 authentication = False\n[redis-client]\nport = {redis_port}\n\
                 [amqp-broker]\nport = {}\nvhost = {vhost}\nspec = {}\n",
                room.vhost.port(),
                spec.display()
            ),
        );
        let redis_at = redis_port.to_string();
        let arguments = ["--port", &redis_at, "--save", "", "--bind", "127.0.0.1"];
        let mut redis = Process::start("redis-server".as_ref(), &arguments, folder.path(), &[])?;
        redis.listens(redis_port).await?;
        let root = folder.path().to_string_lossy().into_owned();
        let daemon = python.join("jasmind.py").canonicalize()?;
        let arguments = ["-c", WITH_ITS_OWN_LOCK, &daemon.to_string_lossy(), "-c", "jasmin.cfg"];
        let environment = [("ROOT_PATH", root.as_str())];
        let mut jasmind = Process::start(&python.join("python"), &arguments, folder.path(), &environment)?;
        jasmind.listens(console).await?;
        jasmind.listens(port).await?;
        set_up(console).await?;
        Ok(Some(Self { _jasmind: jasmind, _redis: redis, _folder: folder, port }))
    }

    /// The request that sends a message.
    pub(super) fn send(&self) -> Request {
        let query = "username=bench&password=hush&to=15551234567&content=Your+appointment+is+on+Monday+at+nine.+Answer+1+to+confirm.";
        Request::get(&format!("http://127.0.0.1:{}", self.port), &format!("/send?{query}"))
    }
}

/// The folder of the packages that belong to the programs in `bin`.
fn site_packages(bin: &Path) -> Result<PathBuf> {
    let lib = bin.canonicalize()?.with_file_name("lib");
    let mut versions = std::fs::read_dir(lib)?.filter_map(Result::ok).map(|entry| entry.path());
    let python = versions.find(|path| path.join("site-packages").exists());
    Ok(python.context("no site-packages")?.join("site-packages"))
}

async fn set_up(console: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", console)).await?;
    let mut told = Vec::new();
    for line in CONSOLE {
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        // It answers each line at once, but in no fixed form.
        while let Ok(read) =
            tokio::time::timeout(Duration::from_millis(400), stream.read_buf(&mut told)).await
        {
            ensure!(read? > 0, "Jasmin's console closed: {}", String::from_utf8_lossy(&told));
        }
    }
    let told = String::from_utf8_lossy(&told);
    ensure!(told.contains("Successfully added MTRoute"), "Jasmin's console said: {told}");
    Ok(())
}
