//! RapidSMS 2.2 under gunicorn; its HTTP backend passes messages to Celery on RabbitMQ.

use super::process::Process;
use crate::{load::Request, rig::Room};
use anyhow::{Context, Result, ensure};
use postern_tests::{Folder, free_port};
use std::{path::PathBuf, process::Command};

#[derive(Debug)]
pub(super) struct RapidSms {
    _gunicorn: Process,
    _folder: Folder,
    port: u16,
}

/// The folder in which tests/bench/peers/install puts the programs of a Python peer.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("POSTERN_BENCH_PEERS")?).join(name).join("bin");
    folder.exists().then_some(folder)
}

impl RapidSms {
    /// Starts it; `None` if it is not installed.
    pub(super) async fn start(room: &Room) -> Result<Option<Self>> {
        let Some(python) = installed("rapidsms") else { return Ok(None) };
        let folder = Folder::new();
        folder.write("settings.py", include_str!("../../../peers/rapidsms/settings.py"));
        folder.write("urls.py", include_str!("../../../peers/rapidsms/urls.py"));
        folder.write("wsgi.py", include_str!("../../../peers/rapidsms/wsgi.py"));
        let url = room.vhost.url();
        let mut migrate = Command::new(python.join("python"));
        migrate.args(["-m", "django", "migrate", "--run-syncdb", "--settings", "settings"]);
        migrate.env("PYTHONPATH", ".").env("BENCH_AMQP", &url).current_dir(folder.path());
        let done = migrate.output().context("start django")?;
        ensure!(done.status.success(), "django: {}", String::from_utf8_lossy(&done.stderr));
        let port = free_port();
        let bind = format!("127.0.0.1:{port}");
        let arguments = ["-w", "2", "-b", &bind, "--log-level", "warning", "wsgi"];
        let environment = [("BENCH_AMQP", url.as_str())];
        let gunicorn = python.join("gunicorn");
        let mut gunicorn = Process::start(&gunicorn, &arguments, folder.path(), &environment)?;
        gunicorn.listens(port).await?;
        Ok(Some(Self { _gunicorn: gunicorn, _folder: folder, port }))
    }

    /// The request with which its HTTP backend receives a message.
    pub(super) fn receive(&self) -> Request {
        super::form(&format!("http://127.0.0.1:{}", self.port), "/backend/bench/")
    }
}
