//! The folder of an embedded broker's files, also after a crash of its process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use postern_broker::Broker;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// The folders of brokers that were opened one after the other. The last is in use.
pub(crate) struct Folders(Mutex<Vec<tempfile::TempDir>>);

impl Folders {
    /// One empty folder.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(vec![tempfile::tempdir().unwrap()]))
    }

    /// The folder in use.
    pub(crate) fn last(&self) -> PathBuf {
        self.0.lock().unwrap().last().unwrap().path().to_owned()
    }

    /// Simulates a crash: copies the files while the broker still runs. From now on the copy is in use, and the
    /// broker never learns of it.
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
