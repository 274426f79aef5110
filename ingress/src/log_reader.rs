//! Reading the message log for the clients of `/v1`, and waiting for new messages in it.

use postern_config::Config;
use postern_service::{
    message_log::{LogError, LoggedMessage, MessageLog, MessageQuery, Page},
    shutdown::{Shutdown, Trigger},
    telemetry::LineLimit,
};
use postern_shared::message::MessageId;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::Level;

/// The most requests that may wait at a time, or half of the port's connections if that is fewer.
const MOST_WAITING: usize = 100;
/// The shortest time between two reads for one request that waits.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a request waits for this process to write something before it reads what other processes wrote.
const UNNOTICED: Duration = Duration::from_secs(1);

/// The reason why the log was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotRead {
    /// The message log is off.
    Off,
    /// The message log cannot be read now. A log line says why.
    Unavailable,
    /// No more requests may wait.
    TooManyWait,
}

/// Reads the message log.
#[derive(Debug)]
pub(crate) struct LogReader {
    log: Option<Arc<dyn MessageLog>>,
    /// A permit for each request that may wait.
    waiting: Semaphore,
    /// Makes requests stop waiting.
    trigger: Trigger,
    /// Tells waiting requests when to stop.
    drain: Shutdown,
    /// Limits the log lines about requests that the log did not answer.
    lines: LineLimit,
}

impl LogReader {
    /// A reader of `log`. `None`: the log is off.
    pub(crate) fn new(config: &Config, log: Option<Arc<dyn MessageLog>>) -> Self {
        let connections = match config.api.listen {
            Some(_) => config.api.max_connections,
            None => config.ingress.max_connections,
        };
        let most = connections.map_or(MOST_WAITING, |most| MOST_WAITING.min(most / 2)).max(1);
        let lines = LineLimit::new("requests that the message log did not answer", Level::WARN);
        let (trigger, drain) = Shutdown::new();
        Self { log, waiting: Semaphore::new(most), trigger, drain, lines }
    }

    /// Answers every waiting request now. From now on, no request waits.
    pub(crate) fn stop_waiting(&self) {
        self.trigger.drain();
    }

    /// The message `id` with its events.
    ///
    /// # Errors
    /// [`NotRead`]
    pub(crate) async fn message(&self, id: MessageId) -> Result<Option<LoggedMessage>, NotRead> {
        self.log()?.message(id).await.map_err(|error| self.failed(&error))
    }

    /// The messages that match `query`.
    ///
    /// # Errors
    /// [`NotRead`]
    pub(crate) async fn messages(&self, query: &MessageQuery) -> Result<Page, NotRead> {
        self.log()?.messages(query).await.map_err(|error| self.failed(&error))
    }

    /// The messages that match `query`, as soon as there are any; at the latest after `most`, when the client
    /// is gone (`gone` resolves) or when the drain begins.
    ///
    /// # Errors
    /// [`NotRead`]
    pub(crate) async fn wait(
        &self,
        mut query: MessageQuery,
        most: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<Page, NotRead> {
        let end = Instant::now() + most;
        let mut gone = pin!(gone);
        let mut changes = self.log()?.changes();
        let mut permit = None;
        loop {
            // Anything that is written from here on counts as a change.
            changes.mark_unchanged();
            let page = self.messages(&query).await?;
            if !page.messages.is_empty() || self.drain.is_draining() || Instant::now() >= end {
                return Ok(page);
            }
            if permit.is_none() {
                permit = Some(self.waiting.try_acquire().map_err(|_| NotRead::TooManyWait)?);
            }
            // Messages that did not match are not read again.
            query.cursor = page.next.or(query.cursor);
            tokio::select! {
                () = changed(&mut changes) => {}
                () = sleep_until(end) => {}
                () = self.drain.started() => {}
                () = &mut gone => return Ok(page),
            }
        }
    }

    fn log(&self) -> Result<&dyn MessageLog, NotRead> {
        self.log.as_deref().ok_or(NotRead::Off)
    }

    fn failed(&self, error: &LogError) -> NotRead {
        if self.lines.admits(None) {
            tracing::warn!(%error, "the message log cannot be read; answered with 503");
        }
        NotRead::Unavailable
    }
}

/// Resolves when something may have been written.
async fn changed(changes: &mut watch::Receiver<u64>) {
    sleep(PAUSE).await;
    // Without a writer in this process, nothing signals a change.
    if let Ok(Err(_)) = timeout(UNNOTICED, changes.changed()).await {
        sleep(UNNOTICED).await;
    }
}
