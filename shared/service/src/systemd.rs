//! What systemd is told about a program that runs as a unit with `Type=notify`: when it is ready, its
//! state, that its loops are alive, and that it drains. Without `NOTIFY_SOCKET`, nothing is told.
//!
//! The state is checked twice a second, and [`Told::next`] decides what follows from it. A reload is not
//! told: it takes less time than the pause between two checks, and the program stays ready.

use crate::{admin::Readiness, heartbeat::Heartbeats};
use postern_shared::terminal;
use sd_notify::NotifyState;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// How often the state is checked.
const LOOK: Duration = Duration::from_millis(500);
/// How much longer the drain may take, from now on, each time that systemd is told so.
const EXTENSION: Duration = Duration::from_secs(10);
/// What a drain needs beyond `shutdown.deadline`: unfinished messages are requeued, files and connections
/// closed. A drain that takes longer hangs, and is ended by the unit's `TimeoutStopSec`.
const CLOSING: Duration = Duration::from_secs(15);
/// The longest text of the state, in characters: `systemctl status` shows it in one line.
const SHOWN: usize = 400;

/// The signs of life that loops must give: none without a watchdog (`WatchdogSec` of the unit).
pub(crate) fn heartbeats() -> Heartbeats {
    match watchdog() {
        Some(limit) => Heartbeats::every(limit / 8),
        None => Heartbeats::default(),
    }
}

/// Tells systemd about the program until it ends, if systemd wants to know. `deadline` is how long a drain
/// may take. Must be called within a Tokio runtime.
pub(crate) fn follow(readiness: Readiness, heartbeats: Heartbeats, deadline: Duration) {
    if !is_supervised() {
        return;
    }
    tokio::spawn(async move {
        let mut told = Told::new(watchdog(), deadline);
        let mut failed = false;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = readiness.shutdown.started(), if !told.is_stopping() => {}
            }
            let now = Instant::now();
            let seen = told.look(&readiness, &heartbeats, now);
            let news = told.next(&seen, now);
            if news.is_empty() {
                continue;
            }
            if let Err(error) = sd_notify::notify(&news)
                && !std::mem::replace(&mut failed, true)
            {
                tracing::warn!(%error, "systemd cannot be notified: check NOTIFY_SOCKET");
            }
        }
    });
}

/// Whether systemd, or another supervisor, wants to be told.
#[expect(clippy::disallowed_methods, reason = "systemd's own variable, not a key of the configuration")]
fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

/// How long systemd waits for a sign of life before it restarts the program. `None`: it waits for none.
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero() && is_supervised())
}

/// The state of the program at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ProgramState {
    ready: bool,
    draining: bool,
    /// The state in one line.
    state: String,
    /// The loops that give no sign of life.
    silent: Vec<String>,
}

/// What systemd was told last.
#[derive(Debug)]
struct Told {
    watchdog: Option<Duration>,
    /// How long a drain may take, everything included.
    drain: Duration,
    ready: bool,
    stopping_since: Option<Instant>,
    extended: Option<Instant>,
    state: String,
    alive: Option<Instant>,
    silent: Vec<String>,
}

impl Told {
    fn new(watchdog: Option<Duration>, deadline: Duration) -> Self {
        Self {
            watchdog,
            drain: deadline + CLOSING,
            ready: false,
            stopping_since: None,
            extended: None,
            state: String::new(),
            alive: None,
            silent: Vec::new(),
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping_since.is_some()
    }

    fn look(&self, readiness: &Readiness, heartbeats: &Heartbeats, now: Instant) -> ProgramState {
        let missing = readiness.missing();
        let silent = self.watchdog.and_then(|limit| now.checked_sub(limit / 2));
        ProgramState {
            ready: missing.is_empty(),
            draining: readiness.shutdown.is_draining(),
            state: state(missing, readiness),
            silent: silent.map(|since| heartbeats.silent(since)).unwrap_or_default(),
        }
    }

    /// What is new to systemd in `seen`.
    fn next<'s>(&mut self, seen: &'s ProgramState, now: Instant) -> Vec<NotifyState<'s>> {
        let mut news = Vec::new();
        if seen.ready && !self.ready {
            self.ready = true;
            news.push(NotifyState::Ready);
        }
        if seen.draining {
            let since = *self.stopping_since.get_or_insert_with(|| {
                news.push(NotifyState::Stopping);
                now
            });
            if now.duration_since(since) < self.drain && is_due(self.extended, EXTENSION / 4, now) {
                self.extended = Some(now);
                news.push(NotifyState::ExtendTimeoutUsec(EXTENSION.as_micros() as u32));
            }
        }
        if seen.state != self.state {
            self.state.clone_from(&seen.state);
            news.push(NotifyState::Status(&seen.state));
        }
        if let Some(limit) = self.watchdog {
            if seen.silent.is_empty() && is_due(self.alive, limit / 4, now) {
                self.alive = Some(now);
                news.push(NotifyState::Watchdog);
            }
            if seen.silent != self.silent {
                self.silent.clone_from(&seen.silent);
                self.log_silent();
            }
        }
        news
    }

    fn log_silent(&self) {
        if self.silent.is_empty() {
            tracing::info!("watchdog: all parts of the process respond again");
        } else {
            let silent = self.silent.join(", ");
            tracing::error!(
                silent,
                "watchdog: a part of the process does not respond; if this lasts, systemd restarts it \
                 (WatchdogSec)"
            );
        }
    }
}

/// Whether something that was last done at `last` must be done again after `pause`.
fn is_due(last: Option<Instant>, pause: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= pause)
}

/// The answer of `/readyz` in one line, without figures that change each second.
fn state(missing: Vec<String>, readiness: &Readiness) -> String {
    let mut lines = missing;
    if lines.is_empty() {
        lines.push("ready".to_owned());
        lines.extend(readiness.remarks());
    }
    lines.extend(readiness.not_sending(|health| health.cause()));
    let line: String = lines.join("; ").chars().take(SHOWN).collect();
    terminal::plain(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(30);

    fn seen(state: &str) -> ProgramState {
        ProgramState { ready: false, draining: false, state: state.to_owned(), silent: Vec::new() }
    }

    /// What is told about `seen`, `seconds` after the first check.
    fn told(told: &mut Told, seen: &ProgramState, first: Instant, seconds: u64) -> Vec<String> {
        let news = told.next(seen, first + Duration::from_secs(seconds));
        news.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn readiness_is_told_once_and_the_state_when_it_changes() {
        let (mut to, first) = (Told::new(None, Duration::from_secs(25)), Instant::now());
        let starting = seen("broker not connected");
        assert_eq!(told(&mut to, &starting, first, 0), ["STATUS=broker not connected"]);
        assert!(told(&mut to, &starting, first, 1).is_empty());
        let ready = ProgramState { ready: true, ..seen("ready") };
        assert_eq!(told(&mut to, &ready, first, 2), ["READY=1", "STATUS=ready"]);
        assert_eq!(told(&mut to, &starting, first, 3), ["STATUS=broker not connected"]);
        assert_eq!(told(&mut to, &ready, first, 4), ["STATUS=ready"]);
    }

    #[test]
    fn a_drain_is_given_time_until_it_hangs() {
        let (mut to, first) = (Told::new(None, Duration::from_secs(5)), Instant::now());
        let draining = ProgramState { draining: true, ..seen("draining") };
        let begins = ["STOPPING=1", "EXTEND_TIMEOUT_USEC=10000000", "STATUS=draining"];
        assert_eq!(told(&mut to, &draining, first, 0), begins);
        assert!(told(&mut to, &draining, first, 1).is_empty());
        for seconds in [3, 6, 9, 12, 15, 19] {
            assert_eq!(
                told(&mut to, &draining, first, seconds),
                ["EXTEND_TIMEOUT_USEC=10000000"],
                "{seconds}"
            );
        }
        for seconds in [20, 23, 60] {
            assert!(told(&mut to, &draining, first, seconds).is_empty(), "{seconds}");
        }
    }

    #[test]
    fn the_watchdog_hears_nothing_while_a_loop_is_silent() {
        let (mut to, first) = (Told::new(Some(WATCHDOG), Duration::from_secs(25)), Instant::now());
        let alive = seen("ready");
        assert_eq!(told(&mut to, &alive, first, 0), ["STATUS=ready", "WATCHDOG=1"]);
        assert!(told(&mut to, &alive, first, 7).is_empty());
        assert_eq!(told(&mut to, &alive, first, 8), ["WATCHDOG=1"]);
        let silent = ProgramState { silent: vec!["demo".to_owned()], ..seen("ready") };
        for seconds in [16, 24, 38] {
            assert!(told(&mut to, &silent, first, seconds).is_empty(), "{seconds}");
        }
        assert_eq!(told(&mut to, &alive, first, 39), ["WATCHDOG=1"]);
    }
}
