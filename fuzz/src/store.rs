//! The embedded broker's store after something happened to its files.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use postern_broker::{Address, Broker, BrokerError, BrokerOptions, Delivery, Envelope, QueueName, Topology};
use postern_shared::message::{BackendName, Priority};
use postern_store::embedded::EmbeddedBroker;
use std::{
    fs,
    future::Future,
    panic,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, Once},
    time::Duration,
};
use tokio::{runtime::Runtime, time::timeout};

/// Far more than anything here takes: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const KEYSPACES: [&str; 3] = ["messages", "delayed", "meta"];

/// The files of a store with messages in tables and in a journal, delayed ones and acked ones.
static PRISTINE: LazyLock<Vec<(PathBuf, Vec<u8>)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    RUNTIME.block_on(make(folder.path()));
    let mut files = Vec::new();
    collect(folder.path(), folder.path(), &mut files);
    files.sort();
    files
});
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
/// Where our own code panicked, in whatever thread.
static OURS: Mutex<Option<String>> = Mutex::new(None);

/// Edits of a store. First how many of its records are replaced or added, in sound files: for each
/// a keyspace, the lengths of key and value, and both; then edits of the files themselves: which, a
/// kind, a place, how much. The store is opened or refused, and one that is opened takes a message,
/// hands it out, is closed, and has it still when it is opened again. Nothing of ours panics.
pub fn store(input: &[u8]) {
    watch_panics();
    let mut input = Input(input);
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in &*PRISTINE {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let records = input.byte() % 16;
    if records > 0 {
        tamper(folder.path(), |db| (0..records).for_each(|_| edit_record(&mut input, db)));
    }
    let mut edits = 0;
    while !input.0.is_empty() && edits < 8 {
        edits += 1;
        edit_file(&mut input, folder.path());
    }
    RUNTIME.block_on(open_and_use(folder.path()));
    // Not held any more when it panics: the hook takes it, too.
    let ours = OURS.lock().unwrap().take();
    assert!(ours.is_none(), "{ours:?}");
}

async fn open_and_use(folder: &Path) {
    let Some(broker) = opened(folder).await else { return };
    let new = Envelope { message_id: Some("new".to_owned()), ..Envelope::default() };
    match broker.publish(vec![(address(), new)]).await {
        Ok(()) => {
            wait_for_new(&broker, "a message that was just taken").await;
            close(broker).await;
            // Damage that stood in nobody's way so far may do so now, but then it is said.
            if let Some(broker) = opened(folder).await {
                wait_for_new(&broker, "a message that was taken before closing").await;
                close(broker).await;
            }
        }
        Err(BrokerError::TimedOut(time)) => panic!("a publish hung for {time:?}"),
        Err(_) => close(broker).await,
    }
}

async fn opened(folder: &Path) -> Option<EmbeddedBroker> {
    match within(EmbeddedBroker::open(folder, options())).await {
        Ok(broker) => Some(broker),
        Err(BrokerError::Store { why, .. }) => {
            assert!(!why.contains("internal"), "{why}");
            None
        }
        Err(other) => panic!("opening: {other:?}"),
    }
}

/// The message `new` must come, unless the store is in trouble and says so.
async fn wait_for_new(broker: &EmbeddedBroker, what: &str) {
    let mut consumer = broker.consume(&queue(), 2000).await.unwrap();
    let mut status = broker.status();
    let comes = async {
        while let Some(delivery) = consumer.next().await {
            match is_new(&delivery) {
                true => return delivery.release(),
                false => delivery.ack(),
            }
        }
    };
    let in_time = async {
        tokio::select! {
            () = comes => {}
            _ = status.wait_for(|now| now.problem().is_some()) => {}
        }
    };
    timeout(PATIENCE, in_time).await.unwrap_or_else(|_| panic!("{what} is not handed out"));
}

fn is_new(delivery: &Delivery) -> bool {
    delivery.envelope.message_id.as_deref() == Some("new")
}

async fn close(broker: EmbeddedBroker) {
    for queue in options().topology.queues() {
        let _ = within(broker.depth(&queue.name)).await;
    }
    within(broker.close()).await;
}

async fn within<T>(doing: impl Future<Output = T>) -> T {
    timeout(PATIENCE, doing).await.expect("it hangs")
}

async fn make(folder: &Path) {
    let letters = |range: std::ops::Range<usize>| {
        range.map(|n| (address(), letter(n))).collect::<Vec<(Address, Envelope)>>()
    };
    let broker = EmbeddedBroker::open(folder, options()).await.unwrap();
    broker.publish(letters(0..20)).await.unwrap();
    let later = |delay| Address::Later { queue: queue(), delay };
    let hour = Duration::from_secs(3600);
    broker.publish(vec![(later(hour), letter(90)), (later(Duration::ZERO), letter(91))]).await.unwrap();
    broker.close().await;
    tamper(folder, |db| {
        KEYSPACES.iter().for_each(|name| keyspace(db, name).rotate_memtable_and_wait().unwrap());
    });
    let broker = EmbeddedBroker::open(folder, options()).await.unwrap();
    for n in 20..30 {
        broker.publish(letters(n..n + 1)).await.unwrap();
    }
    let mut consumer = broker.consume(&queue(), 3).await.unwrap();
    for _ in 0..3 {
        consumer.next().await.unwrap().ack();
    }
    consumer.close().await;
    broker.close().await;
    // Opening cuts the journal to what is used of it.
    EmbeddedBroker::open(folder, options()).await.unwrap().close().await;
}

fn edit_record(input: &mut Input<'_>, db: &Database) {
    let keyspace = keyspace(db, KEYSPACES[usize::from(input.byte()) % KEYSPACES.len()]);
    let (key, value) = (input.byte(), input.byte());
    let key = input.take(usize::from(key));
    let value = input.take(usize::from(value));
    // fjall takes no empty key.
    if !key.is_empty() {
        keyspace.insert(key, value).unwrap();
    }
}

fn edit_file(input: &mut Input<'_>, folder: &Path) {
    let (path, _) = &PRISTINE[usize::from(input.byte()) % PRISTINE.len()];
    let path = folder.join(path);
    let (kind, place, much) = (input.byte(), input.pair(), input.byte());
    let Ok(mut bytes) = fs::read(&path) else { return };
    let at = usize::from(place) * bytes.len() / (usize::from(u16::MAX) + 1);
    let end = bytes.len().min(at + usize::from(much));
    match kind % 6 {
        0 if at < bytes.len() => bytes[at] ^= much.max(1),
        1 => bytes.truncate(at),
        2 => bytes[at..end].fill(0),
        3 => drop(bytes.splice(at..end, input.take(usize::from(much)).iter().copied())),
        4 => bytes.extend(input.take(usize::from(much))),
        5 => return drop(fs::remove_file(path)),
        _ => {}
    }
    fs::write(path, bytes).unwrap();
}

/// What is left of the input; behind its end everything is zero.
struct Input<'i>(&'i [u8]);

impl<'i> Input<'i> {
    fn take(&mut self, most: usize) -> &'i [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn pair(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

/// Passes over fjall's own panics, which are caught where a store is opened; libFuzzer's hook would
/// end the process.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            if !place.contains("/fjall-") && !place.contains("/lsm-tree-") {
                *OURS.lock().unwrap() = Some(panic.to_string());
                before(panic);
            }
        }));
    });
}

fn tamper(folder: &Path, change: impl FnOnce(&Database)) {
    let db = Database::builder(folder.join("store")).open().unwrap();
    change(&db);
    db.persist(PersistMode::SyncAll).unwrap();
}

fn keyspace(db: &Database, name: &str) -> Keyspace {
    db.keyspace(name, KeyspaceCreateOptions::default).unwrap()
}

fn collect(top: &Path, folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(top, &path, files),
            false => files.push((path.strip_prefix(top).unwrap().to_owned(), fs::read(&path).unwrap())),
        }
    }
}

fn alpha() -> BackendName {
    "alpha".parse().unwrap()
}

fn address() -> Address {
    Address::Outbound(alpha(), Priority::Normal)
}

fn queue() -> QueueName {
    address().queue()
}

fn letter(n: usize) -> Envelope {
    Envelope { message_id: Some(n.to_string()), body: format!("body {n}").into(), ..Envelope::default() }
}

fn options() -> BrokerOptions {
    BrokerOptions {
        topology: Topology {
            backends: [alpha()].into(),
            delays: [Duration::from_secs(1)].into(),
            max_reports: 100,
            max_callbacks: 100,
            max_messages: None,
            log: postern_broker::LogRoute::None,
        },
        publish_timeout: PATIENCE,
        client_name: "fuzz".to_owned(),
        min_free_disk: 0,
        max_deliveries: 20,
    }
}
