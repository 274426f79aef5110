//! The embedded broker's store after its files were damaged.

use postern_broker::{Address, Broker, BrokerError, BrokerOptions, Delivery, Envelope, QueueName, testing};
use postern_shared::message::{BackendName, Priority};
use postern_store::{FILE, embedded::EmbeddedBroker};
use rusqlite::{Connection, types::Value};
use std::{
    fs,
    future::Future,
    panic,
    path::Path,
    sync::{LazyLock, Mutex, Once},
    time::Duration,
};
use tokio::{runtime::Runtime, time::timeout};

/// Far longer than any step takes: a step that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// The places at which a record may be changed: a table, its key and a column.
const COLUMNS: [(&str, &str, &str); 20] = [
    ("message", "id", "id"),
    ("message", "id", "message_id"),
    ("message", "id", "type"),
    ("message", "id", "headers"),
    ("message", "id", "body"),
    ("message", "id", "checksum"),
    ("delayed", "id", "id"),
    ("delayed", "id", "queue"),
    ("delayed", "id", "due"),
    ("delayed", "id", "body"),
    ("delayed", "id", "checksum"),
    ("delayed_count", "queue", "messages"),
    ("lease", "message", "message"),
    ("lease", "message", "begun"),
    ("queue", "id", "id"),
    ("queue", "id", "name"),
    ("queue", "id", "next"),
    ("queue", "id", "messages"),
    ("queue", "id", "bytes"),
    ("store", "opened", "opened"),
];

/// A store with waiting and delayed messages, some of which were taken: once closed, with everything in its
/// file, and once after a crash, with its write-ahead log.
static PRISTINE: LazyLock<[Files; 2]> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let crashed = RUNTIME.block_on(make(folder.path()));
    [collect(folder.path()), crashed]
});
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
/// The files of a store: their names and contents.
type Files = Vec<(String, Vec<u8>)>;
/// The last panic, in any thread.
static OURS: Mutex<Option<String>> = Mutex::new(None);

/// The input holds edits of a store: which of the two it is; how many of its rows SQL changes or removes,
/// and for each a column, a row, a kind and a value; then edits of the files themselves: which file, a
/// kind, a place, how much. The store is opened or refused. A store that is opened takes a message,
/// delivers it, is closed, and still has it when it is opened again. Nothing of ours panics.
pub fn store(input: &[u8]) {
    watch_panics();
    let mut input = Input(input);
    let folder = tempfile::tempdir().unwrap();
    let first = input.byte();
    let pristine = &PRISTINE[usize::from(first >> 7)];
    for (name, bytes) in pristine {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let rows = first % 16;
    if rows > 0 {
        let database = Connection::open(folder.path().join(FILE)).unwrap();
        (0..rows).for_each(|_| edit_row(&mut input, &database));
    }
    let mut edits = 0;
    while !input.0.is_empty() && edits < 8 {
        edits += 1;
        edit_file(&mut input, folder.path(), pristine);
    }
    RUNTIME.block_on(open_and_use(folder.path()));
    // The lock must be released before the assertion: if it panics, the hook takes the lock, too.
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
            // Damage that had no effect so far may have one now, but then the broker must report it.
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

/// Waits for the message `new`, which must come unless the store is in trouble and says so.
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

/// Makes a store and closes it. Returns its files as they were shortly before.
async fn make(folder: &Path) -> Files {
    let letters = |range: std::ops::Range<usize>| {
        range.map(|n| (address(), letter(n))).collect::<Vec<(Address, Envelope)>>()
    };
    let broker = EmbeddedBroker::open(folder, options()).await.unwrap();
    broker.publish(letters(0..20)).await.unwrap();
    let later = |delay| Address::Later { queue: queue(), delay };
    let hour = Duration::from_secs(3600);
    broker.publish(vec![(later(hour), letter(90)), (later(Duration::ZERO), letter(91))]).await.unwrap();
    broker.close().await;
    let broker = EmbeddedBroker::open(folder, options()).await.unwrap();
    for n in 20..30 {
        broker.publish(letters(n..n + 1)).await.unwrap();
    }
    let mut consumer = broker.consume(&queue(), 3).await.unwrap();
    for _ in 0..3 {
        consumer.next().await.unwrap().ack();
    }
    let held = consumer.next().await.unwrap();
    broker.publish(letters(30..31)).await.unwrap();
    let crashed = collect(folder);
    drop(held);
    consumer.close().await;
    broker.close().await;
    crashed
}

fn edit_row(input: &mut Input<'_>, database: &Connection) {
    let (table, key, column) = COLUMNS[usize::from(input.byte()) % COLUMNS.len()];
    let (row, kind, length) = (input.byte(), input.byte(), input.byte());
    let value = input.take(usize::from(length));
    let number = value.iter().fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
    let value = match kind % 4 {
        0 => Value::Integer(number),
        1 => Value::Text(String::from_utf8_lossy(value).into_owned()),
        2 => Value::Blob(value.to_owned()),
        _ => Value::Null,
    };
    let which = format!(
        "{key} = (SELECT {key} FROM {table} LIMIT 1 OFFSET {row} % (SELECT max(1, count(*)) FROM {table}))"
    );
    // An edit that the table does not allow fails, and nothing is changed.
    let _ = match kind >> 4 {
        15 => database.execute(&format!("DELETE FROM {table} WHERE {which}"), []),
        _ => database.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {which}"), [value]),
    };
}

fn edit_file(input: &mut Input<'_>, folder: &Path, pristine: &Files) {
    let (name, _) = &pristine[usize::from(input.byte()) % pristine.len()];
    let path = folder.join(name);
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

/// The rest of the input; after its end, every byte is zero.
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

/// Notes a panic in any thread: a panic of the store's writer would otherwise only end that thread.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            *OURS.lock().unwrap() = Some(panic.to_string());
            before(panic);
        }));
    });
}

fn collect(folder: &Path) -> Files {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    // SQLite makes its index of the write-ahead log again.
    let files = files.filter(|file| !file.file_name().to_string_lossy().ends_with("-shm"));
    let mut files: Files =
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect();
    files.sort();
    files
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
    BrokerOptions { publish_timeout: PATIENCE, ..testing::options(testing::topology([alpha()])) }
}
