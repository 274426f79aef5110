//! What the embedded broker promises beyond the suite: locks, exact limits, and behaviour with damage, a full or
//! slow disk, or a killed process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "it starts itself once more, to be killed or given no disk")]

mod browse;
mod crash;
mod damage;
mod full_disk;
mod promises;
mod slow_disk;

use postern_broker::{
    Address, Broker, BrokerError, BrokerOptions, BrokerStatus, Consumer, Delivery, Envelope, QueueName,
    Topology, testing,
};
use postern_shared::message::{BackendName, Priority};
use postern_store::embedded::EmbeddedBroker;
use std::{future::Future, path::Path, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

fn alpha() -> BackendName {
    "alpha".parse().unwrap()
}

fn address() -> Address {
    Address::Outbound(alpha(), Priority::Normal)
}

fn queue() -> QueueName {
    address().queue()
}

fn options() -> BrokerOptions {
    let topology = Topology { max_reports: 100, ..testing::topology([alpha()]) };
    BrokerOptions { publish_timeout: PATIENCE, ..testing::options(topology) }
}

async fn open(dir: &Path) -> EmbeddedBroker {
    EmbeddedBroker::open(dir, options()).await.unwrap()
}

fn letter(n: usize) -> Envelope {
    Envelope { message_id: Some(n.to_string()), body: format!("body {n}").into(), ..Envelope::default() }
}

fn number(delivery: &Delivery) -> usize {
    delivery.envelope.message_id.as_deref().unwrap().parse().unwrap()
}

async fn post(broker: &EmbeddedBroker, range: std::ops::Range<usize>) {
    broker.publish(range.map(|n| (address(), letter(n))).collect()).await.unwrap();
}

async fn within<T>(doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, doing).await.expect("nothing happened in time")
}

async fn next(consumer: &mut Consumer) -> Delivery {
    within(consumer.next()).await.expect("the consumer ended")
}

/// Consumes and acks all messages that wait in `queue`.
async fn drain(broker: &EmbeddedBroker, queue: &QueueName) -> Vec<usize> {
    let mut consumer = broker.consume(queue, 100).await.unwrap();
    let mut numbers = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(300), consumer.next()).await {
            Ok(Some(delivery)) => {
                numbers.push(number(&delivery));
                delivery.ack();
            }
            Ok(None) => panic!("the consumer ended"),
            Err(_) if broker.depth(queue).await.unwrap().ready == 0 => break,
            Err(_) => {}
        }
    }
    within(consumer.close()).await;
    numbers
}

async fn until_status(broker: &EmbeddedBroker, expected: impl FnMut(&BrokerStatus) -> bool) -> BrokerStatus {
    within(broker.status().wait_for(expected)).await.unwrap().clone()
}

/// Runs `sql` on the file of a closed broker.
fn tamper(dir: &Path, sql: &str) {
    rusqlite::Connection::open(dir.join(postern_store::FILE)).unwrap().execute_batch(sql).unwrap();
}

/// A command that starts this test binary again to run only `test` (which does nothing without the variable) in a
/// process that can be limited and killed. The process ignores the signal about too large files.
fn child(test: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("POSTERN_TEST_CHILD", dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    command
}

/// The folder that a [`child`] is to use.
fn child_folder() -> Option<std::path::PathBuf> {
    std::env::var_os("POSTERN_TEST_CHILD").map(Into::into)
}

/// A process that is killed when its test ends, even if the test fails.
struct Child(std::process::Child);

impl Child {
    fn start(command: &mut std::process::Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
