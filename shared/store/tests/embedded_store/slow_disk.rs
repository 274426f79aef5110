use super::*;
use futures_util::FutureExt as _;

/// Opens a broker whose callers wait for a second.
async fn impatient(dir: &Path) -> EmbeddedBroker {
    let options = BrokerOptions { publish_timeout: Duration::from_secs(1), ..options() };
    EmbeddedBroker::open(dir, options).await.unwrap()
}

/// Holds up the broker's next write until the returned connection is dropped. After five seconds, the write would
/// fail.
fn stall(dir: &Path) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(dir.join(postern_store::FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

/// Publishes a message that nobody confirms in time.
async fn is_not_confirmed(broker: &EmbeddedBroker, to: Address, n: usize) {
    let outcome = broker.publish(vec![(to, letter(n))]).await;
    assert!(matches!(outcome, Err(BrokerError::TimedOut(_))), "{outcome:?}");
}

async fn is_confirmed_again(broker: &EmbeddedBroker, to: Address, n: usize) {
    let retried = async {
        while broker.publish(vec![(to.clone(), letter(n))]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(retried).await;
}

#[tokio::test]
async fn a_publish_that_was_not_begun_when_its_caller_gave_up_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let broker = impatient(dir.path()).await;
    let stalled = stall(dir.path());
    // The writer begins the first one, and the others wait behind it.
    is_not_confirmed(&broker, address(), 0).await;
    is_not_confirmed(&broker, address(), 1).await;
    let dropped = broker.publish(vec![(address(), letter(2))]).now_or_never();
    assert!(dropped.is_none(), "{dropped:?}");
    drop(stalled);
    within(broker.close()).await;
    let broker = open(dir.path()).await;
    assert_eq!(drain(&broker, &queue()).await, [0]);
    broker.close().await;
}

#[tokio::test]
async fn what_waits_for_the_disk_is_limited_and_beyond_that_a_publish_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = impatient(dir.path()).await;
    let stalled = stall(dir.path());
    is_not_confirmed(&broker, address(), 0).await;
    let body = bytes::Bytes::from(vec![1; 8 << 20]);
    let large = || vec![(address(), Envelope { body: body.clone(), ..letter(1) })];
    let mut outcomes = std::iter::repeat_with(|| broker.publish(large()).now_or_never()).take(100);
    let refused = outcomes.find(Option::is_some).flatten().expect("nothing limits what waits");
    assert!(matches!(&refused, Err(BrokerError::Blocked(why)) if why.contains("too slowly")), "{refused:?}");
    drop(stalled);
    // What was given up makes room as soon as the disk works.
    is_confirmed_again(&broker, address(), 2).await;
    let outcome = broker.publish(large()).now_or_never();
    assert!(outcome.is_none(), "{outcome:?}");
    broker.close().await;
}

#[tokio::test]
async fn a_command_that_was_stored_after_its_caller_gave_up_takes_effect_and_one_that_was_not_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let broker = impatient(dir.path()).await;
    let commands = QueueName::control();
    let to = Address::Queue(commands.clone());
    let mut consumer = broker.consume(&commands, 10).await.unwrap();
    let stalled = stall(dir.path());
    is_not_confirmed(&broker, to.clone(), 0).await;
    is_not_confirmed(&broker, to.clone(), 1).await;
    drop(stalled);
    assert_eq!(number(&next(&mut consumer).await), 0);
    is_confirmed_again(&broker, to, 2).await;
    assert_eq!(number(&next(&mut consumer).await), 2);
    broker.close().await;
}
