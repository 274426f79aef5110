use super::*;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

/// As a child: publishes from many tasks, with a tenth of the messages delayed, consumes and acks half of another
/// queue, and prints what was confirmed, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_publishes_until_killed() {
    let Some(dir) = child_folder() else { return };
    let broker = std::sync::Arc::new(open(&dir).await);
    let next = std::sync::Arc::new(AtomicUsize::new(std::env::var("FIRST").unwrap().parse().unwrap()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (broker, next) = (broker.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(2, Ordering::Relaxed);
                let later = Address::Later { queue: queue(), delay: Duration::from_millis(200) };
                let first = if n % 20 == 0 { later } else { address() };
                broker
                    .publish(vec![(first, letter(n)), (Address::Dead(alpha()), letter(n + 1))])
                    .await
                    .unwrap();
                writeln!(std::io::stdout().lock(), "confirmed {n}").unwrap();
            }
        });
    }
    let mut consumer = broker.consume(&QueueName::dead(), 64).await.unwrap();
    while let Some(delivery) = consumer.next().await {
        writeln!(std::io::stdout().lock(), "acked {}", number(&delivery)).unwrap();
        delivery.ack();
    }
}

#[tokio::test]
async fn what_was_confirmed_survives_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let (mut confirmed, mut acked) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..4 {
        let mut command = child("crash::child_publishes_until_killed", dir.path());
        let mut child = Child::start(command.env("FIRST", (round * 1_000_000).to_string()));
        let mut output = BufReader::new(child.0.stdout.take().unwrap());
        let enough = 1000 * (round + 1);
        let start = Instant::now();
        let mut this_round = 0;
        // The first line comes after the output of the test harness.
        let mut note = |line: &str| {
            let Some((said, n)) = line.rsplit_once(' ') else { return 0 };
            match said.rsplit(' ').next() {
                Some("confirmed") => usize::from(confirmed.insert(n.parse::<usize>().unwrap())),
                Some("acked") => {
                    acked.insert(n.parse::<usize>().unwrap());
                    0
                }
                _ => 0,
            }
        };
        while this_round < enough {
            assert!(start.elapsed() < PATIENCE, "the child confirmed {this_round} of {enough}");
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "the child ended");
            this_round += note(line.trim_end());
        }
        // SIGKILL: the child cannot clean up.
        child.0.kill().unwrap();
        // The rest of its output. A last line without its end was cut short; a complete one counts, since its
        // message may have been stored.
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).for_each(|line| {
            note(line);
        });
        child.0.wait().unwrap();
    }

    let broker = open(dir.path()).await;
    // All delays have passed, or pass now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let found = drain(&broker, &queue()).await;
    let distinct: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(found.len(), distinct.len(), "a message was doubled");
    let lost: Vec<_> = confirmed.difference(&distinct).collect();
    assert!(lost.is_empty(), "lost {} of {} confirmed messages: {lost:?}", lost.len(), confirmed.len());
    let dead: BTreeSet<_> = drain(&broker, &QueueName::dead()).await.into_iter().collect();
    let lost: Vec<_> =
        confirmed.iter().map(|n| n + 1).filter(|n| !dead.contains(n) && !acked.contains(n)).collect();
    assert!(lost.is_empty(), "lost {lost:?}, which nobody acked");
    // Either both messages of a publish are there, or none.
    let halves = dead.iter().filter(|n| !distinct.contains(&(*n - 1))).count();
    assert_eq!(halves, 0, "half a publish was stored");
    broker.close().await;
}
