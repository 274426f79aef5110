//! Publishes on one channel and awaits the confirms of many messages at a time.
//!
//! The task that has a message publishes it, on its own thread, and holds a lock while the message is numbered
//! and queued: lapin does that in two steps, and threads that shared a channel without the lock would get
//! each other's confirms. A task that owned the channel would cost two more turns of the scheduler for each
//! message.

use super::{
    connections::{ConnectionState, Connections},
    endpoint::{ACCESS_REFUSED, PRECONDITION_FAILED, code},
    properties::Outgoing,
};
use futures_util::{FutureExt, future::maybe_done};
use lapin::{Channel, Confirmation, Error, ErrorKind, PublisherConfirm, options::BasicPublishOptions};
use postern_broker::BrokerError;
use std::{
    mem::take,
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

/// How many messages may await their confirms at a time. More do not make the channel faster.
const IN_FLIGHT: u32 = 1024;
/// How many confirms may be given up before the channel is replaced. lapin keeps a record of each
/// until its confirm arrives. If a queue has no majority, that may be never.
const GIVEN_UP: usize = 4096;
/// How long a channel is used after the broker has refused a message on it. In RabbitMQ 3, a channel remembers
/// which node leads a queue. If that node has just died, the channel refuses all further messages for the
/// queue, even after another node has taken over. A new channel looks the leader up again.
const REFUSING: Duration = Duration::from_secs(2);
/// The same time if queues have a limit: then a full queue is the likelier reason of a refusal.
const FULL: Duration = Duration::from_secs(30);
/// How long the outstanding confirms of a channel that is to be replaced are awaited. If the channel has
/// failed, lapin fails them at once, and each caller learns why.
const SETTLING: Duration = Duration::from_secs(1);
/// How long confirms are awaited when the broker is closed.
const PARTING: Duration = Duration::from_secs(2);
/// How often the channel is checked while nothing happens.
const GLANCE: Duration = Duration::from_millis(500);

/// A channel with confirms.
#[derive(Debug)]
pub(super) struct PublishingChannel {
    channel: Channel,
    /// Held while messages are numbered and queued. lapin does that in two steps: between them, another thread's
    /// message could get the number, and each of the two the other's confirm.
    turn: Mutex<()>,
    room: Semaphore,
    given_up: AtomicUsize,
    /// When the broker first refused a message.
    refused: OnceLock<Instant>,
    /// Notified when the channel may have failed.
    failing: Notify,
    /// Set to `true` to end every publish that still awaits its confirm.
    over: watch::Sender<bool>,
}

/// When dropped, counts the confirms that nobody will wait for any more.
struct Awaited<'a> {
    publisher: &'a PublishingChannel,
    confirms: usize,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.publisher.given_up.fetch_add(self.confirms, Ordering::Relaxed);
    }
}

impl PublishingChannel {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            turn: Mutex::new(()),
            room: Semaphore::new(IN_FLIGHT as usize),
            given_up: AtomicUsize::new(0),
            refused: OnceLock::new(),
            failing: Notify::new(),
            over: watch::Sender::new(false),
        }
    }

    /// Publishes all `messages` one after the other, with no other message between them. `Ok` when the broker
    /// has confirmed each, else the first error. `None` if the channel is being replaced: `messages` are
    /// unchanged, and the caller must ask the next channel.
    ///
    /// If the future is dropped before it ends, the messages may still be published, and nobody learns of it.
    pub(super) async fn publish(
        &self,
        shared: &Connections,
        messages: &mut [Outgoing],
    ) -> Option<Result<(), BrokerError>> {
        let places = u32::try_from(messages.len()).unwrap_or(IN_FLIGHT).min(IN_FLIGHT);
        let places = self.room.acquire_many(places).await.ok()?;
        let mut over = self.over.subscribe();
        if !self.channel.status().connected() {
            // The next channel takes the messages: on this one they would only fail.
            drop(places);
            self.failing.notify_one();
            let _ = over.wait_for(|over| *over).await;
            return None;
        }
        if let ConnectionState::Blocked(why) = &*shared.publishing.borrow() {
            return Some(Err(BrokerError::Blocked(why.clone())));
        }
        let mut awaited = Awaited { publisher: self, confirms: messages.len() };
        let outcome = tokio::select! {
            biased;
            outcome = self.all_of(shared, messages, &mut awaited.confirms) => outcome,
            _ = over.wait_for(|over| *over) => {
                Err(BrokerError::Unavailable(format!("the connection to {} was lost", shared.endpoint)))
            }
        };
        match &outcome {
            Ok(()) => {}
            Err(BrokerError::Full(_) | BrokerError::Rejected(_)) => {
                self.refused.get_or_init(Instant::now);
            }
            Err(_) => self.failing.notify_one(),
        }
        Some(outcome)
    }

    /// Publishes `messages` with the first poll, and keeps count of the confirms that are still to come.
    async fn all_of(
        &self,
        shared: &Connections,
        messages: &mut [Outgoing],
        awaited: &mut usize,
    ) -> Result<(), BrokerError> {
        if let [one] = messages {
            let mut flight = pin!(maybe_done(publish(shared, &self.channel, one)));
            self.launch(&mut [flight.as_mut()]).await;
            flight.as_mut().await;
            *awaited = 0;
            return flight.take_output().unwrap_or(Ok(()));
        }
        let mut flights: Vec<_> = messages
            .iter_mut()
            .map(|one| Box::pin(maybe_done(publish(shared, &self.channel, one))))
            .collect();
        self.launch(&mut flights).await;
        let mut outcome = Ok(());
        for mut flight in flights {
            flight.as_mut().await;
            *awaited -= 1;
            outcome = outcome.and(flight.as_mut().take_output().unwrap_or(Ok(())));
        }
        outcome
    }

    /// Polls each of `flights` once. lapin numbers and queues a message with the first poll, so messages are
    /// published in the order of their first polls, without waiting for the socket.
    async fn launch<F: Future + Unpin>(&self, flights: &mut [F]) {
        let poll = |context: &mut Context<'_>| {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            for flight in &mut *flights {
                let _ = flight.poll_unpin(context);
            }
            Poll::Ready(())
        };
        std::future::poll_fn(poll).await;
    }

    /// Watches the channel until it is to be replaced (`false`) or the broker is to be closed (`true`).
    pub(super) async fn until_replaced(&self, shared: &Connections) -> bool {
        let mut closed = pin!(shared.closed());
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.channel.status().connected()
            && self.given_up.load(Ordering::Relaxed) < GIVEN_UP
            && !self.is_refusing(shared)
        {
            tokio::select! {
                () = &mut closed => return true,
                () = self.failing.notified() => {}
                _ = glances.tick() => {}
            }
        }
        false
    }

    /// Whether the broker has been refusing messages on this channel for too long.
    fn is_refusing(&self, shared: &Connections) -> bool {
        let bearable = if shared.options.topology.max_messages.is_some() { FULL } else { REFUSING };
        self.refused.get().is_some_and(|since| since.elapsed() > bearable)
    }

    /// Waits a while for the outstanding confirms. `parting` says that the broker is to be closed.
    pub(super) async fn settle(&self, parting: bool) {
        let patience = if parting { PARTING } else { SETTLING };
        let _ = timeout(patience, self.room.acquire_many(IN_FLIGHT)).await;
    }

    /// Takes no more messages, and ends every publish that still awaits its confirm.
    pub(super) fn end(&self) {
        self.room.close();
        self.over.send_replace(true);
    }

    /// The AMQP channel.
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }
}

/// The channel that messages are published on. `None` while there is no connection, or while the channel is
/// being replaced.
#[derive(Debug)]
pub(super) struct CurrentChannel(watch::Sender<Option<Arc<PublishingChannel>>>);

impl CurrentChannel {
    pub(super) fn none() -> Self {
        Self(watch::Sender::new(None))
    }

    /// From now on, messages are published on `publisher`.
    pub(super) fn set(&self, publisher: Option<Arc<PublishingChannel>>) {
        self.0.send_replace(publisher);
    }

    /// The channel in use. While it is being replaced, waits for the next one.
    ///
    /// # Errors
    /// Why there is none, at `deadline` at the latest.
    pub(super) async fn get(
        &self,
        shared: &Connections,
        deadline: Instant,
    ) -> Result<Arc<PublishingChannel>, BrokerError> {
        loop {
            shared.usable(&shared.publishing, deadline).await?;
            if let Some(publisher) = &*self.0.borrow() {
                return Ok(Arc::clone(publisher));
            }
            let (mut publisher, mut state) = (self.0.subscribe(), shared.publishing.subscribe());
            let changed = async {
                tokio::select! {
                    _ = publisher.wait_for(Option::is_some) => {}
                    _ = state.wait_for(|state| *state != ConnectionState::Up) => {}
                    () = shared.closed() => {}
                }
            };
            let late = BrokerError::TimedOut(shared.options.publish_timeout);
            timeout_at(deadline, changed).await.map_err(|_| late)?;
        }
    }
}

/// Publishes `message`. Afterwards it holds only its body and its address.
async fn publish(shared: &Connections, channel: &Channel, message: &mut Outgoing) -> Result<(), BrokerError> {
    let (exchange, key) = (take(&mut message.exchange), take(&mut message.routing_key));
    let (options, properties) = (BasicPublishOptions::default(), take(&mut message.properties));
    let written = channel.basic_publish(exchange, key, options, &message.body, properties).await;
    confirmation(shared, message, written).await
}

/// Waits for the broker's confirm of `message`.
async fn confirmation(
    shared: &Connections,
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
            Err(BrokerError::Unavailable("the channel does not support publisher confirms".to_owned()))
        }
        Err(error) => {
            let why = shared.endpoint.explain(&error);
            match too_large(&error) {
                // The other messages in flight on the channel failed with this one, and are not to blame.
                Some((bytes, most)) => {
                    most.into_iter().for_each(|most| shared.limit_body(most));
                    if bytes == message.body.len() {
                        return Err(BrokerError::Refused(why));
                    }
                }
                None if code(&error) == Some(ACCESS_REFUSED) => shared.deny(why.clone()),
                None => {}
            }
            Err(BrokerError::Unavailable(why))
        }
    }
}

/// Why the broker probably refused `message`: the queue is full, if queues have a limit; otherwise it is just
/// changing its leader.
fn nacked(shared: &Connections, message: &Outgoing) -> BrokerError {
    let queue = message.address.queue();
    match shared.options.topology.max_messages {
        Some(_) => BrokerError::Full(queue.to_string()),
        None => BrokerError::Rejected(queue.to_string()),
    }
}

/// The length of the body for which the broker closed the channel, and the broker's `max_message_size`, which it
/// does not tell earlier.
fn too_large(error: &Error) -> Option<(usize, Option<usize>)> {
    let ErrorKind::ProtocolError(refusal) = error.kind() else { return None };
    let said = refusal.get_message().as_str().split_once("message size ");
    let (bytes, most) =
        said.filter(|_| code(error) == Some(PRECONDITION_FAILED))?.1.split_once(" is larger")?;
    let most = most.rsplit_once(' ').and_then(|(_, most)| most.parse().ok());
    Some((bytes.parse().ok()?, most))
}
