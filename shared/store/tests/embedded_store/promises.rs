use super::*;
use postern_broker::header;
use std::{os::unix::fs::PermissionsExt, time::Instant};

#[tokio::test]
async fn a_second_broker_is_locked_out_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let second = EmbeddedBroker::open(dir.path(), options()).await;
    assert!(
        matches!(&second, Err(BrokerError::Locked { path }) if *path == dir.path().display().to_string())
    );
    first.close().await;
    open(dir.path()).await.close().await;
}

#[tokio::test]
async fn a_dropped_broker_keeps_its_messages_and_lets_go_of_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..3).await;
    let mut consumer = broker.consume(&queue(), 10).await.unwrap();
    next(&mut consumer).await.ack();
    drop(broker);
    assert!(within(consumer.next()).await.is_some(), "what was handed out stays readable");
    let broker = open(dir.path()).await;
    let left = drain(&broker, &queue()).await;
    assert!(left == [1, 2] || left == [0, 1, 2], "{left:?}");
    broker.close().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = EmbeddedBroker::open(&path, options()).await.unwrap_err();
        assert!(matches!(error, BrokerError::Store { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn what_it_holds_is_for_its_user_only_whoever_made_the_folder() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(&shared).await.close().await;
    let broker = open(&shared).await;
    assert_eq!(mode(&shared), 0o755);
    for name in ["postern.db", "postern.db-wal", "postern.db-shm"] {
        assert_eq!(mode(&shared.join(name)), 0o600, "{name}");
    }
    broker.close().await;
    let own = dir.path().join("own");
    open(&own).await.close().await;
    assert_eq!(mode(&own), 0o700);
}

#[tokio::test]
async fn others_can_read_what_waits_beside_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..3).await;
    broker.publish(vec![(Address::Dead(alpha()), letter(9).with("x-postern-attempts", 2))]).await.unwrap();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = rusqlite::Connection::open_with_flags(dir.path().join("postern.db"), flags).unwrap();
    let read = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let waiting =
        "SELECT group_concat(message_id || body) FROM waiting WHERE queue = 'postern.outbound.alpha'";
    assert_eq!(read(waiting), "0body 0,1body 1,2body 2");
    assert_eq!(
        read("SELECT headers ->> 'x-postern-attempts' || queue FROM waiting WHERE message_id = '9'"),
        "2postern.dead"
    );
    // The reader sees the store at one moment, while the broker goes on.
    let moment = reader.unchecked_transaction().unwrap();
    assert_eq!(read(waiting).len(), 23);
    assert_eq!(drain(&broker, &queue()).await, [0, 1, 2]);
    assert_eq!(read(waiting).len(), 23);
    drop(moment);
    assert_eq!(read("SELECT count(*) || '' FROM waiting"), "1");
    broker.close().await;
}

#[tokio::test]
async fn a_store_half_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    for half in ["", "PRAGMA journal_mode = WAL; CREATE TABLE t (n); DROP TABLE t"] {
        std::fs::write(dir.path().join("postern.db"), "").unwrap();
        tamper(dir.path(), half);
        let broker = open(dir.path()).await;
        post(&broker, 0..1).await;
        assert_eq!(drain(&broker, &queue()).await, [0]);
        broker.close().await;
        std::fs::remove_file(dir.path().join("lock")).unwrap();
    }
}

#[tokio::test]
async fn a_limit_is_kept_exactly_and_a_publish_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.topology.max_messages = Some(10);
    let broker = EmbeddedBroker::open(dir.path(), options).await.unwrap();
    post(&broker, 0..8).await;
    // There is no room for the third message, so none is stored in any queue.
    let mut messages: Vec<_> = (8..11).map(|n| (address(), letter(n))).collect();
    messages.push((Address::Dead(alpha()), letter(99)));
    assert!(matches!(broker.publish(messages).await, Err(BrokerError::Full(_))));
    post(&broker, 8..10).await;
    let refused = broker.publish(vec![(address(), letter(10))]).await.unwrap_err();
    assert!(refused.to_string().contains("postern.outbound.alpha"), "{refused}");
    assert_eq!(broker.depth(&QueueName::dead()).await.unwrap().ready, 0);
    // A leased message counts for the limit, an acked one does not.
    let mut consumer = broker.consume(&queue(), 1).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert!(broker.publish(vec![(address(), letter(10))]).await.is_err());
    delivery.ack();
    next(&mut consumer).await.release();
    post(&broker, 10..11).await;
    consumer.close().await;
    assert_eq!(drain(&broker, &queue()).await, (1..11).collect::<Vec<_>>());
    broker.close().await;
}

#[tokio::test]
async fn the_oldest_reports_go_exactly_but_never_leased_ones() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    let reports = QueueName::reports();
    let report = |n| (Address::Reports(alpha()), letter(n));
    broker.publish((0..50).map(report).collect()).await.unwrap();
    let mut consumer = broker.consume(&reports, 2).await.unwrap();
    let held = [next(&mut consumer).await, next(&mut consumer).await];
    // One publish exceeds the limit by itself: its own oldest messages are dropped, too.
    broker.publish((50..300).map(report).collect()).await.unwrap();
    assert_eq!(broker.depth(&reports).await.unwrap().ready, 98);
    held.into_iter().for_each(Delivery::release);
    consumer.close().await;
    let mut expected = vec![0, 1];
    expected.extend(202..300);
    assert_eq!(drain(&broker, &reports).await, expected);
    for n in 0..500 {
        broker.publish(vec![report(n)]).await.unwrap();
    }
    assert_eq!(broker.depth(&reports).await.unwrap().ready, 100);
    broker.close().await;
    let broker = open(dir.path()).await;
    assert_eq!(drain(&broker, &reports).await, (400..500).collect::<Vec<_>>());
    broker.close().await;
}

#[tokio::test]
async fn a_delayed_message_to_an_unknown_queue_is_unrouted_when_it_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    let start = Instant::now();
    let unknown = QueueName::outbound(&"stranger".parse().unwrap(), Priority::Normal);
    let delay = Duration::from_millis(300);
    broker.publish(vec![(Address::Later { queue: unknown, delay }, letter(1))]).await.unwrap();
    let mut consumer = broker.consume(&QueueName::unrouted(), 1).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(number(&delivery), 1);
    assert!(start.elapsed() >= delay - Duration::from_millis(5));
    broker.close().await;
}

#[tokio::test]
async fn after_a_restart_what_was_handed_out_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..10).await;
    let mut consumer = broker.consume(&queue(), 3).await.unwrap();
    next(&mut consumer).await.ack();
    next(&mut consumer).await.ack();
    let _held = next(&mut consumer).await;
    // Waits until the acks are written, and with them how far the queue was delivered.
    while broker.depth(&queue()).await.unwrap().ready != 5 {
        tokio::task::yield_now().await;
    }
    post(&broker, 10..11).await;
    broker.close().await;
    let broker = open(dir.path()).await;
    let mut consumer = broker.consume(&queue(), 20).await.unwrap();
    for n in 2..11 {
        let delivery = next(&mut consumer).await;
        assert_eq!((number(&delivery), delivery.redelivered), (n, n < 5));
        delivery.ack();
    }
    broker.close().await;
}

#[tokio::test]
async fn a_message_beyond_the_size_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    let large = Envelope { body: vec![0; 17 << 20].into(), ..letter(0) };
    let error = broker.publish(vec![(address(), letter(1)), (address(), large)]).await.unwrap_err();
    assert!(matches!(error, BrokerError::Refused(_)), "{error:?}");
    assert_eq!(broker.depth(&queue()).await.unwrap().ready, 0);
    broker.close().await;
}

#[tokio::test]
async fn an_undecodable_record_becomes_a_dead_letter_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..5).await;
    let later = Address::Later { queue: queue(), delay: Duration::from_millis(1500) };
    broker.publish(vec![(later.clone(), letter(5)), (later, letter(6))]).await.unwrap();
    broker.close().await;
    tamper(
        dir.path(),
        "UPDATE message SET body = x'727562626973680a' WHERE message_id = '2';
         UPDATE delayed SET headers = 'more rubbish' WHERE message_id = '5';",
    );
    let broker = open(dir.path()).await;
    let mut consumer = broker.consume(&queue(), 2).await.unwrap();
    for n in [0, 1, 3, 4, 6] {
        let delivery = next(&mut consumer).await;
        assert_eq!(number(&delivery), n);
        delivery.ack();
    }
    let mut dead = broker.consume(&QueueName::dead(), 5).await.unwrap();
    for (body, from) in [("rubbish\n", "postern.outbound.alpha"), ("body 5", "the delayed messages")] {
        let delivery = next(&mut dead).await;
        assert_eq!(delivery.envelope.body, body);
        assert_eq!(delivery.envelope.text_header(header::QUEUE), Some(from));
        assert!(delivery.envelope.text_header(header::REASON).unwrap().contains("cannot be decoded"));
        delivery.ack();
    }
    broker.close().await;
    let broker = open(dir.path()).await;
    assert!(drain(&broker, &queue()).await.is_empty());
    assert_eq!(broker.depth(&QueueName::dead()).await.unwrap().ready, 0);
    broker.close().await;
}

#[tokio::test]
async fn an_undecodable_record_becomes_a_dead_letter_even_if_nothing_else_happens() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..1).await;
    broker.close().await;
    tamper(dir.path(), "UPDATE message SET body = x'00'");
    let broker = open(dir.path()).await;
    let mut dead = broker.consume(&QueueName::dead(), 1).await.unwrap();
    let _finds_it = broker.consume(&queue(), 1).await.unwrap();
    let delivery = next(&mut dead).await;
    assert_eq!(delivery.envelope.text_header(header::CODE), Some("undecodable"));
    delivery.ack();
    broker.close().await;
}

/// If there is something else in place of the store, opening says what it is and what to do, and leaves it there.
#[tokio::test]
async fn what_is_no_store_of_this_version_is_refused_with_what_to_do() {
    const FILE: &str = "postern.db";
    type Change = fn(&Path);
    let cases: [(&str, Change, [&str; 2]); 8] = [
        ("newer", |dir| tamper(dir, "PRAGMA user_version = 99"), ["later version", "schema 99"]),
        (
            "another program's",
            |dir| tamper(dir, "PRAGMA application_id = 7"),
            ["another program's", "name another"],
        ),
        (
            "no database",
            |dir| std::fs::write(dir.join(FILE), "hello ".repeat(2000)).unwrap(),
            ["not a database", "restore"],
        ),
        ("empty", |dir| std::fs::write(dir.join(FILE), "").unwrap(), ["is empty", "restore"]),
        ("gone", |dir| std::fs::remove_file(dir.join(FILE)).unwrap(), ["is missing", "restore"]),
        (
            "a queue's row altered",
            |dir| tamper(dir, "UPDATE queue SET next = 9 WHERE name = 'postern.inbound'"),
            ["row of a queue", "restore"],
        ),
        (
            "a queue's row gone",
            |dir| tamper(dir, "DELETE FROM queue WHERE name = 'postern.outbound.alpha'"),
            ["row of queue", "restore"],
        ),
        (
            "an unreleased version's",
            |dir| {
                std::fs::remove_file(dir.join(FILE)).unwrap();
                std::fs::remove_file(dir.join("lock")).unwrap();
                std::fs::create_dir(dir.join("store")).unwrap();
                std::fs::write(dir.join("store/version"), "3").unwrap();
            },
            ["unreleased version", "store/"],
        ),
    ];
    for (what, change, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let broker = open(dir.path()).await;
        post(&broker, 0..1).await;
        broker.close().await;
        change(dir.path());
        let size = || std::fs::metadata(dir.path().join(FILE)).map(|file| file.len()).ok();
        let before = size();
        let error = EmbeddedBroker::open(dir.path(), options()).await.unwrap_err();
        assert!(matches!(error, BrokerError::Store { .. }), "{what}: {error:?}");
        let error = error.to_string();
        assert!(error.contains(dir.path().to_str().unwrap()), "{what}: {error}");
        expected.iter().for_each(|part| assert!(error.contains(part), "{what}: {error}"));
        assert_eq!(size(), before, "{what}: it was changed");
    }
}

/// A message that was requeued, or was held when the broker was closed, does not count as lost in a crash.
#[tokio::test]
async fn closing_with_messages_out_is_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..2).await;
    broker.close().await;
    for round in 0..4 {
        let broker = open(dir.path()).await;
        let mut consumer = broker.consume(&queue(), 1).await.unwrap();
        let released = next(&mut consumer).await;
        assert_eq!((number(&released), released.lost), (0, 0), "round {round}");
        released.release();
        let held = next(&mut consumer).await;
        assert_eq!((number(&held), held.lost), (0, 0), "round {round}");
        within(broker.close()).await;
    }
}
