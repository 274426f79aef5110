//! The message log in the embedded broker's store: it passes the suite that every message log must pass,
//! and never disagrees with the queues.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use postern_broker::{
    Address, Broker, BrokerError, BrokerOptions, Envelope, LogRoute, QueueName, Topology, testing,
};
use postern_shared::{
    event::EventKind,
    message::{Inbound, Priority, Reason, Recipient, Report, State},
    value::Secret,
};
use postern_store::{
    FILE,
    embedded::{EmbeddedBroker, RecordedEvents},
    message_log::{
        Access, HashKey, Keeping, MessageLog, MessageQuery, Retention, SqliteLog, conformance::LogStorage,
    },
};
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// A folder, and the broker that has it open.
struct Folder(TempDir, Mutex<Option<(String, EmbeddedBroker)>>);

#[async_trait]
impl LogStorage for Folder {
    /// Only one broker can have the store open, so callers with the same `keeping` share it.
    async fn open(&self, keeping: Keeping) -> anyhow::Result<Arc<dyn MessageLog>> {
        let mut open = self.1.lock().await;
        let kept = format!("{keeping:?}");
        let broker = match open.take() {
            Some((same, broker)) if same == kept => broker,
            earlier => {
                if let Some((_, broker)) = earlier {
                    broker.close().await;
                }
                EmbeddedBroker::open_recording(self.0.path(), options(), keeping).await?
            }
        };
        let log = broker.message_log().unwrap();
        *open = Some((kept, broker));
        Ok(log)
    }
}

macro_rules! conformance {
    // This case opens a second log with another key next to the first, but a store can be open only once.
    (@ states_only_keeps_no_number_and_no_word) => {};
    (@ $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let folder = Arc::new(Folder(tempfile::tempdir().unwrap(), Mutex::default()));
            postern_store::message_log::conformance::run(stringify!($case), folder).await.unwrap();
        }
    };
    ($($case:ident)*) => { $(conformance!(@ $case);)* };
}
postern_store::for_each_log_case!(conformance);

fn options() -> BrokerOptions {
    testing::options(Topology { log: LogRoute::Store, ..testing::topology(["alpha".parse().unwrap()]) })
}

async fn open(dir: &Path) -> EmbeddedBroker {
    EmbeddedBroker::open_recording(dir, options(), Keeping::full()).await.unwrap()
}

fn inbound(text: &str) -> (Address, Envelope) {
    let message = Inbound::new("alpha".parse().unwrap(), "+15550100".parse().unwrap(), text);
    (Address::Inbound(message.backend.clone()), Envelope::from(&message))
}

async fn texts(log: &dyn MessageLog) -> Vec<String> {
    let page = log.messages(&MessageQuery { limit: 500, ..MessageQuery::default() }).await.unwrap();
    page.messages.into_iter().map(|message| message.text.unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_in_the_log_and_what_is_refused_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut limited = options();
    limited.topology.max_messages = Some(3);
    let broker = EmbeddedBroker::open_recording(folder.path(), limited, Keeping::full()).await.unwrap();
    let log = broker.message_log().unwrap();
    for round in 0..6 {
        let stored = broker.publish(vec![inbound(&round.to_string())]).await;
        assert_eq!(stored.is_ok(), round < 3, "{stored:?}");
        // A publish that was confirmed is found at once.
        assert_eq!(texts(&*log).await.len(), (round + 1).min(3));
    }
    assert_eq!(broker.recorded_events(), RecordedEvents { recorded: 3, failed: 0 });
    broker.close().await;
    let broker = open(folder.path()).await;
    assert_eq!(texts(&*broker.message_log().unwrap()).await, ["2", "1", "0"]);
    assert_eq!(broker.depth(&QueueName::inbound()).await.unwrap().ready, 3);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_alone_is_recorded_and_stands_in_no_queue() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path()).await;
    let log = broker.message_log().unwrap();
    let (address, envelope) = inbound("hello");
    let id = envelope.id().unwrap();
    broker.publish(vec![(address, envelope)]).await.unwrap();
    let forwarded = postern_shared::event::Event::new(EventKind::Forwarded, id, "alpha".parse().unwrap());
    broker.publish(vec![(Address::Log, Envelope::from(&forwarded))]).await.unwrap();
    let kinds: Vec<_> = log.message(id).await.unwrap().unwrap().events.iter().map(|it| it.event).collect();
    assert_eq!(kinds, [EventKind::Received, EventKind::Forwarded]);
    assert_eq!(broker.depth(&QueueName::unrouted()).await.unwrap().ready, 0);
    broker.close().await;
}

/// If the log's tables cannot be written, events are lost, but no message is.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_tables_are_damaged_holds_up_no_message_and_says_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).await.close().await;
    let file = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    let refuse = "CREATE TRIGGER refuses BEFORE INSERT ON recipients BEGIN SELECT RAISE(ABORT, 'no'); END";
    file.execute_batch(refuse).unwrap();
    drop(file);
    let broker = open(folder.path()).await;
    broker.publish(vec![inbound("a"), inbound("b")]).await.unwrap();
    let reason = Reason {
        class: postern_shared::error::FailureClass::Permanent,
        code: "x".into(),
        detail: String::new(),
    };
    let report = Report {
        message_id: inbound("a").1.id().unwrap(),
        backend: "alpha".parse().unwrap(),
        attempt: 1,
        at: postern_shared::clock::now(),
        recipients: vec![Recipient {
            identity: Some("+1".parse().unwrap()),
            state: State::Failed,
            external_id: None,
            external_ids: Vec::new(),
            segments: None,
            reason: Some(reason),
            http_status: None,
            duration_ms: None,
        }],
    };
    broker.publish(vec![(Address::Reports(report.backend.clone()), Envelope::from(&report))]).await.unwrap();
    assert_eq!(broker.depth(&QueueName::inbound()).await.unwrap().ready, 2);
    assert_eq!(broker.depth(&QueueName::reports()).await.unwrap().ready, 1);
    assert_eq!(broker.recorded_events(), RecordedEvents { recorded: 0, failed: 3 });
    assert!(texts(&*broker.message_log().unwrap()).await.is_empty(), "none of them, not a part");
    broker.close().await;
}

/// Messages that wait in the queues do not make the log remove anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_queues_does_not_count_for_the_logs_bound() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path()).await;
    broker.publish(vec![inbound("a"), inbound("b")]).await.unwrap();
    let large = || Envelope { body: vec![b'x'; 100_000].into(), ..Envelope::default() };
    let queue = QueueName::outbound(&"alpha".parse().unwrap(), Priority::Normal);
    let later = || Address::Later { queue: queue.clone(), delay: Duration::from_secs(3600) };
    broker.publish((0..40).map(|_| (Address::Queue(queue.clone()), large())).collect()).await.unwrap();
    broker.publish((0..20).map(|_| (later(), large())).collect()).await.unwrap();
    let log = broker.message_log().unwrap();
    let bound = |max_bytes| Retention { age: None, max_bytes: Some(max_bytes) };
    assert_eq!(log.expire(&bound(1 << 20)).await.unwrap(), 0);
    assert_eq!(texts(&*log).await, ["b", "a"]);
    assert_eq!(log.expire(&bound(1)).await.unwrap(), 2);
    broker.close().await;
}

/// A message of 3 kB takes a page of 4 kB. What its page leaves unused does not count for the log, either.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_backlog_costs_the_log_no_row_and_a_log_that_grows_is_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path()).await;
    broker.publish(vec![inbound("a"), inbound("b")]).await.unwrap();
    let body = bytes::Bytes::from(vec![b'x'; 3000]);
    let letter = || Envelope { body: body.clone(), ..Envelope::default() };
    let queue = QueueName::outbound(&"alpha".parse().unwrap(), Priority::Normal);
    let later = || Address::Later { queue: queue.clone(), delay: Duration::from_secs(3600) };
    for _ in 0..30 {
        broker.publish((0..100).map(|_| (Address::Queue(queue.clone()), letter())).collect()).await.unwrap();
    }
    broker.publish((0..500).map(|_| (later(), letter())).collect()).await.unwrap();
    let log = broker.message_log().unwrap();
    let bound = Retention { age: None, max_bytes: Some(1 << 20) };
    assert_eq!(log.expire(&bound).await.unwrap(), 0);
    assert_eq!(texts(&*log).await, ["b", "a"]);

    let text = "x".repeat(3000);
    for _ in 0..10 {
        broker.publish((0..100).map(|_| inbound(&text)).collect()).await.unwrap();
    }
    let mut removed = 0;
    loop {
        match log.expire(&bound).await.unwrap() {
            0 => break,
            step => removed += step,
        }
    }
    let left = texts(&*log).await.len() as u64;
    assert_eq!(removed + left, 1002);
    assert!((50..=256).contains(&left), "{left} messages of 4 kB in 1 MiB");
    broker.close().await;
}

/// The noted size of the log is the size of its tables, regardless of how their pages and those of the queues came
/// and went.
#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_the_log_is_noted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let broker = open(folder.path()).await;
        let log = broker.message_log().unwrap();
        for part in 0..20 {
            let text = |n: usize| "x".repeat(1 + n * (37 + part) % 2500);
            broker.publish((0..100).map(|n| inbound(&text(n))).collect()).await.unwrap();
        }
        let mut consumer = broker.consume(&QueueName::inbound(), 100).await.unwrap();
        for _ in 0..1000 {
            consumer.next().await.unwrap().ack();
        }
        consumer.close().await;
        let bound = Retention { age: None, max_bytes: Some(1 << 20) };
        while log.expire(&bound).await.unwrap() > 0 {}
        if round == 1 {
            log.forget(&"+15550100".parse().unwrap()).await.unwrap();
        }
        broker.close().await;
        let file = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
        let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let noted = number("SELECT CAST(value AS INTEGER) FROM log_settings WHERE name = 'pages'");
        let taken = number(
            "SELECT sum(pageno) FROM dbstat WHERE aggregate = TRUE AND name IN (SELECT name FROM sqlite_schema \
             WHERE tbl_name IN ('messages', 'recipients', 'events', 'log_settings'))",
        );
        assert_eq!(noted, taken, "in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_nothing_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::open(folder.path(), options()).await.unwrap();
    let outbound = Address::Outbound("alpha".parse().unwrap(), Priority::Normal);
    broker.publish(vec![inbound("a"), (outbound, Envelope::default())]).await.unwrap();
    assert!(broker.message_log().is_none());
    assert_eq!(broker.recorded_events(), RecordedEvents::default());
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_states_only_a_store_holds_no_number_beside_its_queues_and_takes_no_other_key() {
    let folder = tempfile::tempdir().unwrap();
    let states = |key: &str| Keeping::states(HashKey::new(&Secret::from(key.to_owned())));
    let open = async |key| EmbeddedBroker::open_recording(folder.path(), options(), states(key)).await;
    let broker = open("one").await.unwrap();
    broker.publish(vec![inbound("a word")]).await.unwrap();
    let page = broker.message_log().unwrap().messages(&MessageQuery::default()).await.unwrap();
    assert_eq!(page.messages[0].text, None);
    assert!(!page.messages[0].recipients[0].identity.contains("15550100"));
    broker.close().await;
    let other = open("another").await.unwrap_err().to_string();
    assert!(other.contains("hash_key"), "{other}");
    open("one").await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_number_lies_in_no_file_also_of_what_a_queue_held() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path()).await;
    broker.publish((0..300).map(|round| inbound(&round.to_string())).collect()).await.unwrap();
    let mut consumer = broker.consume(&QueueName::inbound(), 50).await.unwrap();
    for _ in 0..300 {
        consumer.next().await.unwrap().ack();
    }
    consumer.close().await;
    let holds = || {
        let files =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()));
        files.into_iter().any(|file| file.unwrap().windows(6).any(|bytes| bytes == b"555010"))
    };
    assert!(holds());
    let log = broker.message_log().unwrap();
    assert_eq!(log.forget(&"+15550100".parse().unwrap()).await.unwrap(), 300);
    assert!(!holds());
    let wal = std::fs::metadata(folder.path().join(format!("{FILE}-wal"))).unwrap();
    assert!(wal.len() > 0, "after a crash, the next start would report a loss");
    assert!(texts(&*log).await.is_empty());
    broker.close().await;
    assert!(!holds());
}

/// Erasing a person from the store of a killed gateway loses no message, and the next start reports no loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_in_what_a_killed_gateway_left() {
    let (folder, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = open(folder.path()).await;
    broker.publish(vec![inbound("a"), inbound("b")]).await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, left.path().join(from.file_name().unwrap())).unwrap();
    }
    broker.close().await;
    let note = || std::fs::read_to_string(left.path().join("lock")).unwrap();
    assert_eq!(note().trim(), "open");
    let log = SqliteLog::beside(&left.path().join(FILE), Keeping::full(), Access::Write).await.unwrap();
    let meanwhile = EmbeddedBroker::open(left.path(), options()).await.unwrap_err();
    assert!(matches!(meanwhile, BrokerError::Locked { .. }), "{meanwhile}");
    assert_eq!(log.forget(&"+15550100".parse().unwrap()).await.unwrap(), 2);
    log.close().await;
    drop(log);
    assert_eq!(note().trim(), "closed", "so that an empty write-ahead log is no loss");
    let broker = open(left.path()).await;
    assert_eq!(broker.depth(&QueueName::inbound()).await.unwrap().ready, 2);
    broker.close().await;
}
