//! Checks whether the folders that a configuration names can be written, without creating them.

use postern_config::{Config, LogPlace, MessageLogConfig, Problem};
use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// What is wrong with the folders of a configuration.
#[derive(Debug, Default)]
pub struct FolderProblems {
    /// Problems of folders without which the program does not start.
    pub unusable: Vec<Problem>,
    /// Problems of folders that the program can do without.
    pub done_without: Vec<Problem>,
}

/// Checks the folder of the embedded broker, or with RabbitMQ, of the spool, and the folder of the message log.
pub fn check(config: &Config) -> FolderProblems {
    let mut found = FolderProblems::default();
    if let Some(dir) = config.broker.url.expose().strip_prefix("embedded:") {
        let why = unwritable(Path::new(dir));
        found.unusable.extend(why.map(|why| config.problem("broker.url", why)));
    } else if let Some(dir) = config.ingress.spool.dir() {
        let problem = unwritable(Path::new(dir)).map(|why| config.problem("ingress.spool", why));
        if config.ingress.spool.is_chosen() {
            found.unusable.extend(problem);
        } else {
            found.done_without.extend(problem);
        }
    }
    if let Some(MessageLogConfig { place: LogPlace::Sqlite(dir), .. }) = config.message_log() {
        let key = if config.log.url.is_some() { "log.url" } else { "log.messages" };
        let problem = unwritable(Path::new(&dir)).map(|why| config.problem(key, why));
        found.unusable.extend(problem);
    }
    found
}

/// Why nothing can be stored in the folder `dir`, which is created if it does not exist; `None` if it can.
fn unwritable(dir: &Path) -> Option<String> {
    // The nearest folder that exists: the others are created in it.
    let mut existing = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_path_buf() };
    loop {
        match fs::metadata(&existing) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => {
                return Some(format!(
                    "{} is not a folder: nothing can be stored in {}",
                    existing.display(),
                    dir.display()
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                existing = match existing.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
                    _ => PathBuf::from("."),
                };
            }
            Err(error) => return Some(cannot(dir, &existing, &error)),
        }
    }
    if let Err(error) = write_to(&existing) {
        return Some(cannot(dir, &existing, &error));
    }
    // A process that ran as another user may have left a file that belongs to that user.
    let file = existing.join(postern_store::FILE);
    if existing != dir || !file.exists() {
        return None;
    }
    let written = File::options().write(true).open(&file);
    written.err().map(|error| cannot(dir, &file, &error))
}

fn cannot(dir: &Path, existing: &Path, error: &io::Error) -> String {
    let (dir, existing) = (dir.display(), existing.display());
    format!(
        "the folder {dir} cannot be written ({existing}: {error}): make it writable for the user that \
         Postern runs as, or set another folder"
    )
}

/// Creates a file in `folder` and removes it; without a name if the file system can do that.
fn write_to(folder: &Path) -> io::Result<()> {
    match open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
            let path = folder.join(format!(".postern-check-{}", std::process::id()));
            File::create_new(&path)?;
            fs::remove_file(path)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_looked_at_and_not_made() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("file");
        fs::write(&file, "").unwrap();
        for right in ["", "data", "a/b/c"] {
            assert_eq!(unwritable(&here.path().join(right)), None, "{right}");
        }
        for wrong in ["file", "file/data"] {
            let why = unwritable(&here.path().join(wrong)).unwrap();
            assert!(why.contains("file") && why.contains(wrong), "{why}");
        }
        // Nobody, not even root, can make a folder there.
        assert!(unwritable(Path::new("/proc/postern-data")).is_some_and(|why| why.contains("/proc")));
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1);
    }
}
