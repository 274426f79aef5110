//! The spool in front of a broker in memory that the tests control.

use super::*;
use postern_broker::{HeaderValue, header, memory::MemoryBroker};
use postern_shared::message::Priority;
use std::{os::unix::fs::PermissionsExt as _, path::Path};

/// The broker in memory, which can be made unavailable.
fn broker() -> Arc<MemoryBroker> {
    Arc::default()
}

fn goes(broker: &MemoryBroker) {
    broker.status.send_replace(BrokerStatus::Connecting("no route".to_owned()));
}

fn comes_back(broker: &MemoryBroker) {
    broker.status.send_replace(BrokerStatus::Ready);
}

/// The names of the messages that the broker got since the last call.
fn taken(broker: &MemoryBroker) -> Vec<String> {
    broker.take().iter().map(|(_, envelope)| name(envelope)).collect()
}

const PATIENCE: Duration = Duration::from_secs(30);

fn options(dir: &Path) -> SpoolOptions {
    SpoolOptions {
        dir: dir.to_owned(),
        limits: SpoolLimits { messages: 10, bytes: 100_000 },
        backends: ["a".parse().unwrap(), "b".parse().unwrap()].into(),
        publish_timeout: PATIENCE,
        min_free_disk: 0,
    }
}

async fn open(dir: &Path, broker: &Arc<MemoryBroker>) -> Spool {
    Spool::open(options(dir), broker.clone()).await.unwrap()
}

fn inbound() -> Address {
    Address::Inbound("a".parse().unwrap())
}

fn outbound() -> Address {
    Address::Outbound("b".parse().unwrap(), Priority::Bulk)
}

fn letter(name: &str) -> Envelope {
    let id = Some(name.to_owned());
    Envelope { message_id: id, body: name.to_owned().into(), ..Envelope::default() }.with("traceparent", "00")
}

fn name(envelope: &Envelope) -> String {
    envelope.message_id.clone().unwrap_or_else(|| "-".to_owned())
}

async fn post(spool: &Spool, address: Address, name: &str) -> Result<(), BrokerError> {
    spool.publish(vec![(address, letter(name))]).await
}

/// Waits until the spool holds this many messages.
async fn holds(spool: &Spool, messages: u64) {
    let mut usage = spool.0.usage.watch();
    let reached = usage.wait_for(|usage| usage.messages == messages);
    let reached = tokio::time::timeout(PATIENCE, reached).await.map(|usage| usage.map(|usage| usage.bytes));
    let bytes = reached.unwrap_or_else(|_| panic!("{:?}", spool.figures())).unwrap();
    assert_eq!(bytes == 0, messages == 0, "the bytes are counted as the messages are");
}

#[tokio::test]
async fn while_all_is_well_nothing_is_stored() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    let spool = open(dir.path(), &broker).await;
    post(&spool, inbound(), "1").await.unwrap();
    broker.answer(|_| Err(BrokerError::Full("its queue".to_owned())));
    assert!(matches!(post(&spool, inbound(), "2").await, Err(BrokerError::Full(_))), "slow down");
    broker.answer(|_| Err(BrokerError::Refused("never".to_owned())));
    assert!(matches!(post(&spool, inbound(), "3").await, Err(BrokerError::Refused(_))));
    assert_eq!((spool.figures(), taken(&broker)), (Figures::default(), vec!["1".to_owned()]));
    spool.close().await;
    assert!(matches!(post(&spool, inbound(), "4").await, Err(BrokerError::Closed)));
}

#[tokio::test]
async fn what_was_stored_is_forwarded_as_it_was_in_order_also_by_the_next_process() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let spool = open(dir.path(), &broker).await;
    for n in 0..4 {
        post(&spool, inbound(), &format!("in {n}")).await.unwrap();
        post(&spool, outbound(), &format!("out {n}")).await.unwrap();
    }
    let figures = spool.figures();
    assert_eq!((figures.usage.messages, figures.stored), (8, 8));
    assert!(matches!(&*spool.status().borrow(), BrokerStatus::Spooling(why) if why.contains("no route")));
    let bytes = figures.usage.bytes;
    spool.close().await;

    let spool = open(dir.path(), &broker).await;
    assert_eq!((spool.figures().usage.messages, spool.figures().usage.bytes), (8, bytes));
    let oldest = async {
        while spool.figures().oldest.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, oldest).await.unwrap();
    post(&spool, inbound(), "in 4").await.unwrap();
    assert!(taken(&broker).is_empty());
    comes_back(&broker);
    holds(&spool, 0).await;
    let taken = broker.take();
    for (address, prefix, count) in [(inbound(), "in", 5), (outbound(), "out", 4)] {
        let its: Vec<_> =
            taken.iter().filter(|(to, _)| *to == address).map(|(_, envelope)| envelope).collect();
        let expected: Vec<_> = (0..count).map(|n| letter(&format!("{prefix} {n}"))).collect();
        assert_eq!(its, expected.iter().collect::<Vec<_>>());
    }
    assert_eq!((spool.figures().forwarded, spool.figures().oldest), (9, None));
    spool.close().await;
}

#[tokio::test]
async fn what_is_for_the_message_log_alone_is_stored_and_forwarded_too() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let spool = open(dir.path(), &broker).await;
    let both = vec![(outbound(), letter("message")), (Address::Log, letter("event"))];
    spool.publish(both.clone()).await.unwrap();
    assert_eq!(spool.figures().usage.messages, 2);
    spool.close().await;
    let spool = open(dir.path(), &broker).await;
    comes_back(&broker);
    holds(&spool, 0).await;
    let mut taken = broker.take();
    taken.sort_by_key(|(address, _)| *address == Address::Log);
    assert_eq!(taken, both);
    spool.close().await;
}

#[tokio::test]
async fn what_comes_later_goes_behind_until_the_queue_is_drained_and_other_queues_are_free() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    let spool = open(dir.path(), &broker).await;
    // One queue confirms nothing, the other works.
    broker.answer(|messages| match messages[0].0 {
        Address::Inbound(_) => Err(BrokerError::TimedOut(Duration::from_secs(5))),
        _ => Ok(()),
    });
    post(&spool, inbound(), "1").await.unwrap();
    post(&spool, inbound(), "2").await.unwrap();
    post(&spool, outbound(), "other").await.unwrap();
    assert_eq!(taken(&broker), ["other"]);
    assert_eq!(*spool.status().borrow(), BrokerStatus::Ready);
    broker.answer(|_| Ok(()));
    post(&spool, inbound(), "3").await.unwrap();
    holds(&spool, 0).await;
    post(&spool, inbound(), "4").await.unwrap();
    assert_eq!(taken(&broker), ["1", "2", "3", "4"]);
    assert_eq!(spool.figures().stored, 3, "the last went the direct way");
    spool.close().await;
}

#[tokio::test]
async fn a_publish_under_way_does_not_wait_for_a_broker_that_goes() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    let spool = Arc::new(open(dir.path(), &broker).await);
    broker.held.send_replace(true);
    let publishing = tokio::spawn({
        let spool = Arc::clone(&spool);
        async move { post(&spool, inbound(), "1").await }
    });
    broker.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    broker.status.send_replace(BrokerStatus::Blocked("memory".to_owned()));
    tokio::time::timeout(PATIENCE / 2, publishing).await.expect("it hangs").unwrap().unwrap();
    assert_eq!(spool.figures().usage.messages, 1);
    spool.close().await;
}

#[tokio::test]
async fn a_full_spool_refuses_whole_publishes_and_takes_again_when_there_is_room() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let spool = open(dir.path(), &broker).await;
    let many = |names: std::ops::Range<usize>| {
        names.map(|n| (inbound(), letter(&n.to_string()))).collect::<Vec<_>>()
    };
    spool.publish(many(0..8)).await.unwrap();
    let refused = spool.publish(many(8..11)).await.unwrap_err().to_string();
    assert!(refused.contains("no route") && refused.contains("ingress.spool.max_messages"), "{refused}");
    let problem = async {
        let mut status = spool.status();
        status.wait_for(|status| status.problem().is_some()).await.unwrap().clone()
    };
    let problem = tokio::time::timeout(PATIENCE, problem).await.unwrap().problem().unwrap();
    assert!(problem.contains("no route") && problem.contains("is full"), "{problem}");
    spool.publish(many(8..10)).await.unwrap();
    let large = Envelope { body: vec![b'x'; 100_000].into(), ..letter("large") };
    let refused = spool.publish(vec![(outbound(), large)]).await.unwrap_err().to_string();
    assert!(refused.contains("max_messages"), "{refused}");
    assert_eq!((spool.figures().refused, spool.figures().usage.messages), (4, 10));
    comes_back(&broker);
    holds(&spool, 0).await;
    goes(&broker);
    let large = Envelope { body: vec![b'x'; 100_000].into(), ..letter("large") };
    let refused = spool.publish(vec![(outbound(), large)]).await.unwrap_err().to_string();
    assert!(refused.contains("ingress.spool.max_bytes"), "{refused}");
    post(&spool, inbound(), "again").await.unwrap();
    spool.close().await;
}

#[tokio::test]
async fn a_queue_at_its_limit_refuses_here_too_and_holds_up_nobody_else() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let roomy =
        SpoolOptions { limits: SpoolLimits { messages: 1_000_000, bytes: 1 << 30 }, ..options(dir.path()) };
    let spool = Spool::open(roomy, broker.clone()).await.unwrap();
    post(&spool, inbound(), "1").await.unwrap();
    broker.answer(|messages| match messages[0].0 {
        Address::Inbound(_) => Err(BrokerError::Full("postern.inbound".to_owned())),
        _ => Ok(()),
    });
    comes_back(&broker);
    let full = async {
        while post(&spool, inbound(), "more").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.unwrap();
    assert!(!spool.figures().usage.full, "it is the queue that is full");
    post(&spool, outbound(), "other").await.unwrap();
    assert_eq!(taken(&broker), ["other"]);
    broker.answer(|_| Ok(()));
    holds(&spool, 0).await;
    assert_eq!(taken(&broker)[0], "1");
    spool.close().await;
}

#[tokio::test]
async fn a_message_that_is_refused_for_ever_becomes_a_dead_letter_and_the_others_go_on() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let spool = open(dir.path(), &broker).await;
    for name in ["1", "2", "poison", "3", "venom", "4"] {
        post(&spool, inbound(), name).await.unwrap();
    }
    // One message is refused by its own queue, the other also as a dead letter.
    broker.answer(|messages| {
        let refused = |(address, envelope): &(Address, Envelope)| {
            let poison = name(envelope) == "poison" && matches!(address, Address::Inbound(_));
            poison || &envelope.body[..] == b"venom"
        };
        match messages.iter().any(refused) {
            true => Err(BrokerError::Refused("not this one".to_owned())),
            false => Ok(()),
        }
    });
    comes_back(&broker);
    holds(&spool, 0).await;
    let taken = broker.take();
    let names: Vec<_> = taken.iter().map(|(_, envelope)| name(envelope)).collect();
    assert_eq!(names, ["1", "2", "poison", "3", "4"]);
    let (address, dead) = &taken[2];
    assert_eq!(*address, Address::Dead("a".parse().unwrap()));
    assert_eq!(dead.body, letter("poison").body);
    for (name, value) in [
        (header::QUEUE, "postern.inbound"),
        (header::CLASS, "permanent"),
        (header::CODE, "refused_by_broker"),
        ("traceparent", "00"),
    ] {
        assert_eq!(dead.headers.get(name), Some(&HeaderValue::from(value)));
    }
    assert!(dead.text_header(header::REASON).unwrap().contains("not this one"));
    assert!(dead.text_header(header::DEAD_AT).unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!((spool.figures().dead, spool.figures().forwarded), (2, 4));
    let refused = dir.path().join("refused");
    let mode = std::fs::metadata(&refused).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "for this user only");
    let kept: Vec<_> = std::fs::read_dir(refused).unwrap().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read(kept[0].as_ref().unwrap().path()).unwrap(), b"venom");
    spool.close().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_forwarded_as_a_dead_letter() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let spool = open(dir.path(), &broker).await;
    post(&spool, inbound(), "1").await.unwrap();
    spool.close().await;
    let file = rusqlite::Connection::open(dir.path().join(crate::FILE)).unwrap();
    file.execute_batch("UPDATE message SET body = x'00'").unwrap();
    drop(file);
    let spool = open(dir.path(), &broker).await;
    comes_back(&broker);
    holds(&spool, 0).await;
    let taken = broker.take();
    let [(Address::Dead(_), dead)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(dead.text_header(header::CODE), Some("undecodable"));
    spool.close().await;
}

#[tokio::test]
async fn messages_of_a_backend_that_is_no_longer_configured_are_forwarded() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let spool = open(dir.path(), &broker).await;
    post(&spool, outbound(), "1").await.unwrap();
    spool.close().await;
    let fewer = SpoolOptions { backends: ["a".parse().unwrap()].into(), ..options(dir.path()) };
    let spool = Spool::open(fewer, broker.clone()).await.unwrap();
    // A message to a backend that never existed.
    post(&spool, Address::Outbound("z".parse().unwrap(), Priority::Normal), "2").await.unwrap();
    comes_back(&broker);
    holds(&spool, 0).await;
    let mut taken = taken(&broker);
    taken.sort_unstable();
    assert_eq!(taken, ["1", "2"]);
    spool.close().await;
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_no_place_and_the_broker_still_is() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    let full = SpoolOptions { min_free_disk: u64::MAX, ..options(dir.path()) };
    let spool = Spool::open(full, broker.clone()).await.unwrap();
    post(&spool, inbound(), "1").await.unwrap();
    goes(&broker);
    let refused = post(&spool, inbound(), "2").await.unwrap_err().to_string();
    assert!(refused.contains("no route") && refused.contains("bytes free"), "{refused}");
    let figures = spool.figures();
    assert_eq!((figures.usage.messages, figures.usage.bytes, figures.refused), (0, 0, 1));
    comes_back(&broker);
    post(&spool, inbound(), "3").await.unwrap();
    assert_eq!(taken(&broker), ["1", "3"]);
    spool.close().await;
}

#[tokio::test]
async fn what_the_disk_had_not_begun_when_the_caller_gave_up_is_not_spooled() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    goes(&broker);
    let impatient = SpoolOptions { publish_timeout: Duration::from_secs(1), ..options(dir.path()) };
    let spool = Spool::open(impatient, broker.clone()).await.unwrap();
    // The first write waits until the other connection is dropped, and the second one waits behind it.
    let other = rusqlite::Connection::open(dir.path().join(crate::FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for name in ["1", "2"] {
        let outcome = post(&spool, inbound(), name).await;
        assert!(matches!(outcome, Err(BrokerError::TimedOut(_))), "{outcome:?}");
    }
    drop(other);
    holds(&spool, 1).await;
    comes_back(&broker);
    holds(&spool, 0).await;
    assert_eq!(taken(&broker), ["1"]);
    spool.close().await;
}

#[tokio::test]
async fn a_folder_is_for_one_spool_at_a_time() {
    let (dir, broker) = (tempfile::tempdir().unwrap(), broker());
    let spool = open(dir.path(), &broker).await;
    let second = Spool::open(options(dir.path()), broker.clone()).await;
    assert!(matches!(second, Err(BrokerError::Locked { .. })), "{second:?}");
    spool.close().await;
    open(dir.path(), &broker).await.close().await;
}
