//! When a process must drain, and how long it waits for its parts.

use crate::telemetry::LogBuffer;
use std::{future::Future, io::IsTerminal, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// Tells every part of a process when to drain. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

/// Starts the drain that its [`Shutdown`]s report. Dropping it starts the drain, too.
#[derive(Debug)]
pub struct Trigger(CancellationToken);

impl Trigger {
    /// Starts the drain now.
    pub fn drain(&self) {
        self.0.cancel();
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Shutdown {
    /// A shutdown that only its trigger starts.
    pub fn new() -> (Trigger, Self) {
        let token = CancellationToken::new();
        (Trigger(token.clone()), Self(token))
    }

    /// A shutdown that SIGTERM or SIGINT starts. A second signal ends the process at once, with status 1,
    /// when the lines in `log` are written. SIGHUP notifies `hang_up`; if it means that the terminal of
    /// this process was closed, it acts like SIGTERM.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn on_signals(log: LogBuffer, hang_up: Arc<Notify>) -> std::io::Result<Self> {
        let (trigger, shutdown) = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hung_up = signal(SignalKind::hangup())?;
        let had_terminal = std::io::stderr().is_terminal();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                    // After it was closed, stderr no longer counts as a terminal.
                    _ = hung_up.recv() => match had_terminal && !std::io::stderr().is_terminal() {
                        true => "SIGHUP",
                        false => {
                            hang_up.notify_one();
                            continue;
                        }
                    },
                };
                if !trigger.0.is_cancelled() {
                    tracing::info!(signal = name, "draining; a second signal ends the program at once");
                    trigger.drain();
                } else {
                    tracing::warn!(signal = name, "ending at once");
                    log.flush();
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "a second signal means that the operator does not want to wait"
                    )]
                    std::process::exit(1);
                }
            }
        });
        Ok(shutdown)
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when the drain begins; at once if it has.
    pub async fn started(&self) {
        self.0.cancelled().await;
    }
}

/// Waits for `part`, for at most `deadline`; returns whether it has ended. If not, logs `what` was waited for.
pub async fn within(deadline: Duration, what: &str, part: impl Future<Output = ()>) -> bool {
    let finished = tokio::time::timeout(deadline, part).await.is_ok();
    if !finished {
        tracing::warn!(
            waited_for = what,
            ?deadline,
            "not finished before the drain deadline (shutdown.deadline)"
        );
    }
    finished
}
