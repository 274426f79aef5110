//! The folder of an embedded broker, and its lock.

use super::store_error::StoreError;
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Makes the folder at `path` where it is missing, and those above it: for this user only, since
/// messages lie in it.
///
/// # Errors
/// It cannot be made.
pub(crate) fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The folder, for this process alone.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    // Locked as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing and locks it. Waits a
    /// moment for a broker that is just being dropped.
    pub(super) fn lock(path: &Path) -> Result<Self, StoreError> {
        private(path).map_err(|error| StoreError::io("cannot be made", &error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(|error| StoreError::io("cannot be written", &error))?;
        for wait in [50, 100, 200, 0] {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                #[expect(clippy::disallowed_methods, reason = "opening has a thread of its own")]
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(wait)),
                Err(TryLockError::Error(error)) => return Err(StoreError::io("cannot be locked", &error)),
            }
        }
        Err(StoreError::Locked)
    }

    /// The folder's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
