//! What opening the store discards from its journals.
//!
//! On opening, fjall cuts a journal where it cannot read on. After a crash that is an unfinished
//! write, which nobody was told to be stored. After damage in the middle it may be more, and fjall
//! does not say so. A finished write ends in a mark; cut off with one, it was finished.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The end of each finished write in fjall's journals (its `MAGIC_BYTES`, format 3).
const MARK: &[u8] = b"FJL\x03";
const CHUNK: usize = 64 * 1024;

/// The journals of a store before it is opened.
#[derive(Debug)]
pub(super) struct Journals(Vec<(PathBuf, u64)>);

impl Journals {
    /// Looks at the journals of the store in `dir`: a few blocks at the end of each.
    pub(super) fn inspect(dir: &Path) -> io::Result<Self> {
        let mut journals = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jnl") {
                let end = end_of_writes(&mut File::open(&path)?)?;
                journals.push((path, end));
            }
        }
        Ok(Self(journals))
    }

    /// Whether there is none: a store that was once made always has one.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// After the store was opened: the bytes of finished writes that it cut off. A journal that is
    /// gone was no longer needed.
    pub(super) fn discarded(&self) -> u64 {
        let cut =
            |(path, end): &(PathBuf, u64)| path.metadata().map_or(0, |after| end.saturating_sub(after.len()));
        self.0.iter().map(cut).sum()
    }
}

/// Just behind the last mark in `file`; 0 where there is none.
fn end_of_writes(file: &mut File) -> io::Result<u64> {
    let zeros = vec![0; CHUNK];
    let mut buffer = vec![0; CHUNK + MARK.len() - 1];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let length = (end - start) as usize;
        file.seek(SeekFrom::Start(start))?;
        // A mark may lie across the border to the chunk read before.
        let mut read = 0;
        while read < buffer.len() {
            match file.read(&mut buffer[read..])? {
                0 => break,
                n => read += n,
            }
        }
        let seen = &buffer[..read];
        if seen[..length.min(read)] != zeros[..length.min(read)]
            && let Some(at) = seen.windows(MARK.len()).rposition(|bytes| bytes == MARK)
        {
            return Ok(start + (at + MARK.len()) as u64);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mark_is_found_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.jnl");
        for at in [0, 1, CHUNK - 5, CHUNK - 4, CHUNK - 3, CHUNK - 1, CHUNK, 2 * CHUNK - 2, 2 * CHUNK + 9] {
            for behind in [0, 1, 3, CHUNK - 2, CHUNK, 3 * CHUNK] {
                let mut bytes = vec![7; at];
                bytes.extend(MARK);
                bytes.extend(vec![0; behind]);
                std::fs::write(&path, bytes).unwrap();
                let end = end_of_writes(&mut File::open(&path).unwrap()).unwrap();
                assert_eq!(end, (at + MARK.len()) as u64, "{at} {behind}");
            }
        }
        std::fs::write(&path, vec![0; 3 * CHUNK]).unwrap();
        assert_eq!(end_of_writes(&mut File::open(&path).unwrap()).unwrap(), 0);
    }

    #[test]
    fn only_what_was_finished_counts_as_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.jnl");
        let mut bytes = b"..........".to_vec();
        bytes.extend(MARK);
        bytes.extend(b"unfinished");
        std::fs::write(&path, &bytes).unwrap();
        let journals = Journals::inspect(dir.path()).unwrap();
        std::fs::write(&path, &bytes[..14]).unwrap();
        assert_eq!(journals.discarded(), 0);
        std::fs::write(&path, &bytes[..5]).unwrap();
        assert_eq!(journals.discarded(), 9);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(journals.discarded(), 0);
    }
}
