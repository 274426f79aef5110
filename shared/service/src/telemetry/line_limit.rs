//! A limit on the log lines that anybody can cause.
//!
//! Only lines about requests that store nothing are limited: a request costs its sender less than its line
//! costs the log. Every message, report and attempt has its line.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tracing::Level;

/// The most lines of one status that are written in a [`WINDOW`]: enough to see what a client does, and
/// less than 10 kB a second for each status.
const LINES: u32 = 20;
/// The time after which the same number of lines is written again.
const WINDOW: Duration = Duration::from_secs(1);

/// Admits 20 lines a second for each HTTP status that they are about, and then logs, in one line, how many
/// it left out. For lines about requests that prove nothing. Clones share it.
#[derive(Debug, Clone)]
pub struct LineLimit(Arc<LineLimitState>);

#[derive(Debug)]
struct LineLimitState {
    /// What the lines are about.
    about: &'static str,
    level: Level,
    windows: Mutex<BTreeMap<Option<u16>, CountedWindow>>,
}

#[derive(Debug)]
struct CountedWindow {
    begun: Instant,
    written: u32,
    left_out: u64,
}

/// What happens to a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    LeftOut,
    /// It is left out, as the first one since the number of lines left out was last logged.
    FirstLeftOut,
}

impl LineLimit {
    /// A limit on lines about `about`, of `level`. The line that says how many were left out has the same
    /// level.
    pub fn new(about: &'static str, level: Level) -> Self {
        Self(Arc::new(LineLimitState { about, level, windows: Mutex::default() }))
    }

    /// Whether a line about a request that is answered with `status` is to be written now; `None` if it is
    /// about no request. Within a Tokio runtime, a task later logs how many lines were left out.
    pub fn admits(&self, status: impl Into<Option<u16>>) -> bool {
        let status = status.into();
        match self.judge(status, Instant::now()) {
            Verdict::Written => return true,
            Verdict::LeftOut => {}
            Verdict::FirstLeftOut => {
                let limit = self.clone();
                let later = async move {
                    tokio::time::sleep(WINDOW).await;
                    limit.tell(status);
                };
                let _ = Handle::try_current().map(|runtime| runtime.spawn(later));
            }
        }
        false
    }

    fn judge(&self, status: Option<u16>, now: Instant) -> Verdict {
        let mut windows = self.windows();
        let window = windows.entry(status).or_insert(CountedWindow { begun: now, written: 0, left_out: 0 });
        if now.saturating_duration_since(window.begun) >= WINDOW {
            (window.begun, window.written) = (now, 0);
        }
        if window.written < LINES {
            window.written += 1;
            return Verdict::Written;
        }
        window.left_out += 1;
        if window.left_out == 1 { Verdict::FirstLeftOut } else { Verdict::LeftOut }
    }

    /// Logs how many lines about `status` were left out since the last time.
    fn tell(&self, status: Option<u16>) {
        let left_out = self.windows().get_mut(&status).map(|window| std::mem::take(&mut window.left_out));
        let (about, left_out) = (self.0.about, left_out.unwrap_or_default());
        match self.0.level {
            Level::WARN => tracing::warn!(about, status, left_out, "similar log lines left out"),
            _ => tracing::info!(about, status, left_out, "similar log lines left out"),
        }
    }

    fn windows(&self) -> MutexGuard<'_, BTreeMap<Option<u16>, CountedWindow>> {
        self.0.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_lines_a_second_and_the_rest_is_counted() {
        let (limit, start) = (LineLimit::new("requests", Level::INFO), Instant::now());
        for second in 0..3 {
            let now = start + WINDOW * second;
            let written = (0..1_000).filter(|_| limit.judge(Some(404), now) == Verdict::Written).count();
            assert_eq!(written, LINES as usize);
            assert_eq!(limit.judge(Some(401), now), Verdict::Written, "another status");
        }
        assert_eq!(limit.windows()[&Some(404)].left_out, 3 * (1_000 - u64::from(LINES)));
        limit.tell(Some(404));
        assert_eq!(limit.windows()[&Some(404)].left_out, 0);
        let later = start + 9 * WINDOW;
        assert!((0..LINES).all(|_| limit.judge(Some(404), later) == Verdict::Written));
        assert_eq!(limit.judge(Some(404), later), Verdict::FirstLeftOut);
    }
}
