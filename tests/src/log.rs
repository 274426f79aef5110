//! The output of a program, line by line.

use crate::wait::eventually;
use std::{
    io::{BufRead as _, BufReader, Read},
    sync::{Arc, Mutex, PoisonError},
};

/// The lines that a program has written so far.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    pub(crate) fn follow(&self, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                log.written().lines.push(String::from_utf8_lossy(&line).into_owned());
            }
            log.written().ended = true;
        });
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lines.
    pub fn lines(&self) -> Vec<String> {
        self.written().lines.clone()
    }

    /// The lines as one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// If the test has failed, prints the last `most` lines that `name` wrote.
    pub(crate) fn print_if_failing(&self, name: &str, most: usize) {
        if std::thread::panicking() {
            let lines = self.lines();
            let tail = &lines[lines.len().saturating_sub(most)..];
            eprintln!("--- {name} ({} lines)\n{}\n---", lines.len(), tail.join("\n"));
        }
    }

    /// Waits for a line that contains `needle`.
    pub async fn wait_for(&self, needle: &str) -> String {
        eventually(&format!("a log line with {needle:?}"), async || {
            let lines = self.lines();
            let found = lines.iter().find(|line| line.contains(needle));
            found.cloned().ok_or_else(|| lines.last().cloned().unwrap_or_default())
        })
        .await
    }

    /// Everything that the program wrote, once it has closed its end.
    pub(crate) async fn whole(&self) -> String {
        eventually("the end of a program's output", async || {
            if self.written().ended { Ok(()) } else { Err("still open") }
        })
        .await;
        self.text()
    }
}
