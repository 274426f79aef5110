//! The thread that writes the log's separate file.

use super::{
    failure::{DEADLINE, closed},
    job::{Jobs, WriteJob},
};
use crate::message_log::{Keeping, LogError};
use async_trait::async_trait;
use rusqlite::{Connection, InterruptHandle};
use std::{
    sync::{Mutex, PoisonError},
    thread::{Builder, JoinHandle},
};
use tokio::sync::{mpsc, oneshot, watch};

/// The most jobs that wait while another is done.
const WAITING: usize = 64;
/// The most events in one transaction: waiting events are written together, with one fsync.
const TOGETHER: usize = 4096;

type EventAnswer = oneshot::Sender<Result<u64, LogError>>;

pub(super) struct LogWriter {
    jobs: Mutex<Option<mpsc::Sender<(WriteJob, EventAnswer)>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    interrupt: InterruptHandle,
    changes: watch::Sender<u64>,
}

impl LogWriter {
    pub(super) fn start(connection: Connection, keeping: Keeping) -> Result<Self, LogError> {
        let interrupt = connection.get_interrupt_handle();
        let (sender, jobs) = mpsc::channel(WAITING);
        let changes = watch::Sender::new(0);
        let work = Work { connection, keeping, changes: changes.clone() };
        let thread = Builder::new().name("message-log".to_owned()).spawn(move || work.run(jobs));
        let thread = thread.map_err(|e| LogError::Unavailable(format!("no thread: {e}")))?;
        Ok(Self { jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), interrupt, changes })
    }
}

#[async_trait]
impl Jobs for LogWriter {
    /// Does `job`. At the deadline a job that is still running is interrupted.
    async fn run(&self, job: WriteJob) -> Result<u64, LogError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (answer, done) = oneshot::channel();
        let doing = async {
            jobs.send((job, answer)).await.map_err(|_| closed())?;
            done.await.unwrap_or_else(|_| Err(closed()))
        };
        tokio::time::timeout(DEADLINE, doing).await.unwrap_or_else(|_| {
            self.interrupt.interrupt();
            Err(LogError::TimedOut(DEADLINE))
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

struct Work {
    connection: Connection,
    keeping: Keeping,
    changes: watch::Sender<u64>,
}

impl Work {
    fn run(self, mut jobs: mpsc::Receiver<(WriteJob, EventAnswer)>) {
        let mut next = None;
        while let Some((job, answer)) = next.take().or_else(|| jobs.blocking_recv()) {
            let (mut job, mut answers) = (job, vec![answer]);
            if let WriteJob::Record(all) = &mut job {
                while all.len() < TOGETHER {
                    match jobs.try_recv() {
                        Ok((WriteJob::Record(events), answer)) => {
                            all.extend(events);
                            answers.push(answer);
                        }
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
            }
            let done = job.run(&self.connection, &self.keeping);
            if done.is_ok() && !matches!(job, WriteJob::EmptyWal) {
                self.changes.send_modify(|changes| *changes += 1);
            }
            for answer in answers {
                let _ = answer.send(done.clone());
            }
        }
    }
}
