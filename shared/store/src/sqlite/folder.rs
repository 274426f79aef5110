//! The folder of a store, and its lock.

use super::{FILE, StoreError};
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
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

/// Whether `dir` holds the files of a version of Postern that was never released.
pub(super) fn has_an_unreleased_store(dir: &Path) -> bool {
    dir.join("store").join("version").exists()
}

/// What the last process that had the folder left in it, as its file `lock` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastUse {
    /// No store was made here yet, or it was copied here without its lock.
    None,
    /// The store was closed in order: all is in its file.
    Closed,
    /// The process ended without a word, or is still at work: the end of the store is in its
    /// write-ahead log.
    Open,
}

impl LastUse {
    /// All have one length, so that overwriting one with another needs no room on the disk.
    const fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Closed => "closed\n",
            Self::Open => "open  \n",
        }
    }
}

/// The folder, for this process alone.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    // Locked as long as it is open.
    lock: File,
}

impl Folder {
    /// Makes the folder where it is missing and locks it. Waits a
    /// moment for a broker that is just being dropped.
    pub(crate) fn lock(path: &Path) -> Result<Self, StoreError> {
        private(path).map_err(|error| StoreError::io("cannot be made", &error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("lock"))
            .map_err(|error| StoreError::io("cannot be written", &error))?;
        for wait in [50, 100, 200, 0] {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), lock }),
                #[expect(clippy::disallowed_methods, reason = "opening has a thread of its own")]
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(wait)),
                Err(TryLockError::Error(error)) => return Err(StoreError::io("cannot be locked", &error)),
            }
        }
        Err(StoreError::Locked)
    }

    /// The folder's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the store's file.
    pub(super) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// What the last process left.
    pub(super) fn last_use(&self) -> Result<LastUse, StoreError> {
        let mut text = [0; 7];
        match self.lock.read_at(&mut text, 0) {
            Ok(0) => Ok(LastUse::None),
            Ok(_) if text == *LastUse::Closed.text().as_bytes() => Ok(LastUse::Closed),
            // Cut short, it tells at least that there was a store.
            Ok(_) => Ok(LastUse::Open),
            Err(error) => Err(StoreError::io("cannot be read", &error)),
        }
    }

    /// Says that the store is open, until the returned value is dropped.
    ///
    /// # Errors
    /// That cannot be written.
    pub(super) fn note_open(&self) -> Result<OpenNote, StoreError> {
        let open = || {
            // The same lock: a copy does not lock or unlock anything by itself.
            let note = OpenNote(self.lock.try_clone()?);
            write(&note.0, LastUse::Open)?;
            Ok(note)
        };
        open().map_err(|error| StoreError::io("cannot be written", &error))
    }
}

/// The folder's file says "open" as long as this lives.
#[derive(Debug)]
pub(super) struct OpenNote(File);

impl Drop for OpenNote {
    fn drop(&mut self) {
        if let Err(error) = write(&self.0, LastUse::Closed) {
            tracing::warn!(%error,
                "the file lock of the store's folder cannot be written: the next start will treat the \
                 store as not closed");
        }
    }
}

fn write(lock: &File, last_use: LastUse) -> io::Result<()> {
    lock.write_all_at(last_use.text().as_bytes(), 0)?;
    lock.sync_all()
}
