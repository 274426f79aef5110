use super::*;
use postern_broker::Replacement;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::Command,
};

/// The number of a message that is never stored.
const NEVER: usize = 1_000_000;

fn say(what: &str) {
    writeln!(std::io::stdout().lock(), "child: {what}").unwrap();
}

/// As a child: publishes until writing fails, waits until it works again, and checks that every confirmed
/// message is there. Meanwhile, the parent limits the size of the child's files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_meets_a_full_disk() {
    let Some(dir) = child_folder() else { return };
    let broker = open(&dir).await;
    post(&broker, 0..10).await;
    let mut consumer = broker.consume(&queue(), 2).await.unwrap();
    let held = [next(&mut consumer).await, next(&mut consumer).await];
    say("open");
    // Until the parent has answered.
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();

    let mut confirmed: BTreeSet<usize> = (0..10).collect();
    let mut refused = 0;
    let mut n = 10;
    while refused < 20 {
        let messages: Vec<_> = (n..n + 8)
            .map(|n| (address(), Envelope { body: vec![n as u8; 50_000].into(), ..letter(n) }))
            .collect();
        match broker.publish(messages).await {
            Ok(()) => confirmed.extend(n..n + 8),
            Err(BrokerError::Blocked(why)) => {
                assert!(why.contains("cannot be written") && why.contains(dir.to_str().unwrap()), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
        n += 8;
        assert!(n < 10_000, "the limit was never met");
    }
    let status = broker.status().borrow().clone();
    assert!(matches!(&status, BrokerStatus::Blocked(why) if why.contains("cannot be written")), "{status:?}");
    // If a replacement cannot be stored, the message stays.
    let mut look = broker.browse(&queue(), &[]).await.unwrap().unwrap();
    let message = look.next().await.unwrap().unwrap();
    let large = Envelope { body: vec![1; 2 << 20].into(), ..letter(NEVER) };
    let replacement = Replacement { number: message.number, messages: vec![(address(), large)] };
    let refused = look.replace(vec![replacement]).await;
    assert!(matches!(refused, Err(BrokerError::Blocked(_))), "{refused:?}");
    drop(look);
    // Two messages are settled while nothing can be written: one is acked, the other requeued.
    let [first, second] = held;
    first.ack();
    second.release();
    confirmed.remove(&0);
    say("full");

    until_status(&broker, |status| *status == BrokerStatus::Ready).await;
    post(&broker, n..n + 1).await;
    confirmed.insert(n);
    let mut found = BTreeSet::new();
    while !found.is_superset(&confirmed) {
        let delivery = next(&mut consumer).await;
        assert!(found.insert(number(&delivery)), "{} came twice", number(&delivery));
        delivery.ack();
    }
    assert!(!found.contains(&0), "an acked message came again");
    assert!(!found.contains(&NEVER), "what was refused came");
    within(consumer.close()).await;
    broker.close().await;

    // A refused message may be there once; an acked one may not.
    let broker = open(&dir).await;
    let left = drain(&broker, &queue()).await;
    assert!(left.iter().all(|n| !confirmed.contains(n) && *n != 0), "{left:?}");
    broker.close().await;
    say("done");
}

#[test]
fn a_write_that_fails_is_reported_and_it_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Child::start(&mut child("full_disk::child_meets_a_full_disk", dir.path()));
    let id = child.0.id().to_string();
    let limit = |bytes: &str| {
        let outcome = Command::new("prlimit")
            .args(["--pid", &id, &format!("--fsize={bytes}:unlimited")])
            .status()
            .expect("prlimit of util-linux");
        assert!(outcome.success());
    };
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut until = |what: &str| {
        let expected = format!("child: {what}");
        assert!(lines.any(|line| line.unwrap().ends_with(&expected)), "the child failed before \"{what}\"");
    };
    until("open");
    // Writes beyond 1 MiB of any file fail from now on: a journal grows to more.
    limit("1048576");
    child.0.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    until("full");
    limit("unlimited");
    until("done");
    assert!(child.0.wait().unwrap().success());
}

fn free(path: &Path) -> u64 {
    let system = rustix::fs::statvfs(path).unwrap();
    system.f_bavail * system.f_frsize
}

#[tokio::test]
async fn below_the_kept_space_only_publishing_stops() {
    const SPARE: u64 = 12 << 20;
    // In memory if possible: hardly anything else takes space there.
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() && free(shm) > 4 * SPARE { shm.to_owned() } else { std::env::temp_dir() };
    // What another run of this test writes there would count as this one's.
    let alone = std::fs::File::open(&place).unwrap();
    alone.lock().unwrap();
    let dir = tempfile::tempdir_in(&place).unwrap();
    let min_free_disk = free(dir.path()) - SPARE;
    let broker =
        EmbeddedBroker::open(dir.path(), BrokerOptions { min_free_disk, ..options() }).await.unwrap();
    let mut consumer = broker.consume(&queue(), 1).await.unwrap();
    let stored = async |n| {
        while let Err(error) = broker.publish(vec![(address(), letter(n))]).await {
            assert!(matches!(error, BrokerError::Blocked(_)), "{error:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(stored(0)).await;
    within(stored(1)).await;
    let later = Address::Later { queue: queue(), delay: Duration::from_millis(600) };
    within(async { while broker.publish(vec![(later.clone(), letter(2))]).await.is_err() {} }).await;

    let filler = dir.path().join("filler");
    std::fs::write(&filler, vec![1; 2 * SPARE as usize]).unwrap();
    let refused = within(async {
        loop {
            match broker.publish(vec![(Address::Dead(alpha()), letter(9))]).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(refused) => break refused,
            }
        }
    })
    .await;
    assert!(matches!(&refused, BrokerError::Blocked(why) if why.contains("free some space")), "{refused:?}");
    until_status(&broker, |status| matches!(status, BrokerStatus::Blocked(_))).await;
    // Consuming, acking and the return of delayed messages go on.
    for n in 0..3 {
        let delivery = next(&mut consumer).await;
        assert_eq!(number(&delivery), n);
        delivery.ack();
    }

    std::fs::remove_file(&filler).unwrap();
    until_status(&broker, |status| *status == BrokerStatus::Ready).await;
    within(stored(3)).await;
    assert_eq!(number(&next(&mut consumer).await), 3);
    broker.close().await;
}
