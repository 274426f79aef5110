//! The message log in the broker's own file, for its readers. It leaves all writing to the broker's writer.

use super::{
    op::{Op, Ops},
    recording::Recording,
};
use crate::{
    message_log::{
        LogError, MessageLog,
        sqlite::{DEADLINE, Jobs, SqliteLog, WriteJob},
    },
    sqlite::FILE,
};
use async_trait::async_trait;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{oneshot, watch};

/// The message log in the store of the folder `dir`, which the writer behind `ops` writes to.
pub(super) fn recorded_log(recording: &Recording, dir: &Path, ops: &Ops) -> Arc<dyn MessageLog> {
    let (changes, closed) = (recording.changes().clone(), AtomicBool::new(false));
    let writer = BrokerJobs { ops: ops.clone(), changes, closed };
    Arc::new(SqliteLog::written_by(Box::new(writer), dir.join(FILE), recording.keeping.clone()))
}

/// Passes the message log's jobs to the broker's writer.
struct BrokerJobs {
    ops: Ops,
    changes: watch::Sender<u64>,
    closed: AtomicBool,
}

#[async_trait]
impl Jobs for BrokerJobs {
    async fn run(&self, job: WriteJob) -> Result<u64, LogError> {
        let closed = || LogError::Unavailable("the embedded store is closed".to_owned());
        if self.closed.load(Ordering::Relaxed) {
            return Err(closed());
        }
        let (answer, done) = oneshot::channel();
        self.ops.send(Op::Log(job, answer)).map_err(|_| closed())?;
        match tokio::time::timeout(DEADLINE, done).await {
            Ok(done) => done.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(LogError::TimedOut(DEADLINE)),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes no further jobs. The broker's writer itself ends with the broker.
    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}
