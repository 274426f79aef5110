//! Publishes on one channel and awaits the confirms of many messages at a time.
//!
//! One task owns the channel: several that publish on one lapin channel get each other's confirms.

use super::{
    endpoint::{ACCESS_REFUSED, PRECONDITION_FAILED, code},
    properties::Outgoing,
    shared::{Shared, Side},
};
use crate::broker::BrokerError;
use futures_util::{FutureExt, StreamExt, future::maybe_done, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, Error, ErrorKind, PublisherConfirm, options::BasicPublishOptions};
use std::{
    mem::take,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

/// How many messages may await their confirms at a time. Beyond, the channel gains nothing.
const IN_FLIGHT: usize = 1024;
/// How many confirms may be given up before the channel is replaced. lapin keeps a record of each
/// until its confirm arrives, which, from a queue without a majority, may be never.
const GIVEN_UP: usize = 4096;
/// How long a channel is used after the broker has refused a message on it. RabbitMQ 3 notes in the
/// channel whom to ask about a queue, and where that is a node that has just died, it refuses
/// whatever else comes for that queue, also when another node leads it. A new channel asks anew.
const REFUSING: Duration = Duration::from_secs(2);
/// The same where queues have a limit: then it is the likelier reason.
const FULL: Duration = Duration::from_secs(30);
/// How long such a channel waits for the confirms under way.
const SETTLING: Duration = Duration::from_secs(1);
/// How long confirms are awaited when the broker is closed.
const PARTING: Duration = Duration::from_secs(2);
/// How often the channel is looked at while nothing happens.
const GLANCE: Duration = Duration::from_millis(500);

/// Messages that one caller publishes together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) messages: Vec<Outgoing>,
    /// When the caller gives up.
    pub(super) deadline: Instant,
    /// Dropped unanswered where the connection is lost.
    pub(super) reply: oneshot::Sender<Result<(), BrokerError>>,
}

/// What has become of a batch.
#[derive(Debug)]
struct Landed {
    messages: usize,
    given_up: usize,
    refused: bool,
}

/// The owner of a channel.
pub(super) struct Publisher<'a> {
    shared: &'a Shared,
    channel: &'a Channel,
    flying: FuturesUnordered<Pin<Box<dyn Future<Output = Landed> + Send + 'a>>>,
    in_flight: usize,
    given_up: usize,
    /// When the broker first refused a message.
    refused: Option<Instant>,
}

impl<'a> Publisher<'a> {
    pub(super) fn new(shared: &'a Shared, channel: &'a Channel) -> Self {
        Self { shared, channel, flying: FuturesUnordered::new(), in_flight: 0, given_up: 0, refused: None }
    }

    /// Publishes until the channel fails (`false`) or the broker is to be closed (`true`).
    pub(super) async fn run(mut self, batches: &mut mpsc::Receiver<Batch>) -> bool {
        let shared = self.shared;
        let mut closed = pin!(shared.closed());
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.channel.status().connected() && self.given_up < GIVEN_UP {
            let refusing = self.refusing();
            if refusing.is_some_and(|late| late > SETTLING || self.in_flight == 0) {
                break;
            }
            tokio::select! {
                () = &mut closed => {
                    let _ = timeout(PARTING, async { while self.flying.next().await.is_some() {} }).await;
                    return true;
                }
                Some(landed) = self.flying.next() => {
                    self.count(&landed);
                    while let Some(Some(landed)) = self.flying.next().now_or_never() {
                        self.count(&landed);
                    }
                }
                Some(batch) = batches.recv(), if self.in_flight < IN_FLIGHT && refusing.is_none() => {
                    self.launch(batch).await;
                    while self.in_flight < IN_FLIGHT && let Ok(batch) = batches.try_recv() {
                        self.launch(batch).await;
                    }
                }
                _ = glances.tick() => {}
            }
        }
        // Where the channel failed, lapin fails what was in flight, and each caller learns why.
        let _ = timeout(GLANCE, async { while self.flying.next().await.is_some() {} }).await;
        false
    }

    /// For how long the channel should have been replaced, since it refuses messages.
    fn refusing(&self) -> Option<Duration> {
        let bearable = if self.shared.options.topology.max_messages.is_some() { FULL } else { REFUSING };
        self.refused.and_then(|since| since.elapsed().checked_sub(bearable))
    }

    fn count(&mut self, landed: &Landed) {
        if landed.refused {
            self.refused.get_or_insert_with(Instant::now);
        }
        self.in_flight -= landed.messages;
        self.given_up += landed.given_up;
    }

    /// Hands a batch to the channel, at once and whole, before any other.
    async fn launch(&mut self, batch: Batch) {
        if batch.reply.is_closed() {
            return;
        }
        let blocked = match &*self.shared.publishing.borrow() {
            Side::Blocked(why) => Some(why.clone()),
            _ => None,
        };
        if let Some(why) = blocked {
            let _ = batch.reply.send(Err(BrokerError::Blocked(why)));
            return;
        }
        let messages = batch.messages.len();
        let mut flight: Pin<Box<dyn Future<Output = Landed> + Send + 'a>> =
            Box::pin(fly(self.shared, self.channel, batch));
        self.in_flight += messages;
        match once(&mut flight).await {
            Poll::Ready(landed) => self.count(&landed),
            Poll::Pending => self.flying.push(flight),
        }
    }
}

/// Polls `future` once. lapin numbers a message and queues it with the first poll; whatever is
/// first polled in some order is published in that order, without waiting for the socket.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.poll_unpin(cx))).await
}

/// Publishes a batch, all of it with the first poll, and answers it.
async fn fly(shared: &Shared, channel: &Channel, batch: Batch) -> Landed {
    let Batch { mut messages, deadline, mut reply } = batch;
    let mut confirmed = 0;
    let outcome = {
        let mut all = pin!(all_of(shared, channel, &mut messages, &mut confirmed));
        tokio::select! {
            biased;
            outcome = &mut all => outcome,
            // The caller's own timer has run out, or the caller has gone before it.
            () = reply.closed() => {
                let late = BrokerError::TimedOut(shared.options.publish_timeout);
                timeout_at(deadline, all).await.unwrap_or(Err(late))
            }
        }
    };
    let refused = matches!(outcome, Err(BrokerError::Full(_) | BrokerError::Rejected(_)));
    let _ = reply.send(outcome);
    Landed { messages: messages.len(), given_up: messages.len() - confirmed, refused }
}

/// Publishes `messages` with the first poll, and counts their confirms. The first error, if any.
async fn all_of(
    shared: &Shared,
    channel: &Channel,
    messages: &mut [Outgoing],
    confirmed: &mut usize,
) -> Result<(), BrokerError> {
    if let [one] = messages {
        let outcome = publish(shared, channel, one).await;
        *confirmed = 1;
        return outcome;
    }
    let mut flights: Vec<_> =
        messages.iter_mut().map(|one| Box::pin(maybe_done(publish(shared, channel, one)))).collect();
    for flight in &mut flights {
        let _ = once(flight).await;
    }
    let mut outcome = Ok(());
    for mut flight in flights {
        flight.as_mut().await;
        *confirmed += 1;
        outcome = outcome.and(flight.as_mut().take_output().unwrap_or(Ok(())));
    }
    outcome
}

/// Publishes `message`, of which only its body and its address are left.
async fn publish(shared: &Shared, channel: &Channel, message: &mut Outgoing) -> Result<(), BrokerError> {
    let (exchange, key) = (take(&mut message.exchange), take(&mut message.routing_key));
    let (options, properties) = (BasicPublishOptions::default(), take(&mut message.properties));
    let written = channel.basic_publish(exchange, key, options, &message.body, properties).await;
    confirmation(shared, message, written).await
}

/// What the broker says to `message`.
async fn confirmation(
    shared: &Shared,
    message: &Outgoing,
    written: lapin::Result<PublisherConfirm>,
) -> Result<(), BrokerError> {
    let confirmation = match written {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    match confirmation {
        Ok(Confirmation::Ack(_)) => Ok(()),
        Ok(Confirmation::Nack(_)) => Err(nacked(shared, message)),
        Ok(Confirmation::NotRequested) => {
            Err(BrokerError::Unavailable("the channel gives no confirms".to_owned()))
        }
        Err(error) if is_too_large(&error, message.body.len()) => {
            Err(BrokerError::Refused(shared.endpoint.explain(&error)))
        }
        Err(error) => {
            let why = shared.endpoint.explain(&error);
            if code(&error) == Some(ACCESS_REFUSED) {
                shared.deny(why.clone());
            }
            Err(BrokerError::Unavailable(why))
        }
    }
}

/// Why the broker may have refused `message`: the queue's limit, if it has one, or a queue that is
/// just changing its leader.
fn nacked(shared: &Shared, message: &Outgoing) -> BrokerError {
    let queue = message.address.queue();
    match shared.options.topology.max_messages {
        Some(_) => BrokerError::Full(queue.to_string()),
        None => BrokerError::Rejected(queue.to_string()),
    }
}

/// Whether the broker closed the channel over a body of this length, `max_message_size` being less.
/// Whatever else was in flight on the channel failed with it, and is not to blame.
fn is_too_large(error: &Error, bytes: usize) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) if code(error) == Some(PRECONDITION_FAILED) => {
            refusal.get_message().as_str().contains(&format!("message size {bytes} is larger"))
        }
        _ => false,
    }
}
