//! The one thread that writes, and what it is given to do.

use super::{
    erase,
    failure::{DEADLINE, closed},
    record::record,
};
use crate::message_log::{Keeping, LogError};
use postern_shared::event::Event;
use rusqlite::{Connection, InterruptHandle, TransactionBehavior};
use std::{
    sync::{Mutex, PoisonError},
    thread::{Builder, JoinHandle},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Jobs that wait while one is done.
const WAITING: usize = 64;
/// Events in one transaction: what waits is written together, with one fsync.
const TOGETHER: usize = 4096;

/// Something to be written, in one transaction.
#[derive(Debug)]
pub(super) enum Job {
    Record(Vec<Event>),
    /// One step of forgetting a person who is written as one of these.
    Forget(Vec<String>),
    /// One step of removing what was created before, in milliseconds since 1970.
    ExpireOlder(i64),
    ExpireOldest,
    /// Empties the write-ahead log, which holds pages as they were.
    EmptyWal,
}

type Answer = oneshot::Sender<Result<u64, LogError>>;

pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<(Job, Answer)>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    interrupt: InterruptHandle,
    changes: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn start(connection: Connection, keeping: Keeping) -> Result<Self, LogError> {
        let interrupt = connection.get_interrupt_handle();
        let (sender, jobs) = mpsc::channel(WAITING);
        let changes = watch::Sender::new(0);
        let work = Work { connection, keeping, changes: changes.clone() };
        let thread = Builder::new().name("message-log".to_owned()).spawn(move || work.run(jobs));
        let thread = thread.map_err(|e| LogError::Unavailable(format!("no thread: {e}")))?;
        Ok(Self { jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), interrupt, changes })
    }

    /// Has `job` done. After the deadline it is not known whether it was; it is ended if it is still at work.
    pub(super) async fn run(&self, job: Job) -> Result<u64, LogError> {
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

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Ends the thread after what was begun.
    pub(super) async fn close(&self) {
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
    fn run(mut self, mut jobs: mpsc::Receiver<(Job, Answer)>) {
        let mut next = None;
        while let Some((job, answer)) = next.take().or_else(|| jobs.blocking_recv()) {
            match job {
                Job::Record(events) => {
                    let (mut all, mut answers) = (events, vec![answer]);
                    while all.len() < TOGETHER {
                        match jobs.try_recv() {
                            Ok((Job::Record(events), answer)) => {
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
                    let written =
                        self.write(|connection, keeping| record(connection, keeping, &all).map(|()| 0));
                    for answer in answers {
                        let _ = answer.send(written.clone());
                    }
                }
                other => {
                    let _ = answer.send(self.other(&other));
                }
            }
        }
    }

    fn other(&mut self, job: &Job) -> Result<u64, LogError> {
        match job {
            Job::Record(_) => Ok(0),
            Job::Forget(forms) => self.write(|connection, _| erase::forget(connection, forms)),
            Job::ExpireOlder(before) => self.write(|connection, _| erase::expire_older(connection, *before)),
            Job::ExpireOldest => self.write(|connection, _| erase::expire_oldest(connection)),
            Job::EmptyWal => {
                let emptied = "PRAGMA wal_checkpoint(TRUNCATE)";
                let busy: i64 = self.connection.query_row(emptied, [], |row| row.get(0))?;
                match busy {
                    0 => Ok(0),
                    _ => Err(LogError::Unavailable(
                        "the rows are erased, but a program that reads the file keeps older pages in its \
                         write-ahead log: end it, and forget once more"
                            .to_owned(),
                    )),
                }
            }
        }
    }

    fn write(
        &mut self,
        doing: impl FnOnce(&Connection, &Keeping) -> rusqlite::Result<u64>,
    ) -> Result<u64, LogError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let rows = doing(&transaction, &self.keeping)?;
        transaction.commit()?;
        self.changes.send_modify(|changes| *changes += 1);
        Ok(rows)
    }
}
