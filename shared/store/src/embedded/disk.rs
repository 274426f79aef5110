//! The free space of the disk, which is checked now and then.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long, and for how many published bytes, a check is valid.
const GOOD_FOR: (Duration, u64) = (Duration::from_millis(250), 4 * 1024 * 1024);

/// Watches the free space of a folder's file system.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    min_free: u64,
    asked: Option<Instant>,
    written: u64,
    problem: Option<String>,
}

impl Disk {
    /// Watches the file system that holds `path`. With a `min_free` of 0, nothing is checked.
    pub(super) fn new(path: PathBuf, min_free: u64) -> Self {
        Self { path, min_free, asked: None, written: 0, problem: None }
    }

    /// Why nothing more may be published, asked before `bytes` are published. `None` if publishing is allowed.
    pub(super) fn problem(&mut self, bytes: u64) -> Option<&str> {
        self.written += bytes;
        let fresh = self.asked.is_some_and(|asked| asked.elapsed() < GOOD_FOR.0) && self.written < GOOD_FOR.1;
        if self.min_free > 0 && !fresh {
            self.asked = Some(Instant::now());
            self.written = 0;
            let problem = self.ask();
            match (&self.problem, &problem) {
                (None, Some(why)) => tracing::error!(error = why, "disk nearly full, no message is accepted"),
                (Some(_), None) => {
                    tracing::info!(path = %self.path.display(), "disk no longer nearly full, messages are accepted again")
                }
                _ => {}
            }
            self.problem = problem;
        }
        self.problem.as_deref()
    }

    /// Whether the last check found too little space.
    pub(super) fn is_full(&self) -> bool {
        self.problem.is_some()
    }

    /// The problem that the last check found. Empty if there was none.
    pub(super) fn why(&self) -> &str {
        self.problem.as_deref().unwrap_or_default()
    }

    fn ask(&self) -> Option<String> {
        let path = self.path.display();
        match rustix::fs::statvfs(&self.path) {
            Ok(system) => {
                let free = system.f_bavail.saturating_mul(system.f_frsize);
                (free < self.min_free).then(|| {
                    format!(
                        "{path} has {free} bytes free, fewer than the {} that must stay free (broker.min_free_disk); \
                         free some space, and Postern continues by itself",
                        self.min_free
                    )
                })
            }
            // If the disk is broken, the next write fails and says why.
            Err(error) => {
                tracing::warn!(%path, %error, "the free space of the disk cannot be determined");
                None
            }
        }
    }
}
