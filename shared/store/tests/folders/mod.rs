//! Where an embedded broker's files lie, also after its process has crashed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use postern_broker::Broker;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// The folders of the brokers that were opened in turn; the last is in use.
pub(crate) struct Folders(Mutex<Vec<tempfile::TempDir>>);

impl Folders {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(vec![tempfile::tempdir().unwrap()]))
    }

    /// The one in use.
    pub(crate) fn last(&self) -> PathBuf {
        self.0.lock().unwrap().last().unwrap().path().to_owned()
    }

    /// What a crash leaves is what the files hold while the process runs: a copy of them is in use
    /// from now on, and the broker never learns of it.
    #[expect(clippy::disallowed_methods, reason = "a crash drops nothing")]
    pub(crate) fn crash(&self, broker: Arc<dyn Broker>) -> anyhow::Result<()> {
        let copy = tempfile::tempdir()?;
        copy_files(&self.last(), copy.path())?;
        self.0.lock().unwrap().push(copy);
        std::mem::forget(broker);
        Ok(())
    }
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&to)?;
            copy_files(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
