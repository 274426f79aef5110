//! Whether fjall's manifests are what it wrote, before it reads them.
//!
//! A keyspace's folder holds `current` (the number of its version as u64, the XXH3 of that
//! version's file as u128, a zero; little endian) and `v<number>`, the list of its tables. fjall 3.1
//! writes the checksum and does not read it. A damaged list makes it panic in a way that aborts the
//! process, and a keyspace without `current` it takes for unfinished and deletes; ours are always
//! finished, see [`super::store`].

use std::{io, path::Path};
use xxhash_rust::xxh3::xxh3_128;

/// What is wrong with the manifests of the database in `path`, if anything.
pub(super) fn damage(path: &Path) -> Option<String> {
    let keyspaces = path.join("keyspaces");
    match check_all(&keyspaces) {
        Ok(problem) => problem,
        Err(error) => Some(format!("{}: {error}", keyspaces.display())),
    }
}

fn check_all(keyspaces: &Path) -> io::Result<Option<String>> {
    for entry in std::fs::read_dir(keyspaces)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let numbered = entry.file_name().to_str().is_some_and(|name| name.parse::<u64>().is_ok());
        let problem = if numbered { check(&entry.path()) } else { Some("does not belong there".to_owned()) };
        if let Some(problem) = problem {
            return Ok(Some(format!("{} {problem}", entry.path().display())));
        }
    }
    Ok(None)
}

fn check(keyspace: &Path) -> Option<String> {
    let current = match std::fs::read(keyspace.join("current")) {
        Ok(current) => current,
        Err(error) => return Some(format!("has an unreadable file \"current\" ({error})")),
    };
    let (Some(number), Some(sum), Some(&[0])) = (current.get(..8), current.get(8..24), current.get(24..))
    else {
        return Some("has a damaged file \"current\"".to_owned());
    };
    let (mut version, mut expected) = ([0; 8], [0; 16]);
    version.copy_from_slice(number);
    expected.copy_from_slice(sum);
    let name = format!("v{}", u64::from_le_bytes(version));
    match std::fs::read(keyspace.join(&name)) {
        Ok(bytes) if xxh3_128(&bytes) == u128::from_le_bytes(expected) => None,
        Ok(_) => Some(format!("has a damaged file \"{name}\"")),
        Err(error) => Some(format!("has an unreadable file \"{name}\" ({error})")),
    }
}
