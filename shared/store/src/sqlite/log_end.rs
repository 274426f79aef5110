//! Detects whether SQLite ignored the end of the write-ahead log when it opened the file.
//!
//! After a crash SQLite reads the log up to the first incomplete frame, silently. Usually that frame belongs to
//! a transaction that was not confirmed to anybody. But if the log was damaged in the middle, finished
//! transactions follow. The layout is the documented one (sqlite.org/fileformat2.html, 4.1): a header of 32
//! bytes, then frames, each with a header of 24 bytes and a page. Both headers have two numbers, the salt,
//! which change whenever the log is restarted; a frame's header has a number other than 0 if the frame ends a
//! transaction.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// How many finished transactions come after the first `taken` frames of the log at `path`, with pages of `page`
/// bytes. Must be called before anything is written to the log.
pub(super) fn transactions_left_out(path: &Path, taken: u64, page: u64) -> io::Result<usize> {
    let log = match File::open(path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let frames = log.metadata()?.len().saturating_sub(HEADER) / (FRAME_HEADER + page);
    if frames <= taken {
        return Ok(0);
    }
    let salt_at = |offset: u64| {
        let mut salt = [0; 8];
        log.read_exact_at(&mut salt, offset).map(|()| u64::from_be_bytes(salt))
    };
    let frame = |number: u64| HEADER + number * (FRAME_HEADER + page);
    let header = salt_at(16)?;
    let first = salt_at(frame(0) + 8)?;
    // The header may be damaged, unless the log was just restarted: then its salt is one higher.
    let begun_anew = (first >> 32) as u32 == ((header >> 32) as u32).wrapping_sub(1);
    let salt = if taken == 0 && !begun_anew { first } else { header };
    let mut left_out = 0;
    for number in taken..frames {
        let mut ends = [0; 4];
        log.read_exact_at(&mut ends, frame(number) + 4)?;
        if salt_at(frame(number) + 8)? == salt && ends != [0; 4] {
            left_out += 1;
        }
    }
    Ok(left_out)
}
