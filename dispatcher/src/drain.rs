//! When to stop, by when to have stopped, and what is still waited for.

use postern_service::shutdown::Shutdown;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// One part of the dispatcher as seen by the drain. Clones are of the same part.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    shared: Arc<Shared>,
    in_work: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Shared {
    shutdown: Shutdown,
    patience: Duration,
    deadline: OnceLock<Instant>,
    parts: Mutex<BTreeMap<String, Arc<AtomicUsize>>>,
}

impl Drain {
    /// The drain that `shutdown` starts, which may take `patience`.
    pub(crate) fn new(shutdown: Shutdown, patience: Duration) -> Self {
        let shared =
            Shared { shutdown, patience, deadline: OnceLock::new(), parts: Mutex::new(BTreeMap::new()) };
        Self { shared: Arc::new(shared), in_work: Arc::default() }
    }

    /// The part called `name` of the same drain.
    pub(crate) fn part(&self, name: &str) -> Self {
        let in_work = Arc::<AtomicUsize>::default();
        let mut parts = self.shared.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(name.to_owned(), in_work.clone());
        Self { shared: self.shared.clone(), in_work }
    }

    /// Resolves when the drain begins.
    pub(crate) async fn started(&self) {
        self.shared.shutdown.started().await;
        self.deadline();
    }

    /// By when all must be finished; the first to ask once the drain has begun fixes it for all.
    pub(crate) fn deadline(&self) -> Instant {
        *self.shared.deadline.get_or_init(|| Instant::now() + self.shared.patience)
    }

    /// Notes that work on one message begins.
    pub(crate) fn begun(&self) {
        self.in_work.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes, when it is dropped, that work on one message has ended.
    pub(crate) fn ends(self) -> Ended {
        Ended(self)
    }

    /// What is still in work: each part that waits, and how many messages.
    pub(crate) fn waiting(&self) -> Vec<(String, usize)> {
        let parts = self.shared.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = parts.iter().map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// See [`Drain::ends`].
#[derive(Debug)]
pub(crate) struct Ended(Drain);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.in_work.fetch_sub(1, Ordering::Relaxed);
    }
}
