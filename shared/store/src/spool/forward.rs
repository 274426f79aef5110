//! Publishes the messages of one of the spool's queues to the broker, in order: a batch only when all before it
//! are confirmed.

use super::{Core, Counters, PARTING, queue::SpoolQueue, routing_headers};
use crate::{embedded, sqlite};
use futures_util::FutureExt as _;
use postern_broker::{Address, Broker as _, BrokerError, Consumer, Delivery, Envelope, refused::Remainder};
use postern_shared::{backoff::Backoff, clock, message::MessageId};
use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// The most messages that are held, and published together. After a crash, this many may be published twice.
const MOST: u16 = 128;

/// A message that was read from the spool but is not settled yet.
struct HeldMessage {
    delivery: Delivery,
    address: Address,
    envelope: Envelope,
    at: Option<u64>,
    bytes: u64,
}

/// How many messages are published together, and how long to wait after a failure.
struct ForwardPace {
    together: usize,
    pauses: Backoff,
    failing: bool,
}

impl ForwardPace {
    /// The longest pause before the jitter, which may double it. It is for a broker that is connected but confirms
    /// nothing: while the broker is known to be unusable, nothing is published.
    const LONGEST: Duration = Duration::from_secs(15);

    fn new() -> Self {
        let pauses = Backoff::new(Duration::from_millis(100), Self::LONGEST).with_jitter();
        Self { together: 1, pauses, failing: false }
    }

    /// Doubles the number that is published together.
    fn succeeded(&mut self) {
        let together = (self.together * 2).min(usize::from(MOST));
        *self = Self { together, ..Self::new() };
    }

    /// Reduces the number to one, so that few messages are published twice. Returns the pause.
    fn failed(&mut self) -> Duration {
        self.together = 1;
        self.failing = true;
        self.pauses.pause()
    }
}

struct Forwarder {
    core: Arc<Core>,
    spool_queue: Arc<SpoolQueue>,
    consumer: Consumer,
    hand: VecDeque<HeldMessage>,
    pace: ForwardPace,
}

/// Forwards from `spool_queue` until the spool is closed.
pub(super) async fn run(core: Arc<Core>, spool_queue: Arc<SpoolQueue>) {
    let consumer = match core.store.consume(spool_queue.queue(), MOST).await {
        Ok(consumer) => consumer,
        Err(error) => {
            let (dir, queue) = (&core.dir, spool_queue.queue());
            return tracing::error!(dir, %queue, %error, "the spool cannot be read: its messages for this queue stay in it until this process is restarted");
        }
    };
    Forwarder { core, spool_queue, consumer, hand: VecDeque::new(), pace: ForwardPace::new() }.run().await;
}

impl Forwarder {
    async fn run(mut self) {
        let core = Arc::clone(&self.core);
        loop {
            let ready = async {
                let more = self.fill().await;
                core.usable().await;
                more
            };
            tokio::select! {
                more = ready => if !more { break },
                () = core.closed() => break,
            }
            // Messages under way get time to be confirmed, so that they are not published twice.
            let over = async {
                core.closed().await;
                sleep(PARTING).await;
            };
            let pause = tokio::select! {
                pause = self.send() => pause,
                () = over => break,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = core.closed() => break,
            }
        }
        // The held messages are requeued in the store.
        self.hand.clear();
        let _ = timeout(PARTING, self.consumer.close()).await;
    }

    /// Waits for at least one message and takes all that are ready. Returns `false` if the store is closed.
    /// Safe to cancel.
    async fn fill(&mut self) -> bool {
        if self.hand.is_empty() {
            self.spool_queue.set_oldest(None);
            let Some(first) = self.consumer.next().await else { return false };
            self.take(first);
        }
        while self.hand.len() < usize::from(MOST)
            && let Some(Some(next)) = self.consumer.next().now_or_never()
        {
            self.take(next);
        }
        self.spool_queue.set_oldest(self.hand.front().map(|held| held.at.unwrap_or_else(clock::now_ms)));
        true
    }

    fn take(&mut self, mut delivery: Delivery) {
        let stored = std::mem::take(&mut delivery.envelope);
        let bytes = embedded::stored_bytes(&stored);
        let (address, envelope, at) = routing_headers::take(stored, &self.core.nobody);
        self.hand.push_back(HeldMessage { delivery, address, envelope, at, bytes });
    }

    /// Publishes the first held messages. Returns how long to wait afterwards.
    async fn send(&mut self) -> Duration {
        let some = self.hand.iter().take(self.pace.together);
        let some: Vec<_> = some.map(|held| (held.address.clone(), held.envelope.clone())).collect();
        let count = some.len();
        match self.core.direct(some).await {
            Ok(()) => {
                Counters::add(&self.core.counters.forwarded, count);
                self.done(count)
            }
            Err(BrokerError::Refused(why)) if count == 1 => self.bury(&why).await,
            // The broker refuses one of them. Publishing them one by one finds it.
            Err(BrokerError::Refused(_)) => {
                self.pace.together = 1;
                Duration::ZERO
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Settles the first `count` held messages, which need not be forwarded any more.
    fn done(&mut self, count: usize) -> Duration {
        self.pace.succeeded();
        self.spool_queue.set_full(false);
        let mut bytes = 0;
        for held in self.hand.drain(..count) {
            bytes += held.bytes;
            held.delivery.ack();
        }
        self.spool_queue.set_oldest(self.hand.front().and_then(|held| held.at));
        self.spool_queue.leave(count as u64);
        self.core.usage.release(count as u64, bytes);
        Duration::ZERO
    }

    fn failed(&mut self, error: &BrokerError) -> Duration {
        if !self.pace.failing {
            tracing::warn!(queue = %self.spool_queue.queue(), %error, "spooled messages not forwarded, retrying");
        }
        self.spool_queue.set_full(matches!(error, BrokerError::Full(_)));
        self.pace.failed()
    }

    /// Publishes the first held message in pieces or dead-letters it, since the broker will never accept it and
    /// it must not hold up the others.
    async fn bury(&mut self, why: &str) -> Duration {
        let Some(HeldMessage { address, envelope, .. }) = self.hand.front() else { return Duration::ZERO };
        let queue = self.spool_queue.queue();
        let mut remainder = Remainder::of((address.clone(), envelope.clone()), why);
        while let Some(piece) = remainder.next_piece() {
            match self.core.direct(vec![piece.clone()]).await {
                Ok(()) => {}
                Err(BrokerError::Refused(why)) => remainder.refuse(piece, &why),
                Err(error) => return self.failed(&error),
            }
        }
        if remainder.into_lost().is_empty() {
            tracing::error!(%queue, error = why, "the broker will never accept this spooled message: stored in pieces or dead-lettered");
        } else {
            match set_aside(self.core.dir.as_ref(), &envelope.body) {
                Ok(file) => {
                    tracing::error!(%queue, error = why, file, "the broker will never accept this spooled message, nor as a dead letter: its body is in the file");
                }
                Err(error) => {
                    tracing::error!(%queue, %error, "a message that the broker refused cannot be saved to a file");
                    return self.pace.failed();
                }
            }
        }
        self.core.counters.dead.fetch_add(1, Ordering::Relaxed);
        self.done(1)
    }
}

/// Writes a body into a new file below `dir`. Returns the file's path.
fn set_aside(dir: &Path, body: &[u8]) -> io::Result<String> {
    use std::io::Write as _;
    let folder = dir.join("refused");
    sqlite::private(&folder)?;
    let path = folder.join(format!("{}.json", MessageId::new()));
    let mut file = std::fs::File::create_new(&path)?;
    file.write_all(body)?;
    file.sync_all()?;
    std::fs::File::open(&folder)?.sync_all()?;
    Ok(path.display().to_string())
}
