//! The thread that owns the store: it takes the requests that have queued up, writes them as one batch, answers
//! them, and delivers messages.

mod consumers;
mod recovery;

use super::{
    commit::{Staged, WriteChanges},
    disk::Disk,
    log::Log,
    op::{Op, Waiting, WriteRequest},
    queue::{Leased, Queue},
    queues::StoredQueues,
    record::Position,
    recording::Recording,
    store::Store,
};
use crate::{
    message_log::{LogError, sqlite::WriteJob},
    sqlite::{Folder, StoreError},
};
use postern_broker::{BrokerError, BrokerStatus, Depth, QueueName, topology::QueueSpec};
use postern_shared::{backoff::Backoff, clock::now_ms};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};

/// The most requests, and bytes, that are taken before they are written.
const AT_ONCE: (usize, u64) = (4096, 8 * 1024 * 1024);
/// How often a full disk is checked again.
const RECHECK: Duration = Duration::from_millis(250);
/// The pauses before a retry after a failure.
fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(10))
}
/// How long closing waits for the consumers' last settlements.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The bytes of removed messages after which the file's free pages are checked.
const REMOVED: u64 = 8 * 1024 * 1024;
/// The free bytes that the file keeps for new messages.
const KEPT_FREE: u64 = 8 * 1024 * 1024;
/// How many pages are returned to the disk at a time, and the pause in between for other work.
const SHRINK: (u32, Duration) = (256, Duration::from_millis(20));

/// A consumer of a queue.
#[derive(Debug)]
struct QueueConsumer {
    queue: usize,
    prefetch: usize,
    leases: usize,
    stopping: bool,
    out: UnboundedSender<Vec<Leased>>,
}

/// The writer's state.
pub(super) struct Writer {
    folder: Folder,
    store: Option<Store>,
    queues: StoredQueues,
    consumers: HashMap<u64, QueueConsumer>,
    disk: Disk,
    store_error: Option<StoreError>,
    /// When a write is retried, or opening the store if it is not open.
    retry: Option<(Instant, Backoff)>,
    /// The requests for the next write.
    writes: Vec<WriteRequest>,
    /// The stream `postern.control`, whose records are delivered once they are stored.
    log: Log,
    /// `None`: there is no message log.
    recording: Option<Recording>,
    /// Jobs on the message log. They are done between writes.
    log_jobs: VecDeque<(WriteJob, oneshot::Sender<Result<u64, LogError>>)>,
    /// The queues that may have something to deliver.
    ready: BTreeSet<usize>,
    /// The bytes of messages that were removed since the file's free pages were checked.
    removed: u64,
    /// When the next free pages of the file are returned to the disk.
    shrink: Option<Instant>,
    closing: Option<(Instant, Vec<oneshot::Sender<()>>)>,
    status: watch::Sender<BrokerStatus>,
    inbox: mpsc::Receiver<Op>,
}

impl Writer {
    /// A writer for an open store whose queues were read.
    pub(super) fn new(
        folder: Folder,
        store: Store,
        queues: StoredQueues,
        min_free_disk: u64,
        status: watch::Sender<BrokerStatus>,
        inbox: mpsc::Receiver<Op>,
    ) -> Self {
        Self {
            disk: Disk::new(folder.path().to_owned(), min_free_disk),
            // The free pages that an earlier process left are checked, too.
            removed: REMOVED,
            folder,
            store: Some(store),
            queues,
            consumers: HashMap::new(),
            store_error: None,
            retry: None,
            writes: Vec::new(),
            log: Log::default(),
            recording: None,
            log_jobs: VecDeque::new(),
            ready: BTreeSet::new(),
            shrink: None,
            closing: None,
            status,
            inbox,
        }
    }

    /// The same writer, which also records what happens to messages by `recording`.
    pub(super) fn recording(self, recording: Option<Recording>) -> Self {
        Self { recording, ..self }
    }

    /// The same writer, which also delivers the records of the stream `postern.control` through `log`.
    pub(super) fn delivering(self, log: Log) -> Self {
        Self { log, ..self }
    }

    /// Runs until the broker is closed.
    pub(super) fn run(self) {
        let status = self.status.clone();
        if catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            let why = "the embedded store stopped working after an internal error (see the log output); restart the process";
            status.send_replace(BrokerStatus::Blocked(why.to_owned()));
        }
    }

    fn work(mut self) {
        loop {
            self.take_up();
            self.open_again();
            self.write();
            self.deliver();
            self.work_on_log();
            self.finish_consumers();
            self.tidy();
            self.tell_status();
            if self.is_closed() {
                break;
            }
        }
        if let Some(store) = self.store.take() {
            // Leases that are still open did not end with a crash.
            if let Err(error) = store.note_leases(self.queues.all.iter().flat_map(Queue::clean_leases)) {
                tracing::warn!(
                    %error,
                    "clean shutdown not recorded: each unacknowledged message may count as consumed once more \
                     (dispatcher.max_deliveries)"
                );
            }
        }
        let Self { folder, closing, status, inbox, .. } = self;
        drop(folder);
        status.send_replace(BrokerStatus::Closed);
        // From here on no request is read. Dropping the answers tells the latest callers.
        drop(inbox);
        for answer in closing.into_iter().flat_map(|(_, answers)| answers) {
            let _ = answer.send(());
        }
    }

    /// Waits for a request, and takes all that have queued up, as far as one write should hold them.
    fn take_up(&mut self) {
        let first = match self.patience() {
            Some(patience) => self.inbox.recv_timeout(patience).ok(),
            None => self.inbox.recv().ok(),
        };
        let Some(first) = first else { return };
        let (mut count, mut bytes) = (1, first.size());
        self.take(first);
        while count < AT_ONCE.0 && bytes < AT_ONCE.1 {
            let Ok(op) = self.inbox.try_recv() else { break };
            (count, bytes) = (count + 1, bytes + op.size());
            self.take(op);
        }
    }

    /// How long the writer may wait for a request before something else is due.
    fn patience(&self) -> Option<Duration> {
        let due = self.queues.delayed.next_due.filter(|_| self.store_error.is_none());
        let due = due.map(|due| Duration::from_millis(due.saturating_sub(now_ms())));
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let retry = self.retry.as_ref().map(|(at, _)| until(*at));
        let shrink = self.shrink.map(until);
        let recheck = self.disk.is_full().then_some(RECHECK);
        let closing = self.closing.as_ref().map(|(end, _)| until(*end));
        let log = (!self.log_jobs.is_empty()).then_some(Duration::ZERO);
        // Undecodable records that were found while messages were delivered.
        let dirty = self.store_error.is_none() && self.queues.all.iter().any(Queue::dirty);
        let dirty = dirty.then_some(Duration::ZERO);
        [due, retry, recheck, shrink, closing, log, dirty].into_iter().flatten().min()
    }

    fn take(&mut self, op: Op) {
        match op {
            Op::Write(request, _) if self.closing.is_some() => {
                drop(request.answer.send(Err(BrokerError::Closed)));
            }
            Op::Write(request, room) => {
                // Others may wait in its place.
                drop(room);
                self.writes.push(request);
            }
            Op::Consume(new) => self.add_consumer(new),
            Op::Settle(consumer, settlements) => self.settle(consumer, &settlements),
            Op::Stop(consumer) => self.stop(consumer),
            Op::Ended(consumer) => self.end(consumer),
            Op::Declare(specs, answer) => drop(answer.send(self.declare(specs))),
            Op::Depth(index, answer) => {
                let queue = &self.queues.all[index];
                let consumers = u32::try_from(queue.consumers.len()).unwrap_or(u32::MAX);
                let delayed = self.queues.delayed.counts.get(&queue.name).copied().unwrap_or_default();
                let _ = answer.send(Depth { ready: queue.ready(), consumers, delayed: Some(delayed) });
            }
            Op::Waiting(index, answer) => {
                let queue = &self.queues.all[index];
                let (Position { id, tail, .. }, out) = (queue.position, queue.out());
                let _ = answer.send(Waiting { id, tail, out, messages: queue.ready() });
            }
            Op::Log(job, answer) => self.log_jobs.push_back((job, answer)),
            Op::Close(answer) => self.close(answer),
        }
    }

    fn declare(&mut self, specs: Vec<QueueSpec>) -> Result<Vec<(QueueName, usize)>, StoreError> {
        let Some(store) = &self.store else {
            return Err(StoreError::Broken("cannot be written now (see the log output)".to_owned()));
        };
        if let Err(store_error) = self.queues.declare(store, &specs) {
            // Otherwise the store goes on, although the disk may lack a part of the write-ahead log.
            if !store_error.is_undone() {
                self.fail(store_error.clone(), []);
            }
            return Err(store_error);
        }
        Ok(self.queues.indexes(specs))
    }

    fn close(&mut self, answer: oneshot::Sender<()>) {
        let (_, answers) = self.closing.get_or_insert_with(|| (Instant::now() + LAST_WORDS, Vec::new()));
        answers.push(answer);
        for consumer in self.consumers.values_mut() {
            // The consumer's task ends when its sender is closed, after it has passed on the last messages.
            #[expect(clippy::disallowed_methods, reason = "nobody hears it")]
            let nobody = tokio::sync::mpsc::unbounded_channel().0;
            consumer.out = nobody;
            consumer.stopping = true;
        }
        self.queues.all.iter_mut().for_each(|queue| queue.consumers.clear());
    }

    fn is_closed(&self) -> bool {
        let Some((end, _)) = &self.closing else { return false };
        self.consumers.is_empty() || Instant::now() >= *end
    }

    /// Stages and writes the requests, and answers them.
    fn write(&mut self) {
        let writes = std::mem::take(&mut self.writes);
        let failing = self.store_error.is_some();
        if failing && !self.retry_is_due() {
            return self.refuse(writes.into_iter().map(|request| request.answer));
        }
        let Some(store) = &self.store else {
            return self.refuse(writes.into_iter().map(|request| request.answer));
        };
        let mut staged = Staged::new(&self.queues);
        staged.move_due(&mut self.queues, store, now_ms());
        let mut accepted = Vec::with_capacity(writes.len());
        let bytes: u64 = writes.iter().map(|request| request.write.size()).sum();
        let full = self.disk.problem(bytes).map(str::to_owned);
        for request in writes {
            let admitted = match &full {
                // If it were stored now and its caller publishes the messages again, they would be doubled.
                _ if request.is_given_up() => Err(BrokerError::TimedOut(request.patience)),
                // A write that only removes messages makes room.
                Some(why) if request.write.size() > 0 => Err(BrokerError::Blocked(why.clone())),
                _ => staged.admit(&mut self.queues, store, request.write),
            };
            match admitted {
                Ok(gone) => accepted.push((request.answer, gone)),
                Err(refused) => drop(request.answer.send(Err(refused))),
            }
        }
        staged.evict(&mut self.queues, store);
        staged.settle(&self.queues);
        let written = if !staged.is_empty() {
            staged.write(&mut self.queues, store, self.recording.as_ref())
        } else {
            self.queues.delayed.next_due = staged.next_due();
            // If there is nothing else to write, this shows whether writing works again.
            let touched = if failing { store.touch() } else { Ok(()) };
            touched.map(|()| WriteChanges::default())
        };
        match written {
            Ok(WriteChanges { grown, removed }) => {
                self.log.catch_up(store, &self.queues);
                self.recovered();
                self.ready.extend(grown);
                self.removed += removed;
                accepted.into_iter().for_each(|(answer, gone)| drop(answer.send(Ok(gone))));
            }
            Err(store_error) => self.fail(store_error, accepted.into_iter().map(|(answer, _)| answer)),
        }
    }

    /// Does one job on the message log. Publishes come between two jobs.
    fn work_on_log(&mut self) {
        let Some((job, answer)) = self.log_jobs.pop_front() else { return };
        // Otherwise dropping the answer says that nothing works on the message log now.
        if let (Some(store), Some(recording)) = (&self.store, &self.recording)
            && let Err(store_error) = store.run(recording, &job, answer)
        {
            self.fail(store_error, []);
        }
    }

    /// Keeps the store's files small, a little at a time.
    fn tidy(&mut self) {
        let Some(store) = self.store.as_mut().filter(|_| self.store_error.is_none()) else { return };
        if let Err(store_error) = store.checkpoint() {
            return self.fail(store_error, []);
        }
        if self.closing.is_some()
            || self.removed < REMOVED && self.shrink.is_none_or(|at| Instant::now() < at)
        {
            return;
        }
        if std::mem::take(&mut self.removed) < REMOVED
            && let Err(store_error) = store.shrink(SHRINK.0)
        {
            return self.fail(store_error, []);
        }
        let live = self.queues.all.iter().map(|queue| queue.position.bytes).fold(KEPT_FREE, u64::max);
        self.shrink = (store.free_bytes() > live).then(|| Instant::now() + SHRINK.1);
    }

    fn tell_status(&self) {
        let status = match (&self.store_error, self.disk.is_full()) {
            (Some(_), _) => BrokerStatus::Blocked(self.error().to_string()),
            (None, true) => BrokerStatus::Blocked(self.disk.why().to_owned()),
            (None, false) => BrokerStatus::Ready,
        };
        self.status.send_if_modified(|now| {
            let changed = *now != status;
            if changed {
                *now = status;
            }
            changed
        });
    }
}
