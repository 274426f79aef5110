//! The buffer between code that logs and stderr: no code waits until somebody reads the log. If the buffer
//! is full, lines are dropped and counted.
//!
//! tracing-appender does the same with a channel of lines, whose memory depends on their length, and brings
//! four crates. This is a lock around a `Vec` of bytes, and one write takes all lines that wait.

use prometheus::{Error, IntCounter};
use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The most bytes that wait to be written. At full speed, Postern writes about 8 MB of lines a second, so a
/// reader may pause for a second.
const CAPACITY: usize = 8 << 20;
/// How many bytes of the buffer's memory are kept after a write.
const KEPT: usize = 256 << 10;
/// How long lines are collected before they are written: at full speed, many lines are written by one call,
/// and the thread is woken once for all of them and not for each line.
const COLLECT: Duration = Duration::from_millis(5);
/// How long the process waits at its end until the lines are written.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Takes log lines, which a thread of its own writes. A line that does not fit is dropped and counted.
/// Clones share it.
#[derive(Debug, Clone)]
pub struct LogBuffer(Arc<BufferState>);

#[derive(Debug)]
struct BufferState {
    capacity: usize,
    lines: Mutex<BufferedLines>,
    /// Notified when lines wait to be written.
    added: Condvar,
    /// Notified when the waiting lines were written.
    written: Condvar,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct BufferedLines {
    waiting: Vec<u8>,
    /// Whether the thread is writing lines that it has taken from `waiting`.
    writing: bool,
    /// Whether the thread waits to be woken.
    idle: bool,
}

/// Waits, when it is dropped, until the lines are written, but at most two seconds.
#[derive(Debug)]
pub struct LogGuard(LogBuffer);

impl LogBuffer {
    /// A buffer whose lines a new thread writes to `out`. `dropped` counts the lines that are dropped:
    /// `log_lines_dropped_total`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn new(out: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        Self::holding(CAPACITY, out, dropped)
    }

    fn holding(capacity: usize, out: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let (lines, added, written) = Default::default();
        let buffer = Self(Arc::new(BufferState { capacity, lines, added, written, dropped }));
        let written = buffer.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || written.write_to(out))?;
        Ok(buffer)
    }

    /// Waits until the lines are written, but at most two seconds.
    pub fn flush(&self) {
        let unwritten = |lines: &mut BufferedLines| lines.writing || !lines.waiting.is_empty();
        // Whether they were in time makes no difference: the process ends either way.
        let _ = self.0.written.wait_timeout_while(self.lines(), FLUSH_WITHIN, unwritten);
    }

    /// A guard that waits until the lines are written.
    pub(super) fn guard(&self) -> LogGuard {
        LogGuard(self.clone())
    }

    fn add(&self, line: &[u8]) {
        let mut lines = self.lines();
        if lines.waiting.len() + line.len() > self.0.capacity {
            return self.0.dropped.inc();
        }
        lines.waiting.extend_from_slice(line);
        // Waking a thread is a system call, even if the thread does not sleep.
        let wakes = mem::take(&mut lines.idle);
        drop(lines);
        if wakes {
            self.0.added.notify_one();
        }
    }

    /// Writes what is added, until the process ends.
    fn write_to(&self, mut out: impl Write) {
        let (mut chunk, mut told) = (Vec::new(), 0);
        loop {
            self.wait_for_lines();
            {
                let mut lines = self.lines();
                mem::swap(&mut lines.waiting, &mut chunk);
                lines.writing = true;
            }
            let written = out.write_all(&chunk);
            if written.is_err() {
                self.0.dropped.inc_by(chunk.iter().filter(|byte| **byte == b'\n').count() as u64);
            }
            chunk.clear();
            chunk.shrink_to(KEPT);
            let dropped = self.0.dropped.get();
            // If stderr is gone, there is nobody to tell.
            if dropped > told && written.is_ok() {
                tracing::warn!(lines = dropped - told, "log lines dropped: stderr was not read in time");
            }
            told = dropped;
            self.lines().writing = false;
            self.0.written.notify_all();
        }
    }

    /// Waits until there are lines, and then a moment for more.
    fn wait_for_lines(&self) {
        let nothing = |lines: &mut BufferedLines| {
            lines.idle = lines.waiting.is_empty();
            lines.idle
        };
        drop(self.0.added.wait_while(self.lines(), nothing));
        #[expect(clippy::disallowed_methods, reason = "a thread of its own, which has nothing else to do")]
        thread::sleep(COLLECT);
    }

    fn lines(&self) -> MutexGuard<'_, BufferedLines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each write is one line.
impl Write for LogBuffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogGuard {
    /// The buffer, for code that ends the process in another way.
    pub fn buffer(&self) -> &LogBuffer {
        &self.0
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// The counter of the lines that are dropped.
///
/// # Errors
/// Never in practice: the metric's name is invalid.
pub(super) fn dropped_counter() -> Result<IntCounter, Error> {
    IntCounter::new(
        "log_lines_dropped_total",
        "Log lines that were dropped because stderr was not read in time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, time::Instant};

    /// Writes only when it is allowed to, and reports what it wrote.
    struct Reader {
        lets: mpsc::Receiver<()>,
        tells: mpsc::SyncSender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.lets.recv().map_err(io::Error::other)?;
            self.tells.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn buffer(capacity: usize) -> (LogBuffer, mpsc::SyncSender<()>, mpsc::Receiver<Vec<u8>>) {
        let ((lets, is_let), (tells, told)) = (mpsc::sync_channel(100), mpsc::sync_channel(100));
        let reader = Reader { lets: is_let, tells };
        (LogBuffer::holding(capacity, reader, dropped_counter().unwrap()).unwrap(), lets, told)
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let (buffer, lets, told) = buffer(1_000);
        let begun = Instant::now();
        for number in 0..100_000 {
            buffer.add(format!("line {number:05}\n").as_bytes());
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // Each line has eleven bytes: the buffer holds 90 lines, and as many may be on their way.
        let dropped = buffer.0.dropped.get();
        assert!((100_000 - 180..=100_000 - 90).contains(&dropped), "{dropped}");
        for _ in 0..10 {
            lets.send(()).unwrap();
        }
        buffer.flush();
        buffer.add(b"later\n");
        buffer.flush();
        let written: Vec<u8> = told.try_iter().flatten().collect();
        let written = String::from_utf8(written).unwrap();
        assert!(written.starts_with("line 00000\nline 00001\n") && written.ends_with("later\n"), "{written}");
        assert_eq!(written.lines().count() as u64, 100_001 - dropped);
    }

    #[test]
    fn the_end_waits_for_the_last_line_and_not_for_ever() {
        let (buffer, lets, told) = buffer(1_000);
        buffer.add(b"the last\n");
        // Lines are collected before they are written, so that the guard still has to wait.
        lets.send(()).unwrap();
        drop(buffer.guard());
        assert_eq!(told.try_recv().unwrap(), b"the last\n");
        buffer.add(b"never read\n");
        let begun = Instant::now();
        drop(buffer.guard());
        assert!((FLUSH_WITHIN..FLUSH_WITHIN * 10).contains(&begun.elapsed()));
        // Until here, there was a reader that did not read.
        drop(lets);
    }
}
