//! Opening the store: its queues are read and declared, and its writer is started.

use super::{
    EmbeddedBroker, FoundQueue, Indexes, WAITING,
    log::Log,
    queue::Queue,
    queues::{DelayedMessages, StoredQueues},
    record::Position,
    recording::Recording,
    store::Store,
    writer::Writer,
};
use crate::sqlite::{Folder, StoreError};
use postern_broker::{
    BrokerOptions, BrokerStatus, QueueName,
    topology::{QUARANTINE, QueueSpec},
};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, RwLock, atomic::AtomicU64, mpsc},
};
use tokio::sync::{Semaphore, watch};

/// Opens the store, declares the queues and starts the writer.
pub(super) fn open(
    path: &Path,
    options: &BrokerOptions,
    recording: Option<Recording>,
) -> Result<EmbeddedBroker, StoreError> {
    let folder = Folder::lock(path)?;
    let store = Store::open(&folder, recording.as_ref().map(|recording| &recording.keeping))?;
    let specs = specs(&store, options)?;
    start(folder, store, specs, options, recording)
}

/// Declares the queues of `specs` and starts the writer.
fn start(
    folder: Folder,
    store: Store,
    specs: Vec<QueueSpec>,
    options: &BrokerOptions,
    recording: Option<Recording>,
) -> Result<EmbeddedBroker, StoreError> {
    let path = folder.path().display().to_string();
    let queues = read_queues(&store, &specs)?;
    let declared: HashMap<QueueName, usize> = queues.indexes(specs).into_iter().collect();
    let undeclared =
        queues.all.iter().enumerate().filter(|(_, queue)| !queue.declared && queue.is_outbound());
    let undeclared = undeclared.map(|(index, queue)| (QueueName::stored(&queue.name), index)).collect();
    let unrouted = declared.get(&QueueName::unrouted()).copied().unwrap_or_default();
    let log = match declared.get(&QueueName::control()) {
        Some(index) => Log::read(&store, &queues.all[*index])?,
        None => Log::default(),
    };
    let held = queues.all.iter().filter(|queue| queue.position.count > 0);
    let found = held.map(|queue| FoundQueue {
        queue: QueueName::stored(&queue.name),
        messages: queue.position.count,
        bytes: queue.position.bytes,
    });
    let found = found.collect();
    #[expect(
        clippy::disallowed_methods,
        reason = "WAITING bounds the publishes, a prefetch the settlements; the rest is small and rare"
    )]
    let (ops, inbox) = mpsc::channel();
    let (status, watched) = watch::channel(BrokerStatus::Ready);
    let writer = Writer::new(folder, store, queues, options.min_free_disk, status, inbox);
    let writer = writer.recording(recording.clone()).delivering(log.clone());
    std::thread::Builder::new().name("postern-store".to_owned()).spawn(move || writer.run()).map_err(
        |error| StoreError::Broken(format!("cannot be used: no thread could be started ({error})")),
    )?;
    Ok(EmbeddedBroker {
        path,
        ops,
        room: Arc::new(Semaphore::new(WAITING as usize)),
        queues: RwLock::new(Indexes { declared, undeclared }),
        unrouted,
        log,
        recording,
        found,
        next_consumer: AtomicU64::new(0),
        publish_timeout: options.publish_timeout,
        status: watched,
    })
}

/// The queues to declare: those of the topology, the stream `postern.control`, and the queue that a dispatcher
/// empties if an earlier version left messages in it.
fn specs(store: &Store, options: &BrokerOptions) -> Result<Vec<QueueSpec>, StoreError> {
    let mut specs = options.topology.queues();
    specs.push(QueueSpec { name: QueueName::control(), limit: None });
    let quarantined = |(name, position): &(String, Position)| name == QUARANTINE && position.count > 0;
    if store.queues()?.iter().any(quarantined) {
        specs.push(QueueSpec { name: QueueName::quarantine(), limit: None });
    }
    Ok(specs)
}

/// The queues of the store and those of `specs`. A queue that is no longer declared is kept with its messages.
fn read_queues(store: &Store, specs: &[QueueSpec]) -> Result<StoredQueues, StoreError> {
    let mut queues = StoredQueues { delayed: DelayedMessages::read(store)?, ..StoredQueues::default() };
    let mut ids = BTreeSet::new();
    for (name, mut position) in store.queues()? {
        if let Some(end) = store.beyond(position.id, position.tail)? {
            let behind = end - position.tail;
            tracing::error!(
                queue = name,
                behind,
                "the embedded store contains messages past the recorded end of a queue: it was damaged; the \
                 messages are recovered; check the disk, then run `postern store check`"
            );
            position.tail = end;
        }
        ids.insert(position.id);
        queues.add(Queue::new(name, position));
    }
    if let Some(stray) = store.stray(&ids)? {
        return Err(StoreError::damaged("cannot be used", &format!("the row of queue {stray} is missing")));
    }
    for (id, sequence, lost) in store.leases()? {
        if let Some(queue) = queues.all.iter_mut().find(|queue| queue.position.id == id) {
            queue.remember(sequence, lost);
        }
    }
    queues.declare(store, specs)?;
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_broker::{Address, Broker as _, BrokerError, Envelope, testing};

    fn options() -> BrokerOptions {
        testing::options(testing::topology([]))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_an_earlier_version_set_apart_can_be_taken_and_then_its_queue_is_unknown() {
        let (dir, queue) = (tempfile::tempdir().unwrap(), QueueName::quarantine());
        let earlier = {
            let folder = Folder::lock(dir.path()).unwrap();
            let store = Store::open(&folder, None).unwrap();
            let mut specs = options().topology.queues();
            specs.push(QueueSpec { name: queue.clone(), limit: None });
            start(folder, store, specs, &options(), None).unwrap()
        };
        earlier.publish(vec![(Address::Queue(queue.clone()), Envelope::default())]).await.unwrap();
        earlier.close().await;
        let broker = EmbeddedBroker::open(dir.path(), options()).await.unwrap();
        let mut consumer = broker.consume(&queue, 1).await.unwrap();
        consumer.next().await.unwrap().ack();
        consumer.close().await;
        broker.close().await;
        let broker = EmbeddedBroker::open(dir.path(), options()).await.unwrap();
        assert!(matches!(broker.depth(&queue).await, Err(BrokerError::Refused(_))));
        broker.close().await;
    }
}
