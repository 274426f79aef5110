use super::*;
use std::{
    collections::BTreeSet,
    io::Read,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tracing_subscriber::fmt::MakeWriter;

const MESSAGES: usize = 3000;

/// Everything that was logged as an error.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Errors {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&file, copy).unwrap();
    }
}

/// Leaves in `dir` what a crash leaves of a store: most of it is in the write-ahead log.
async fn crash(dir: &Path) {
    let running = tempfile::tempdir().unwrap();
    let broker = open(running.path()).await;
    for n in (0..MESSAGES).step_by(100) {
        post(&broker, n..n + 100).await;
    }
    copy(running.path(), dir);
    std::fs::remove_file(dir.join("postern.db-shm")).unwrap();
    broker.close().await;
}

/// Makes a store with messages in two queues and delayed messages, some of which were consumed.
async fn make(dir: &Path) {
    let broker = open(dir).await;
    post(&broker, 0..MESSAGES).await;
    broker.publish((0..500).map(|n| (Address::Dead(alpha()), letter(n))).collect()).await.unwrap();
    let hour = Address::Later { queue: queue(), delay: Duration::from_secs(3600) };
    broker.publish((0..50).map(|n| (hour.clone(), letter(n))).collect()).await.unwrap();
    let mut consumer = broker.consume(&QueueName::dead(), 100).await.unwrap();
    for _ in 0..100 {
        next(&mut consumer).await.ack();
    }
    within(consumer.close()).await;
    broker.close().await;
}

/// How a file is damaged.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip(f64),
    Cut(f64),
    Zero(f64),
    Remove,
}

fn harm(file: &Path, harm: Harm) {
    let mut bytes = std::fs::read(file).unwrap();
    let place = |share: f64| ((bytes.len().max(1) - 1) as f64 * share) as usize;
    match harm {
        Harm::Remove => return std::fs::remove_file(file).unwrap(),
        Harm::Cut(share) => bytes.truncate(place(share)),
        _ if bytes.is_empty() => return,
        Harm::Flip(share) => {
            let at = place(share);
            bytes[at] ^= 0x5a;
        }
        Harm::Zero(share) => {
            let at = place(share);
            let end = bytes.len().min(at + 2000);
            bytes[at..end].fill(0);
        }
    }
    std::fs::write(file, bytes).unwrap();
}

/// The messages that can still be read. Once an error was logged, it ends a moment after the last message.
/// Without one it waits for a minute: the disk may be slow.
async fn readable(broker: &EmbeddedBroker, errors: &Errors) -> BTreeSet<usize> {
    const MOMENTS: u32 = 600;
    const MOMENT: Duration = Duration::from_millis(100);
    let (mut found, mut quiet) = (BTreeSet::new(), 0);
    let Ok(mut consumer) = broker.consume(&queue(), 500).await else { return found };
    while found.len() < MESSAGES {
        match tokio::time::timeout(MOMENT, consumer.next()).await {
            Ok(Some(delivery)) => {
                found.insert(number(&delivery));
                delivery.ack();
                quiet = 0;
            }
            Ok(None) => break,
            Err(_) => {
                quiet += 1;
                if quiet == MOMENTS || !errors.0.lock().unwrap().is_empty() {
                    break;
                }
            }
        }
    }
    found
}

/// As a child, whose log has no lines of other tests: damages every file of the store in many ways. Either
/// opening fails and says what to do, or all messages are there, or a log line says that some are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_damages_each_file() {
    let Some(folder) = child_folder() else { return };
    let errors = Errors::default();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_ansi(false);
    log.with_writer(errors.clone()).try_init().unwrap();
    let [closed, crashed] = [(); 2].map(|()| tempfile::tempdir_in(&folder).unwrap());
    make(closed.path()).await;
    crash(crashed.path()).await;
    let harms = [
        Harm::Flip(0.0),
        Harm::Flip(0.03),
        Harm::Flip(0.31),
        Harm::Flip(0.5),
        Harm::Flip(0.77),
        Harm::Flip(0.99),
        Harm::Cut(0.0),
        Harm::Cut(0.4),
        Harm::Cut(0.95),
        Harm::Zero(0.2),
        Harm::Zero(0.6),
        Harm::Remove,
    ];
    let mut outcomes = (0, 0, 0);
    for (pristine, name) in [(&closed, "postern.db"), (&crashed, "postern.db"), (&crashed, "postern.db-wal")]
    {
        // Nothing else records that a write-ahead log was longer.
        let harms =
            harms.into_iter().filter(|harm| name == "postern.db" || !matches!(harm, Harm::Cut(0.1..)));
        for kind in harms {
            let dir = tempfile::tempdir_in(&folder).unwrap();
            copy(pristine.path(), dir.path());
            harm(&dir.path().join(name), kind);
            errors.0.lock().unwrap().clear();
            match within(EmbeddedBroker::open(dir.path(), options())).await {
                Err(BrokerError::Store { path, why }) => {
                    assert_eq!(path, dir.path().display().to_string());
                    assert!(why.contains("restore") || why.contains("check"), "{name:?} {kind:?}: {why}");
                    outcomes.0 += 1;
                }
                Err(other) => panic!("{name:?} {kind:?}: {other:?}"),
                Ok(broker) => {
                    let found = readable(&broker, &errors).await;
                    within(broker.close()).await;
                    let logged = String::from_utf8_lossy(&errors.0.lock().unwrap()).into_owned();
                    let whole = found.len() == MESSAGES;
                    assert!(
                        whole || !logged.is_empty(),
                        "{name:?} {kind:?}: {} of {MESSAGES}, silently",
                        found.len()
                    );
                    if whole { outcomes.1 += 1 } else { outcomes.2 += 1 }
                }
            }
        }
    }
    println!(
        "{} refused, {} without loss, {} with a loss that was logged",
        outcomes.0, outcomes.1, outcomes.2
    );
    assert!(outcomes.0 > 0 && outcomes.1 > 0);
}

#[test]
fn damage_is_never_silent() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Child::start(&mut child("damage::child_damages_each_file", dir.path()));
    let mut said = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    println!("{said}");
    assert!(child.0.wait().unwrap().success());
}
