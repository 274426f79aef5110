//! Carries out operators' commands.

use super::Control;
use crate::{configured::Configured, current::Current, scan::Scans};
use jiff::Timestamp;
use postern_broker::{Address, Broker, BrokerError, Depth, Envelope, QueueName};
use postern_shared::{
    clock,
    control::{CONTROL_V1, ControlCommand, ControlRecord, Pause},
    message::{BackendName, Priority},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long this process may take to read its own command from the stream.
const HEARD: Duration = Duration::from_secs(5);
/// How long dispatchers may take to stop consuming a queue, and how often that is checked.
const LET_GO: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long a message that was counted may take to arrive. After that, a dispatcher has it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The two queues of each backend.
pub(super) const LANES: [Priority; 2] = [Priority::Normal, Priority::Bulk];

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command names a backend that is not configured.
    #[error("no backend {name} is configured; configured: {configured}")]
    UnknownBackend {
        /// The name in the command.
        name: String,
        /// The names of the configured backends.
        configured: String,
    },
    /// There is no queue of that name.
    #[error("there is no queue {name}; `postern queue list` shows the queues")]
    UnknownQueue {
        /// The name in the command.
        name: String,
    },
    /// The command contradicts itself, or names something that it cannot apply to.
    #[error("{0}")]
    Invalid(String),
    /// The broker keeps no control stream.
    #[error("this broker does not keep postern.control, so nothing can be paused or cancelled: {0}")]
    NoStream(String),
    /// The control stream was not read, so nobody knows what was paused or cancelled.
    #[error("nothing was moved: {0}")]
    Unread(String),
    /// The broker's error.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// The body of a command that needs nothing else: to pause or resume a backend, to purge a queue, to reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlainCommand {
    /// Whether to report only what would be done.
    pub dry_run: bool,
    /// The operator's name, for the log, in addition to the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A backend after it was paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The backend.
    pub backend: BackendName,
    /// Whether it is paused now.
    pub paused: bool,
    /// Whether the command changed that. `false` if the backend was in this state before.
    #[serde(default)]
    pub changed: bool,
    /// The time since which it is paused. `None` if it is not paused.
    #[serde(default, serialize_with = "clock::serialize_option")]
    pub since: Option<Timestamp>,
    /// The operator who paused it. `None` if it is not paused.
    #[serde(default)]
    pub by: Option<String>,
    /// Messages that wait in its queues.
    pub queued: u64,
    /// Dispatchers that still consume its queues.
    pub consumers: u32,
    /// Whether this was a dry run, which changes nothing: the other fields say what would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// Carries out operators' commands, one at a time.
#[derive(Debug)]
pub struct Operator {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) scans: Scans,
    pub(super) control: Control,
    pub(super) configured: Current<Configured>,
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Operator {
    /// Publishes commands to the control stream of `broker`, which `control` follows. They are about the
    /// backends that are `configured`.
    pub fn new(broker: Arc<dyn Broker>, control: Control, configured: Current<Configured>) -> Self {
        let scans = Scans::new(broker.clone());
        Self { broker, scans, control, configured, turn: tokio::sync::Mutex::default() }
    }

    /// Pauses `backend`, for all processes, until it is resumed. Requests in flight finish.
    ///
    /// # Errors
    /// [`CommandError`]
    pub async fn pause(
        &self,
        backend: &str,
        command: &PlainCommand,
        by: &str,
    ) -> Result<Paused, CommandError> {
        if command.dry_run {
            return self.would_pause(backend).await;
        }
        let _turn = self.turn.lock().await;
        let backend = self.configured(backend)?;
        let changed = !self.control.state().pauses().contains_key(&backend);
        let since = self.command(ControlCommand::Pause { backend: backend.clone() }, by).await?;
        let heard = timeout(HEARD, self.control.pause_changes(&backend, None)).await.ok().flatten();
        // It is stored, also if this process has not heard of it yet.
        let pause = Some(heard.unwrap_or_else(|| Pause { since, by: by.to_owned() }));
        // Dispatchers must have requeued what they held before the answer.
        let end = Instant::now() + LET_GO;
        loop {
            let (queued, consumers) = self.waiting(&backend).await?;
            if consumers == 0 || Instant::now() >= end {
                return Ok(Paused { changed, ..paused(backend, pause, (queued, consumers)) });
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// Says what [`Self::pause`] would do.
    async fn would_pause(&self, backend: &str) -> Result<Paused, CommandError> {
        let backend = self.configured(backend)?;
        let pause = self.control.state().pauses().get(&backend).cloned();
        let (changed, waiting) = (pause.is_none(), self.waiting(&backend).await?);
        Ok(Paused { paused: true, changed, dry_run: true, ..paused(backend, pause, waiting) })
    }

    /// Resumes `backend`, for all processes. A pause outlives its backend's configuration, so a backend
    /// that is no longer configured can be resumed, too.
    ///
    /// # Errors
    /// [`CommandError`]
    pub async fn resume(
        &self,
        backend: &str,
        command: &PlainCommand,
        by: &str,
    ) -> Result<Paused, CommandError> {
        if command.dry_run {
            return self.would_resume(backend).await;
        }
        let _turn = self.turn.lock().await;
        let state = self.control.state();
        let backend = self.configured_or_paused(backend)?;
        self.command(ControlCommand::Resume { backend: backend.clone() }, by).await?;
        let before = state.pauses().get(&backend);
        if let Some(pause) = before {
            let _ = timeout(HEARD, self.control.pause_changes(&backend, Some(pause))).await;
        }
        let waiting = self.waiting(&backend).await?;
        // Of a stream that was not read, nobody knows whether it held a pause.
        let changed = before.is_some() || !self.control.is_known();
        Ok(Paused { changed, ..paused(backend, None, waiting) })
    }

    /// Says what [`Self::resume`] would do.
    async fn would_resume(&self, backend: &str) -> Result<Paused, CommandError> {
        let backend = self.configured_or_paused(backend)?;
        let changed = self.control.state().pauses().contains_key(&backend);
        let waiting = self.waiting(&backend).await?;
        Ok(Paused { changed, dry_run: true, ..paused(backend, None, waiting) })
    }

    /// The backend called `name`, if it is configured or paused.
    ///
    /// # Errors
    /// No backend of this name is configured or paused.
    fn configured_or_paused(&self, name: &str) -> Result<BackendName, CommandError> {
        let state = self.control.state();
        let paused = || state.pauses().keys().find(|paused| paused.as_str() == name).cloned();
        self.configured(name).or_else(|unknown| paused().ok_or(unknown))
    }

    /// The backend called `name`, if it is configured.
    ///
    /// # Errors
    /// No backend of this name is configured.
    pub(super) fn configured(&self, name: &str) -> Result<BackendName, CommandError> {
        let configured = self.configured.get();
        let found = configured.backends().iter().find(|backend| backend.as_str() == name);
        found.cloned().ok_or_else(|| CommandError::UnknownBackend {
            name: name.chars().take(63).collect(),
            configured: configured.backends().iter().map(BackendName::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// Waits until what operators have paused and cancelled is known.
    ///
    /// # Errors
    /// [`CommandError::Unread`]
    pub(super) async fn until_known(&self) -> Result<(), CommandError> {
        let _ = timeout(HEARD, self.control.until_read()).await;
        if self.control.is_known() {
            return Ok(());
        }
        let unread = || "postern.control has not been read yet; try again later".to_owned();
        Err(CommandError::Unread(self.control.remark().unwrap_or_else(unread)))
    }

    /// Publishes `command` to the control stream. Once this returns `Ok`, it is stored, and every process
    /// learns of it. Returns the time of its record.
    pub(super) async fn command(&self, command: ControlCommand, by: &str) -> Result<Timestamp, CommandError> {
        let log = QueueName::control();
        match self.broker.depth(&log).await {
            Ok(_) => {}
            // A message to a queue that does not exist would be stored as unrouted.
            Err(BrokerError::Refused(why)) => return Err(CommandError::NoStream(why)),
            Err(error) => return Err(error.into()),
        }
        let record = ControlRecord::now(command, by);
        let at = record.at;
        let envelope = Envelope {
            kind: Some(CONTROL_V1.to_owned()),
            content_type: Some("application/json".to_owned()),
            body: record.to_json().into(),
            ..Envelope::default()
        };
        self.broker.publish(vec![(Address::Queue(log), envelope)]).await?;
        Ok(at)
    }

    /// How many messages in these `lanes` of `backend` wait for a retry. `None` if it is not known.
    pub(super) async fn retrying(&self, backend: &BackendName, lanes: &[Priority]) -> Option<u64> {
        let mut depths = Vec::new();
        for lane in lanes {
            depths.push(self.broker.depth(&QueueName::outbound(backend, *lane)).await.ok()?);
        }
        self.configured.get().retries.of(&*self.broker, &depths, lanes.len() == LANES.len()).await
    }

    /// How many messages wait in the two queues of `backend`, and the larger of the two numbers of
    /// consumers. Queues that do not exist count as empty: the backend was removed.
    async fn waiting(&self, backend: &BackendName) -> Result<(u64, u32), BrokerError> {
        let depth = async |lane| match self.broker.depth(&QueueName::outbound(backend, lane)).await {
            Err(BrokerError::Refused(_)) => Ok(Depth::default()),
            depth => depth,
        };
        let (normal, bulk) = (depth(Priority::Normal).await?, depth(Priority::Bulk).await?);
        Ok((normal.ready + bulk.ready, normal.consumers.max(bulk.consumers)))
    }
}

fn paused(backend: BackendName, pause: Option<Pause>, (queued, consumers): (u64, u32)) -> Paused {
    let (since, by) = pause.map(|pause| (pause.since, pause.by)).unzip();
    Paused { backend, paused: since.is_some(), changed: false, since, by, queued, consumers, dry_run: false }
}
