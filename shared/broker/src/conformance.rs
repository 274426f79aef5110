//! The behaviour of every broker, as named cases that run against any of them.
//!
//! A [`Storage`] is what a broker keeps its messages in: a folder, a virtual host. Every case gets an
//! empty one that no other case sees, so the cases can run side by side. It opens brokers on it with the
//! topology that it needs, and closes them. [`test_each_case!`](crate::test_each_case) makes a test of
//! each case.
//!
//! The cases say what callers may rely on. They say nothing about what differs between RabbitMQ and the
//! embedded broker without mattering to callers: how exactly a limit is kept, what `redelivered` says
//! after a restart, whether `returned` counts the first requeues, when a queue's depth is up to date.

mod delays;
mod delivery;
mod leases;
mod limits;
mod log;
mod routes;

use super::{
    Address, Broker, BrokerError, BrokerStatus, Consumer, Delivery, Depth, Envelope, QueueName, Topology,
    testing,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use async_trait::async_trait;
use postern_shared::message::{BackendName, Priority};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// A place for messages that outlives the brokers opened on it: a folder, a virtual host.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Opens a broker that declares `topology`. The suite waits until it is ready, and closes it before
    /// it opens the next.
    ///
    /// # Errors
    /// The broker cannot be opened.
    async fn open(&self, topology: Topology) -> Result<Arc<dyn Broker>>;

    /// Ends `broker` as if its process crashed: no leased message is requeued first. The broker that is
    /// opened next finds the storage as the crash left it.
    ///
    /// # Errors
    /// The crash cannot be brought about.
    async fn crash(&self, broker: Arc<dyn Broker>) -> Result<()>;
}

/// Makes a test of each case. The expression makes the [`Storage`](crate::conformance::Storage) of one case.
#[macro_export]
macro_rules! test_each_case {
    ($storage:expr) => { $crate::for_each_case! { [$crate::test_each_case] $storage; } };
    ($storage:expr; $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $crate::conformance::run(stringify!($case), std::sync::Arc::new($storage)).await.unwrap();
        }
    )*};
}

/// Calls the macro in the brackets with what follows them and the names of all cases.
#[macro_export]
#[doc(hidden)]
macro_rules! for_each_case {
    ([$($each:tt)*] $($with:tt)*) => {
        $($each)*! {
            $($with)*
            messages_come_in_order_with_all_they_carry
            what_postern_notes_on_a_message_stays_with_it
            a_message_without_properties_stays_without
            a_body_of_one_mebibyte_arrives_whole
            concurrent_publishers_lose_and_double_nothing
            many_messages_in_one_publish
            nothing_to_publish_is_no_error
            a_waiting_consumer_gets_what_arrives
            two_consumers_share_a_queue
            each_address_reaches_its_queue
            an_undeclared_backend_is_unrouted
            what_is_declared_later_is_there_from_then_on
            a_queue_can_be_addressed_by_its_name
            one_publish_may_go_to_many_queues
            an_unknown_queue_is_refused
            depth_counts_what_waits_and_who_takes
            messages_outlive_the_broker
            a_queue_declared_again_keeps_its_messages
            a_closed_broker_says_so
            prefetch_bounds_what_is_unsettled
            an_acked_message_is_gone_for_good
            a_released_message_comes_again_and_says_so
            a_dropped_delivery_comes_again
            a_dropped_consumer_hands_back
            an_unsettled_message_outlives_the_broker
            closing_a_consumer_waits_for_settlement
            what_is_released_after_a_stop_goes_back_in_order
            processes_lost_with_a_message_are_counted
            what_is_released_never_counts_as_lost_too_often
            what_was_acked_or_never_out_is_not_counted
            a_delayed_message_waits_its_time
            delays_do_not_block_one_another
            a_delay_outlives_the_broker
            many_delayed_messages_all_return
            a_full_queue_refuses_and_recovers each_publish_learns_its_own_fate
            the_oldest_reports_and_callbacks_go_first
            each_consumer_of_the_log_gets_every_record
            a_queue_that_is_no_longer_declared_gives_what_it_holds
        }
    };
}

type Case = fn(Arc<dyn Storage>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

macro_rules! listed {
    ($($case:ident)*) => {
        fn case(name: &str) -> Option<Case> {
            match name {
                $(stringify!($case) => Some(|storage| Box::pin(cases::$case(storage))),)*
                _ => None,
            }
        }
    };
}
for_each_case!([listed]);

mod cases {
    pub(super) use super::{delays::*, delivery::*, leases::*, limits::*, log::*, routes::*};
}

/// Runs the case `name` on `storage`, which is empty and used by nobody else.
///
/// # Errors
/// What the broker did wrong, or that no case has this name.
pub async fn run(name: &str, storage: Arc<dyn Storage>) -> Result<()> {
    let case = case(name).with_context(|| format!("no case is called {name}"))?;
    let whole = 4 * PATIENCE;
    match tokio::time::timeout(whole, case(storage)).await {
        Ok(outcome) => outcome.with_context(|| format!("case {name}")),
        Err(_) => bail!("case {name}: not done after {whole:?}"),
    }
}

/// How long a case waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// The [`BrokerOptions::max_deliveries`](crate::BrokerOptions) with which brokers are opened for the cases.
pub const MAX_DELIVERIES: u32 = 100;
/// How long a case watches for what must not happen.
const QUIET: Duration = Duration::from_millis(400);
/// The two delays that the cases' topology declares.
const SHORT: Duration = Duration::from_millis(1000);
const LONG: Duration = Duration::from_millis(3000);

fn backend(name: &str) -> Result<BackendName> {
    Ok(name.parse()?)
}

/// Two backends, two delays, no limits that a case would meet.
fn topology() -> Result<Topology> {
    let topology = testing::topology([backend("alpha")?, backend("beta")?]);
    Ok(Topology { delays: [SHORT, LONG].into(), ..topology })
}

/// The address and the queue that most cases use.
fn alpha() -> Result<(Address, QueueName)> {
    let address = Address::Outbound(backend("alpha")?, Priority::Normal);
    let queue = address.queue();
    Ok((address, queue))
}

async fn open(storage: &Arc<dyn Storage>, topology: Topology) -> Result<Arc<dyn Broker>> {
    let broker = storage.open(topology).await.context("open")?;
    let mut status = broker.status();
    within("the broker becomes ready", status.wait_for(|now| *now == BrokerStatus::Ready)).await??;
    Ok(broker)
}

async fn open_default(storage: &Arc<dyn Storage>) -> Result<Arc<dyn Broker>> {
    open(storage, topology()?).await
}

/// The `n`th message of a case.
fn letter(n: usize) -> Envelope {
    Envelope {
        message_id: Some(format!("letter-{n}")),
        kind: Some("postern.test.v1".to_owned()),
        content_type: Some("application/json".to_owned()),
        body: format!("{{\"n\":{n}}}").into(),
        ..Envelope::default()
    }
}

/// Which [`letter`] this is.
fn number(delivery: &Delivery) -> Result<usize> {
    let id = delivery.envelope.message_id.as_deref().context("the message lost its message_id")?;
    id.strip_prefix("letter-").and_then(|n| n.parse().ok()).context("a message_id changed")
}

/// Publishes the letters of `range`, in one publish.
async fn post(
    broker: &Arc<dyn Broker>,
    address: &Address,
    range: impl IntoIterator<Item = usize>,
) -> Result<()> {
    let messages = range.into_iter().map(|n| (address.clone(), letter(n))).collect();
    within("publish", broker.publish(messages)).await?.context("publish")
}

async fn consume(broker: &Arc<dyn Broker>, queue: &QueueName, prefetch: u16) -> Result<Consumer> {
    within("consume", broker.consume(queue, prefetch)).await?.context("consume")
}

/// The next message, which must come.
async fn next(consumer: &mut Consumer) -> Result<Delivery> {
    within("a message arrives", consumer.next()).await?.context("the consumer ended")
}

/// Takes and acknowledges `count` messages. Returns their numbers, in order of arrival.
async fn take(consumer: &mut Consumer, count: usize) -> Result<Vec<usize>> {
    let mut numbers = Vec::with_capacity(count);
    for already in 0..count {
        let delivery = next(consumer).await.with_context(|| format!("after {already} of {count}"))?;
        numbers.push(number(&delivery)?);
        delivery.ack();
    }
    Ok(numbers)
}

/// Ensures that no message comes for a while.
async fn silence(consumer: &mut Consumer) -> Result<()> {
    match tokio::time::timeout(QUIET, consumer.next()).await {
        Err(_) => Ok(()),
        Ok(None) => bail!("the consumer ended"),
        Ok(Some(delivery)) => bail!("letter {} came, nothing should have", number(&delivery)?),
    }
}

async fn within<T>(what: &str, doing: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, doing).await.with_context(|| format!("not within {PATIENCE:?}: {what}"))
}

/// Asks for the depth of `queue` until `expected` holds for it.
async fn until_depth(
    broker: &Arc<dyn Broker>,
    queue: &QueueName,
    expected: impl Fn(Depth) -> bool,
) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let depth = within("depth", broker.depth(queue)).await?.context("depth")?;
        if expected(depth) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "the depth of {queue} stayed at {depth:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
