//! Signs of life from the loops that a program depends on: the tasks that consume queues and the threads
//! that answer requests. A watchdog asks which of them give none.
//!
//! A loop notes its sign of life itself, in its own task and on its own thread, so anything that blocks the
//! loop also stops the signs. A loop that waits for work gives signs, too.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// The signs of life of a process's loops. By default nobody watches, and none are noted. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Heartbeats {
    /// How often a loop notes a sign of life. `None`: nobody watches.
    every: Option<Duration>,
    loops: Arc<Mutex<Loops>>,
}

#[derive(Debug, Default)]
struct Loops {
    /// How many loops have begun.
    begun: u64,
    alive: BTreeMap<u64, LifeSign>,
}

#[derive(Debug)]
struct LifeSign {
    name: String,
    last: Instant,
}

impl Heartbeats {
    /// Signs of life that each loop notes once every `period`, or later if its thread is busy.
    pub fn every(period: Duration) -> Self {
        Self { every: Some(period), loops: Arc::default() }
    }

    /// Runs `work`, which is or contains the loop `name`, and notes its signs of life until it ends. Must
    /// be called within a Tokio runtime.
    pub async fn keep<T>(&self, name: String, work: impl Future<Output = T>) -> T {
        let Some(every) = self.every else { return work.await };
        let alive = self.begin(name);
        let mut work = pin!(work);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => alive.note(),
                done = &mut work => return done,
            }
        }
    }

    /// The names of the loops that have given no sign of life since `since`.
    pub fn silent(&self, since: Instant) -> Vec<String> {
        let loops = self.loops();
        let silent = loops.alive.values().filter(|life| life.last < since);
        silent.map(|life| life.name.clone()).collect()
    }

    fn begin(&self, name: String) -> Alive<'_> {
        let mut loops = self.loops();
        loops.begun += 1;
        let id = loops.begun;
        loops.alive.insert(id, LifeSign { name, last: Instant::now() });
        Alive { id, of: self }
    }

    fn loops(&self) -> MutexGuard<'_, Loops> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running loop; it counts as ended when this is dropped.
struct Alive<'h> {
    id: u64,
    of: &'h Heartbeats,
}

impl Alive<'_> {
    fn note(&self) {
        if let Some(life) = self.of.loops().alive.get_mut(&self.id) {
            life.last = Instant::now();
        }
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.of.loops().alive.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::pending, sync::mpsc};
    use tokio::{sync::oneshot, time::sleep};

    const PERIOD: Duration = Duration::from_millis(5);

    /// Waits until exactly the loops `names` have been silent for the last 20 periods.
    async fn silent_becomes(heartbeats: &Heartbeats, names: &[&str]) {
        let begun = Instant::now();
        loop {
            let silent = Instant::now().checked_sub(PERIOD * 20).map(|since| heartbeats.silent(since));
            match silent {
                Some(silent) if silent == names => return,
                silent => assert!(begun.elapsed().as_secs() < 60, "{silent:?} instead of {names:?}"),
            }
            sleep(PERIOD).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_loop_that_is_held_up_is_silent_and_one_that_waits_is_not() {
        let heartbeats = Heartbeats::every(PERIOD);
        let (waits, held, ended) = (heartbeats.clone(), heartbeats.clone(), heartbeats.clone());
        let _waits = tokio::spawn(async move { waits.keep("waits".to_owned(), pending::<()>()).await });
        ended.keep("ended".to_owned(), async {}).await;
        let (release, released) = mpsc::sync_channel::<()>(0);
        let (done, finished) = oneshot::channel();
        let _held = tokio::spawn(async move {
            let work = async move {
                // As by mistake: blocks its thread.
                let _ = released.recv();
                finished.await
            };
            held.keep("held".to_owned(), work).await
        });
        silent_becomes(&heartbeats, &["held"]).await;
        release.send(()).unwrap();
        silent_becomes(&heartbeats, &[]).await;
        done.send(()).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_noted_if_nobody_watches() {
        let heartbeats = Heartbeats::default();
        let seen = heartbeats.keep("work".to_owned(), async { heartbeats.silent(Instant::now()) });
        assert!(seen.await.is_empty());
    }
}
