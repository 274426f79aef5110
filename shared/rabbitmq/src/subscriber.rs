//! Feeds one consumer on a channel of its own, and on a new channel if that is lost.
//!
//! Acks are gathered for a millisecond, or until a quarter of what is prefetched is settled. A quorum queue
//! writes each ack to disk, and one ack can cover many messages. If the process crashes meanwhile, at most the
//! prefetched messages are delivered twice, as without gathering.

use super::{
    connections::{Connections, ConsumerConnection, Pauses, soon},
    endpoint::{NOT_FOUND, close_channel, code},
    properties::{STREAM_OFFSET, stream_offset},
    returns::{Returned, Returns, TakenDelivery},
    unsettled::{SettleFrame, Unsettled},
};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use postern_broker::{Feed, QueueName, Settle, SettleRequest};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, warn};

/// How many bits of a [`SettleRequest`]'s tag are the broker's; the others tell the channels apart.
const TAG_BITS: u32 = 48;
/// The mask of the broker's bits.
const TAG: u64 = (1 << TAG_BITS) - 1;
/// How long the broker may take to open a channel or to cancel a consumer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most settlements that are handled together.
const TOGETHER: usize = 1024;
/// How long an ack may wait for others: a quorum queue writes each ack to disk, and one for many messages costs
/// as much as one for a single message. An ack waits only while the broker has enough to deliver.
const GATHER: Duration = Duration::from_millis(1);

/// The task behind a [`Consumer`](postern_broker::Consumer).
pub(super) struct Subscriber {
    shared: Arc<Connections>,
    queue: QueueName,
    prefetch: u16,
    feed: Feed,
    /// How many deliveries the caller holds, from this channel or earlier ones.
    held: usize,
    /// The number of the channel. It tells deliveries of earlier channels apart, which the broker redelivers by
    /// itself.
    epoch: u16,
    /// The offset of the next record of a stream. `None` before the first record, and for a queue.
    next_record: Option<i64>,
    /// The deliveries that are requeued by publishing them again.
    returns: Returns,
    /// Whether the caller wants no more.
    stopping: bool,
    /// Notified when the first channel delivers.
    ready: Option<oneshot::Sender<()>>,
    _running: TaskTrackerToken,
}

/// A channel with a subscription.
struct DeliveringChannel {
    /// Held because dropping the last reference cuts the connection.
    _connection: Arc<ConsumerConnection>,
    channel: Channel,
    stream: lapin::Consumer,
    unsettled: Unsettled,
    /// The caller's decisions that the broker was not told yet.
    decided: Vec<(u64, Settle)>,
    /// Deliveries that the caller does not have yet, since it still holds earlier ones.
    waiting: VecDeque<Delivery>,
}

impl Subscriber {
    pub(super) fn new(
        returns: Returns,
        queue: QueueName,
        prefetch: u16,
        feed: Feed,
        ready: oneshot::Sender<()>,
    ) -> Self {
        let shared = Arc::clone(returns.connections());
        let _running = shared.consumer_tasks.token();
        let prefetch = prefetch.max(1);
        let (held, epoch, next_record, stopping, ready) = (0, 0, None, false, Some(ready));
        Self { shared, queue, prefetch, feed, held, epoch, next_record, returns, stopping, ready, _running }
    }

    /// Feeds the consumer until the caller wants no more and holds nothing, or the broker is closed.
    pub(super) async fn run(mut self) {
        while let Some(session) = self.opened().await {
            self.epoch = self.epoch.wrapping_add(1);
            self.ready.take();
            if !self.serve(session).await {
                break;
            }
            debug!(queue = self.queue.as_str(), "consumer lost its channel");
        }
    }

    /// Opens the next channel. `None` if none is needed any more.
    async fn opened(&mut self) -> Option<DeliveringChannel> {
        let (shared, queue) = (Arc::clone(&self.shared), self.queue.clone());
        let arguments = arguments(&queue, self.next_record);
        let mut opening = std::pin::pin!(open(&shared, &queue, self.prefetch, &arguments));
        loop {
            if self.stopping && self.held == 0 {
                return None;
            }
            tokio::select! {
                session = &mut opening, if !self.stopping => return Some(session),
                Some(settled) = self.feed.settlements.recv() => {
                    self.held -= 1;
                    self.returns.forget(settled.tag);
                }
                _ = &mut self.feed.stopped, if !self.stopping => self.stopping = true,
                () = shared.closed() => return None,
            }
        }
    }

    /// Delivers from one channel. Returns whether another one is needed.
    async fn serve(&mut self, mut session: DeliveringChannel) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut closed = std::pin::pin!(shared.closed());
        let mut gathered = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                _told = &mut self.feed.stopped, if !self.stopping => {
                    self.stopping = true;
                    session.settle();
                    session.cancel().await;
                }
                () = &mut closed => {
                    self.settle_rest(&mut session, &mut batch);
                    close_channel(&session.channel).await;
                    return false;
                }
                () = &mut gathered, if !session.decided.is_empty() => session.settle(),
                _ = self.feed.settlements.recv_many(&mut batch, TOGETHER) => {
                    if session.decided.is_empty() {
                        gathered.as_mut().reset(Instant::now() + GATHER);
                    }
                    self.hear(&mut session, &mut batch);
                }
                Some(returned) = self.returns.next(), if !self.returns.is_idle() => {
                    self.returned(&mut session, returned);
                    session.until_heard(self.prefetch).await;
                }
                delivery = session.stream.next(), if !self.stopping => match delivery {
                    Some(Ok(delivery)) => session.take(delivery),
                    // The queue was deleted, the consumer cancelled, the channel closed, or the connection lost.
                    Some(Err(_)) | None => {
                        close_channel(&session.channel).await;
                        return true;
                    }
                },
            }
            self.pass_on(&mut session);
            if self.stopping && self.held == 0 && self.returns.is_idle() {
                // The broker handles the acks before the close.
                close_channel(&session.channel).await;
                return false;
            }
        }
    }

    /// Hands deliveries to the caller as far as it has room, unless something is being published again: a message
    /// that crashed the process meanwhile would duplicate that. At the end it hands over everything, since what
    /// the caller has no room for comes back as a requeue, behind what it requeued before.
    fn pass_on(&mut self, session: &mut DeliveringChannel) {
        while (self.stopping || self.held < usize::from(self.prefetch) && self.returns.is_idle())
            && let Some(delivery) = session.waiting.pop_front()
        {
            let tag = u64::from(self.epoch) << TAG_BITS | delivery.delivery_tag;
            if let Some(place) = stream_offset(&delivery) {
                self.next_record = Some(place + 1);
            }
            match self.returns.take(tag, delivery) {
                Some(taken) => self.hand_over(taken),
                None => self.returns.publish(),
            }
        }
    }

    fn hand_over(&mut self, TakenDelivery { tag, envelope, redelivered, lost }: TakenDelivery) {
        self.held += 1;
        // If the caller is gone, the delivery comes back as a requeue.
        let _ = self.feed.deliver(tag, envelope, redelivered, lost);
    }

    /// Handles the outcome of deliveries that were published again.
    fn returned(&mut self, session: &mut DeliveringChannel, returned: Vec<Returned>) {
        for one in returned {
            match one {
                Returned::Settled(tag, settle) if self.is_own(tag) => {
                    session.decided.push((tag & TAG, settle));
                }
                Returned::Kept(taken) if self.is_own(taken.tag) => self.hand_over(taken),
                // It is of an earlier channel: the broker redelivers it by itself.
                Returned::Settled(..) | Returned::Kept(_) => {}
            }
        }
        session.settle();
    }

    /// Whether `tag` belongs to the present channel.
    fn is_own(&self, tag: u64) -> bool {
        tag >> TAG_BITS == u64::from(self.epoch)
    }

    /// Records what the caller decided, and tells the broker unless that can wait.
    fn hear(&mut self, session: &mut DeliveringChannel, batch: &mut Vec<SettleRequest>) {
        self.held -= batch.len();
        for SettleRequest { tag, settle } in batch.drain(..) {
            if !self.is_own(tag) {
                self.returns.forget(tag);
            } else if let Some(settle) = self.returns.settle(tag, settle) {
                session.decided.push((tag & TAG, settle));
            }
        }
        self.returns.publish();
        let enough = session.decided.len() * 4 >= usize::from(self.prefetch);
        if enough || self.stopping || session.decided.iter().any(|(_, settle)| *settle == Settle::Requeue) {
            session.settle();
        }
    }

    /// Records everything that the caller has decided up to now, and tells the broker.
    fn settle_rest(&mut self, session: &mut DeliveringChannel, batch: &mut Vec<SettleRequest>) {
        while let Ok(settlement) = self.feed.settlements.try_recv() {
            batch.push(settlement);
        }
        self.hear(session, batch);
        session.settle();
    }
}

impl DeliveringChannel {
    fn take(&mut self, delivery: Delivery) {
        self.unsettled.delivered(delivery.delivery_tag);
        self.waiting.push_back(delivery);
    }

    /// Tells the broker what was decided.
    fn settle(&mut self) {
        for frame in self.unsettled.settle(std::mem::take(&mut self.decided)) {
            // lapin queues a frame with the first poll. There is nothing to wait for: no answer
            // comes, and if the channel is gone, the deliveries are no longer ours.
            let _ = match frame {
                SettleFrame::Ack(tag) => {
                    self.channel.basic_ack(tag, BasicAckOptions { multiple: false }).now_or_never()
                }
                SettleFrame::AckUpTo(tag) => {
                    self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).now_or_never()
                }
                SettleFrame::Nack(tag) => {
                    let requeue = BasicNackOptions { multiple: false, requeue: true };
                    self.channel.basic_nack(tag, requeue).now_or_never()
                }
            };
        }
    }

    /// Waits until the broker has handled what it was told: it answers this request, and handles a channel's
    /// frames in order. A message that crashes the process next then duplicates nothing that was published
    /// again.
    async fn until_heard(&self, prefetch: u16) {
        let _ = soon(PATIENCE, self.channel.basic_qos(prefetch, BasicQosOptions::default())).await;
    }

    /// Cancels the subscription, and takes what was delivered until then.
    async fn cancel(&mut self) {
        let tag = self.stream.tag();
        if soon(PATIENCE, self.channel.basic_cancel(tag, BasicCancelOptions::default())).await.is_ok() {
            while let Ok(Some(Ok(delivery))) = tokio::time::timeout(PATIENCE, self.stream.next()).await {
                self.take(delivery);
            }
        }
    }
}

/// The further arguments of a subscription to `queue`. For a stream: the record to begin with, which is
/// `next_record` or else the first that there is.
fn arguments(queue: &QueueName, next_record: Option<i64>) -> FieldTable {
    let mut arguments = FieldTable::default();
    if queue.is_stream() {
        let first = || AMQPValue::LongString("first".into());
        arguments.insert(STREAM_OFFSET.into(), next_record.map_or_else(first, AMQPValue::LongLongInt));
    }
    arguments
}

/// Opens a channel and subscribes, retrying until that succeeds.
async fn open(
    shared: &Connections,
    queue: &QueueName,
    prefetch: u16,
    arguments: &FieldTable,
) -> DeliveringChannel {
    let mut connections = shared.consumer_connection.subscribe();
    let mut pauses = Pauses::new();
    loop {
        let connection =
            connections.wait_for(Option::is_some).await.ok().and_then(|connection| connection.clone());
        if let Some(connection) = connection {
            match subscribe(shared, &connection, (queue, arguments), prefetch).await {
                Ok((channel, stream)) => {
                    let (unsettled, waiting) = (Unsettled::default(), VecDeque::new());
                    return DeliveringChannel {
                        _connection: connection,
                        channel,
                        stream,
                        unsettled,
                        decided: Vec::new(),
                        waiting,
                    };
                }
                Err(error) => {
                    warn!(
                        queue = queue.as_str(),
                        error = shared.endpoint.explain(&error),
                        "cannot consume, retrying"
                    );
                    if code(&error) == Some(NOT_FOUND)
                        && let Err(error) = shared.restore(&connection.link).await
                    {
                        warn!(
                            queue = queue.as_str(),
                            error = shared.endpoint.explain(&error),
                            "queue not declared, retrying"
                        );
                    }
                }
            }
        }
        pauses.pause().await;
    }
}

async fn subscribe(
    shared: &Connections,
    connection: &ConsumerConnection,
    (queue, arguments): (&QueueName, &FieldTable),
    prefetch: u16,
) -> lapin::Result<(Channel, lapin::Consumer)> {
    let channel = connection.link.channel().await?;
    let unfinished = UnfinishedChannel(Some(channel.clone()));
    let name = shared.name(queue.as_str());
    let consuming = async {
        channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions::default();
        channel.basic_consume(queue.as_str().into(), name, options, arguments.clone()).await
    };
    let stream = soon(PATIENCE, consuming).await;
    match stream {
        Ok(stream) => {
            unfinished.finish();
            Ok((channel, stream))
        }
        Err(error) => {
            close_channel(&channel).await;
            unfinished.finish();
            Err(error)
        }
    }
}

/// Closes its channel if it is dropped before the subscription is known, as when the caller stops meanwhile.
/// lapin keeps a channel open on which a consumer is registered: without this, the broker would deliver messages to
/// a consumer that nobody reads, and hold them until the connection ends.
struct UnfinishedChannel(Option<Channel>);

impl UnfinishedChannel {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for UnfinishedChannel {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            tokio::spawn(async move { close_channel(&channel).await });
        }
    }
}
