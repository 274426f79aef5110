//! The drain: when to stop, until when, and what is still waited for.
//!
//! Each backend is a part of the [`Drain`] with its own cancellation, tasks and deadline, so one backend
//! can be drained while the others go on.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// One part of the dispatcher, such as a backend, with the messages that it works on. It can drain alone,
/// and drains together with the part above it. Clones are of the same part.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    begun: CancellationToken,
    /// How long the drain may take.
    patience: Duration,
    deadline: Arc<OnceLock<Instant>>,
    /// One task for each message in progress.
    work: TaskTracker,
    /// Cancelled to drop the messages in progress.
    abandoned: CancellationToken,
    /// The parts below this one, by name.
    parts: Arc<Mutex<BTreeMap<String, TaskTracker>>>,
    whole: Whole,
}

/// The drain of the whole dispatcher, to which all parts belong.
#[derive(Debug, Clone)]
struct Whole {
    begun: CancellationToken,
    /// Whether messages in progress were dropped at the deadline since it began.
    cut_off: Arc<AtomicBool>,
}

impl Drain {
    /// A drain that may take `patience` once it has begun.
    pub(crate) fn new(patience: Duration) -> Self {
        let begun = CancellationToken::new();
        Self::of(begun.clone(), patience, Whole { begun, cut_off: Arc::default() })
    }

    fn of(begun: CancellationToken, patience: Duration, whole: Whole) -> Self {
        let (work, abandoned) = (TaskTracker::new(), CancellationToken::new());
        Self { begun, patience, deadline: Arc::default(), work, abandoned, parts: Arc::default(), whole }
    }

    /// Adds a part called `name` below this one. It drains together with this part, or earlier by itself.
    pub(crate) fn part(&self, name: &str) -> Self {
        let part = Self::of(self.begun.child_token(), self.patience, self.whole.clone());
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(name.to_owned(), part.work.clone());
        part
    }

    /// Begins the drain of this part and of those below it.
    pub(crate) fn begin(&self) {
        self.deadline();
        self.begun.cancel();
    }

    /// Whether the drain of this part has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// A token that is cancelled when the drain begins.
    pub(crate) fn token(&self) -> CancellationToken {
        self.begun.child_token()
    }

    /// Resolves when the drain begins.
    pub(crate) async fn started(&self) {
        self.begun.cancelled().await;
        self.deadline();
    }

    /// The instant by which the part must have finished. The first call fixes it, normally as the drain
    /// begins.
    pub(crate) fn deadline(&self) -> Instant {
        *self.deadline.get_or_init(|| Instant::now() + self.patience)
    }

    /// Works on one message in a separate task.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.work.spawn(self.abandoned.clone().run_until_cancelled_owned(work));
    }

    /// Drops the messages in progress when the returned guard is dropped.
    pub(crate) fn abandons(&self) -> DropGuard {
        self.abandoned.clone().drop_guard()
    }

    /// Waits until no message is in progress, and drops those that still are at the deadline. Returns how many
    /// messages were dropped.
    pub(crate) async fn finished(&self) -> usize {
        self.work.close();
        if timeout_at(self.deadline(), self.work.wait()).await.is_ok() {
            return 0;
        }
        let unfinished = self.work.len();
        if self.whole.begun.is_cancelled() {
            self.whole.cut_off.store(true, Ordering::Relaxed);
        }
        self.abandoned.cancel();
        self.work.wait().await;
        unfinished
    }

    /// Whether no message of any part was dropped at the deadline since the drain of the whole dispatcher began.
    pub(crate) fn was_clean(&self) -> bool {
        !self.whole.cut_off.load(Ordering::Relaxed)
    }

    /// The parts below this one that still have messages in progress, each with their number.
    pub(crate) fn waiting(&self) -> Vec<(String, usize)> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = parts.iter().map(|(name, work)| (name.clone(), work.len()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::{sync::oneshot, time::timeout};

    const PATIENCE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_part_drains_alone_while_the_others_go_on() {
        let drain = Drain::new(Duration::from_secs(60));
        let (one, other) = (drain.part("one"), drain.part("other"));
        let (finish, finished) = oneshot::channel::<()>();
        one.spawn(async move { finished.await.unwrap() });
        other.spawn(pending());
        assert_eq!(drain.waiting(), [("one".to_owned(), 1), ("other".to_owned(), 1)]);
        one.begin();
        one.started().await;
        assert!(timeout(PATIENCE / 4, other.started()).await.is_err());
        finish.send(()).unwrap();
        assert_eq!(one.finished().await, 0);
        // Of a part that is replaced, the end of the process says nothing.
        let replaced = Drain { patience: PATIENCE, ..drain.part("replaced") };
        replaced.spawn(pending());
        replaced.begin();
        assert_eq!((replaced.finished().await, drain.was_clean()), (1, true));
        assert_eq!(drain.waiting(), [("other".to_owned(), 1)]);
        // Another part with the same name replaces it.
        let again = drain.part("one");
        again.spawn(pending());
        drain.begin();
        again.started().await;
        other.started().await;
        assert_eq!(drain.waiting(), [("one".to_owned(), 1), ("other".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn what_is_not_finished_at_the_deadline_is_dropped() {
        let drain = Drain::new(PATIENCE);
        let part = drain.part("one");
        let (held, dropped) = oneshot::channel::<()>();
        part.spawn(async move {
            let _held = held;
            pending().await
        });
        let begun = Instant::now();
        drain.begin();
        part.started().await;
        assert_eq!(part.finished().await, 1);
        assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
        assert!(dropped.await.is_err());
        assert!(!drain.was_clean());
        assert_eq!((drain.waiting(), part.finished().await), (vec![], 0));
    }
}
