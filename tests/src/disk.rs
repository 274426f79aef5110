//! Small disks that fill up, and disks that fail. Only root may mount them.

use crate::guard::{self, Folder};
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// A file system in memory, unmounted when this value is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: Folder,
}

impl SmallDisk {
    /// Mounts a disk of `mebibytes` MiB.
    ///
    /// # Errors
    /// The error of `mount`, for example without root and in most containers.
    pub fn mount(mebibytes: u32) -> Result<Self, String> {
        let folder = Folder::new();
        let options = format!("size={mebibytes}m,mode=700");
        mount(&["-t", "tmpfs", "-o", &options, "postern-test"], folder.path())?;
        Ok(Self { folder })
    }

    /// The path at which it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it to the last byte that a file can take.
    pub fn fill(&self) {
        let mut filler = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .expect("a file on the small disk");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1; size];
            let full = loop {
                if let Err(error) = filler.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "filling the small disk: {full}");
        }
    }

    /// Makes room again.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).expect("remove what fills the small disk");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.folder.path());
    }
}

/// A disk that fails while there is no room for its image: what is written meanwhile is lost, and the file
/// system notices and reports the loss at the next fsync. Unmounted when this value is dropped.
#[derive(Debug)]
pub struct FailingDisk {
    // Dropped before the disk that its image lies on.
    mounted: Mounted,
    under: SmallDisk,
}

impl FailingDisk {
    /// Mounts a working disk that takes `mebibytes` MiB.
    ///
    /// # Errors
    /// The error of `mkfs.ext2` or `mount`.
    pub fn mount(mebibytes: u32) -> Result<Self, String> {
        let under = SmallDisk::mount(mebibytes)?;
        let image = under.path().join(IMAGE);
        // A sparse file: it may be larger than the disk that it lies on.
        let file = std::fs::File::create(&image).and_then(|file| file.set_len(u64::from(mebibytes) << 22));
        file.map_err(|e| format!("{}: {e}", image.display()))?;
        // Without a journal, the file system continues after an error.
        run(Command::new("mkfs.ext2").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        Ok(Self { mounted: Mounted::new(&image)?, under })
    }

    /// The path at which it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.0.path()
    }

    /// Makes every write fail from now on.
    pub fn fail(&self) {
        self.under.fill();
    }

    /// Makes it work again.
    pub fn mend(&self) {
        self.under.clear();
    }

    /// Mounts a copy of what a power cut now would leave: what has reached this disk, without what is still in
    /// memory. The copy has `mebibytes` MiB of room.
    ///
    /// # Errors
    /// The error of `cp`, `e2fsck` or `mount`.
    pub fn after_power_cut(&self, mebibytes: u32) -> Result<Self, String> {
        let under = SmallDisk::mount(mebibytes)?;
        let image = under.path().join(IMAGE);
        run(Command::new("cp").arg("--sparse=always").arg(self.under.path().join(IMAGE)).arg(&image))?;
        // As at a start after a power cut. Exit codes up to 2 mean that errors were repaired.
        let mended = Command::new("e2fsck").args(["-f", "-y"]).arg(&image).output();
        let code = mended.map_err(|e| format!("e2fsck: {e}"))?.status.code();
        if !matches!(code, Some(0..=2)) {
            return Err(format!("e2fsck ended with {code:?}"));
        }
        Ok(Self { mounted: Mounted::new(&image)?, under })
    }
}

const IMAGE: &str = "image";

/// The file system of an image.
#[derive(Debug)]
struct Mounted(Folder);

impl Mounted {
    fn new(image: &Path) -> Result<Self, String> {
        let folder = Folder::new();
        mount(&["-t", "ext2", "-o", "loop", &image.display().to_string()], folder.path())?;
        Ok(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.0.path());
    }
}

fn mount(arguments: &[&str], at: &Path) -> Result<(), String> {
    run(Command::new("mount").args(arguments).arg(at))?;
    guard::mounted(at);
    Ok(())
}

fn unmount(from: &Path) {
    let _ = Command::new("umount").arg("-l").arg(from).status();
}

fn run(command: &mut Command) -> Result<(), String> {
    let ended = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&ended.stderr).trim())),
    }
}
