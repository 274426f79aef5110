//! The folder of a store, and its lock.

use super::{FILE, StoreError};
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// Creates the folder at `path` and those above it, if they are missing. They are for this user only, since they
/// hold messages.
///
/// # Errors
/// A folder cannot be created.
pub(crate) fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether `dir` holds the files of a version of Postern that was never released.
pub(super) fn has_an_unreleased_store(dir: &Path) -> bool {
    dir.join("store").join("version").exists()
}

/// The state in which the last process left the folder, read from the file `lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastUse {
    /// No store was created here yet, or it was copied here without the file `lock`.
    None,
    /// The store was closed in order: everything is in its file.
    Closed,
    /// The process crashed, or is still running: the end of the store is in its write-ahead log.
    Open,
}

impl LastUse {
    /// The text in the file `lock`. All texts have the same length, so that overwriting one needs no space on
    /// the disk.
    const fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Closed => "closed\n",
            Self::Open => "open  \n",
        }
    }
}

/// The folder, locked for this process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    // The lock ends when this file is closed.
    lock: File,
}

impl Folder {
    /// Creates the folder if it is missing, and locks it. Waits a moment for a broker that is just being dropped.
    pub(crate) fn lock(path: &Path) -> Result<Self, StoreError> {
        private(path).map_err(|error| StoreError::io("cannot be created", &error))?;
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

    /// The state in which the last process left the folder.
    pub(super) fn last_use(&self) -> Result<LastUse, StoreError> {
        let mut text = [0; 7];
        match self.lock.read_at(&mut text, 0) {
            Ok(0) => Ok(LastUse::None),
            Ok(_) if text == *LastUse::Closed.text().as_bytes() => Ok(LastUse::Closed),
            // A text that was cut short shows at least that there was a store.
            Ok(_) => Ok(LastUse::Open),
            Err(error) => Err(StoreError::io("cannot be read", &error)),
        }
    }

    /// Marks the store as open in the file `lock`, until the returned value is dropped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn note_open(&self) -> Result<OpenNote, StoreError> {
        let open = || {
            // The copy shares the lock.
            let note = OpenNote(self.lock.try_clone()?);
            write(&note.0, LastUse::Open)?;
            Ok(note)
        };
        open().map_err(|error| StoreError::io("cannot be written", &error))
    }
}

/// The file `lock` says "open" until this is dropped.
#[derive(Debug)]
pub(super) struct OpenNote(File);

impl Drop for OpenNote {
    fn drop(&mut self) {
        if let Err(error) = write(&self.0, LastUse::Closed) {
            tracing::warn!(%error,
                "the file `lock` in the store's folder cannot be written: the next start will treat this \
                 shutdown as unclean");
        }
    }
}

fn write(lock: &File, last_use: LastUse) -> io::Result<()> {
    lock.write_all_at(last_use.text().as_bytes(), 0)?;
    lock.sync_all()
}
