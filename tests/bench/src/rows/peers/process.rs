//! A program of another project. Dropping it ends it.

use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it in `folder`, and writes its output to `NAME.out` there.
    pub(super) fn start(
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let out = std::fs::File::create(folder.join(format!("{name}.out")))?;
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().copied()).current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        Ok(Self { name, child })
    }

    /// Waits until it accepts connections on that port of 127.0.0.1.
    pub(super) async fn listens(&mut self, port: u16) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}", self.name);
            }
            anyhow::ensure!(start.elapsed() < PATIENCE, "{} does not listen on {port}", self.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
