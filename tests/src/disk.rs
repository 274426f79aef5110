//! Disks that are soon full, or fail. Only root may mount them.

use crate::guard::{self, Folder};
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// A file system of its own, gone with this value.
#[derive(Debug)]
pub struct SmallDisk {
    folder: Folder,
}

impl SmallDisk {
    /// One of so many mebibytes.
    ///
    /// # Errors
    /// What `mount` says where it may not: without root, in most containers.
    pub fn mount(mebibytes: u32) -> Result<Self, String> {
        let folder = Folder::new();
        let options = format!("size={mebibytes}m,mode=700");
        mount(&["-t", "tmpfs", "-o", &options, "postern-test"], folder.path())?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it, to the last byte that a file can have.
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

/// A disk that fails while there is no room for its image: what is written meanwhile is lost, which the file
/// system learns and says at the next fsync. Gone with this value.
#[derive(Debug)]
pub struct FailingDisk {
    // Before the disk that its image lies on.
    mounted: Mounted,
    under: SmallDisk,
}

impl FailingDisk {
    /// One that works, and takes so many mebibytes.
    ///
    /// # Errors
    /// What `mkfs.ext2` or `mount` says.
    pub fn mount(mebibytes: u32) -> Result<Self, String> {
        let under = SmallDisk::mount(mebibytes)?;
        let image = under.path().join(IMAGE);
        // Its blocks take room when they are first written: it is larger than what there is room for.
        let file = std::fs::File::create(&image).and_then(|file| file.set_len(u64::from(mebibytes) << 22));
        file.map_err(|e| format!("{}: {e}", image.display()))?;
        // Without a journal it goes on after an error.
        run(Command::new("mkfs.ext2").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        Ok(Self { mounted: Mounted::new(&image)?, under })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.0.path()
    }

    /// Fails from now on.
    pub fn fail(&self) {
        self.under.fill();
    }

    /// Works again.
    pub fn mend(&self) {
        self.under.clear();
    }

    /// A disk that has so many mebibytes of room, with what is on this one by now, and not in memory: what a
    /// power cut would leave.
    ///
    /// # Errors
    /// What `cp`, `e2fsck` or `mount` says.
    pub fn after_power_cut(&self, mebibytes: u32) -> Result<Self, String> {
        let under = SmallDisk::mount(mebibytes)?;
        let image = under.path().join(IMAGE);
        run(Command::new("cp").arg("--sparse=always").arg(self.under.path().join(IMAGE)).arg(&image))?;
        // As a start after a power cut does. What it mended is no failure.
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
